// Package conv is the rows of conversations and what changes them, in whatever order it comes: texts, edits,
// reactions, deletions, pins, timers, drafts, the account's own removals, and notices of groups.
//
// A change is kept under its message's author and ID and applied when both are there: docs/formats.md,
// section 10.3, has the rules. It owns the rows of messages, changes, reactions and drafts, and starts and
// ends the timers of messages that disappear. It has no lock: all of it runs inside transactions.
package conv

import (
	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/people"
)

// Rows is the rows of an account's conversations on this device.
type Rows struct {
	core   *core.Core
	people *people.People

	Timed core.Broadcast // messages that disappear may have come, or one was read
}

// New makes Rows.
func New(c *core.Core, p *people.People) *Rows { return &Rows{core: c, people: p} }
