package refs

import (
	"context"
	"strings"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/render"
	"github.com/starling-swarm/starling/internal/cli"
)

// Device finds what a person typed for a device of the account.
func (f Finder) Device(ctx context.Context, s string) (client.Device, error) {
	d, err := f.Client.ResolveDevice(ctx, s)
	if err != nil {
		return d, cli.Fail("no such device "+render.Printable(s), err, f.Self+" device list")
	}
	return d, nil
}

// PlainCode reads a code of a device that a person typed: it undoes the grouping and the look-alikes of
// Crockford's base 32.
func PlainCode(s string) string {
	s = strings.ToUpper(strings.NewReplacer("-", "", " ", "").Replace(s))
	return strings.NewReplacer("O", "0", "I", "1", "L", "1").Replace(s)
}

// SplitCode prints a code in two halves, easier to read aloud.
func SplitCode(code string) string {
	if len(code) != 8 {
		return code
	}
	return code[:4] + "-" + code[4:]
}
