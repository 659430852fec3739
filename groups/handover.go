package groups

import (
	"slices"

	"github.com/starling-swarm/starling/internal/fault"
)

// maxHandover is the largest handover, in bytes: what a copy among own devices holds.
const maxHandover = 4096

// openAsHanded lets s, which has just entered, open the days that the device opens which made the handover:
// of the generation in force the slot may open fewer, as that of a role that rose, or more, and of those
// before it none.
func (s *State) openAsHanded(t *Ticket) error {
	s.chains[0].begin(t.first, &t.ck)
	past, err := extend(nil, t.days)
	if err != nil {
		return err
	}
	if len(past) > 0 && past[len(past)-1].g >= s.grant.g {
		return fault.New(fault.Corrupt, "enter group",
			"the handover has a day key of generation %d, which is not over", past[len(past)-1].g)
	}
	s.chains = append(past, s.chains...)
	return nil
}

// TakeHandover adds the leaf keys that another own device handed over to those of s, so that s opens slots
// sealed to them. The days that it brings are of use to a device that enters, and to no other.
//
// Errors: Invalid (of another group or account), Stale (the account's keys in the group were replaced: this
// state, or the handover, is of an earlier stay), Corrupt.
func (s *State) TakeHandover(b []byte) error {
	t, err := DecodeHandover(b)
	if err != nil {
		return err
	}
	if t.group != s.group || t.self != s.self {
		return fault.New(fault.Invalid, "take handover", "it is of another group or account")
	}
	if t.sign.b != s.sign.b {
		return fault.New(fault.Stale, "take handover",
			"it has other keys of the account: one of the two is of an earlier stay")
	}
	for _, l := range ownLeaves(t.leaves) {
		if !slices.ContainsFunc(s.leaves, func(o leafKey) bool { return o.key.b == l.key.b }) {
			s.addLeaf(l)
		}
	}
	return nil
}

// addLeaf puts a leaf key in its place. Of too many the oldest that never was in force is of no use to
// anybody. Two devices may have drawn keys of one number; the log has one of them.
func (s *State) addLeaf(l leafKey) {
	if len(s.leaves) >= maxOwnLeaves {
		oldest := len(s.leaves) - len(ownLeaves(s.leaves))
		s.leaves = slices.Delete(slices.Clone(s.leaves), oldest+1, oldest+2)
	}
	i := len(s.leaves)
	for i > 0 && s.leaves[i-1].number > l.number {
		i--
	}
	s.leaves = slices.Insert(s.leaves, i, l)
}
