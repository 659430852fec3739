package sessionapi

import (
	"fmt"
	"time"
)

// Millis is a time in JSON: Unix milliseconds, null when there is none.
type Millis time.Time

// MarshalJSON implements json.Marshaler.
func (m Millis) MarshalJSON() ([]byte, error) {
	t := time.Time(m)
	if t.IsZero() {
		return []byte("null"), nil
	}
	return fmt.Appendf(nil, "%d", t.UnixMilli()), nil
}
