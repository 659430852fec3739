package outbox

import (
	"github.com/starling-swarm/starling/internal/fault"
)

// causeText keeps why a message waits or failed as kind NUL text, so that Receipt.Cause has its kind again.
func causeText(err error) string {
	return string(rune('0'+fault.KindOf(err))) + "\x00" + err.Error()
}

// CauseKind reads the kind that CauseText wrote.
func CauseKind(s string) fault.Kind {
	if len(s) == 1 && fault.Kind(s[0]-'0').Valid() {
		return fault.Kind(s[0] - '0')
	}
	return fault.Internal
}
