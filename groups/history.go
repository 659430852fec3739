package groups

import (
	"crypto/ed25519"
	"slices"

	"golang.org/x/crypto/cryptobyte"

	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/private"
)

const (
	maxHistory  = 3  // slots with days of earlier generations beside that of an addition
	historyKeys = 20 // of one such slot
	dayKeySize  = 4 + 4 + 32
	historySize = 1 + historyKeys*dayKeySize + 64
)

// pastDay opens the messages of one day in a generation that is over.
type pastDay struct {
	private.Redacted
	g, day uint32
	key    secret
}

// before reports whether d stands before o: the newest days come first, of one day the newest generation.
func (d *pastDay) before(o *pastDay) bool { return d.day > o.day || d.day == o.day && d.g > o.g }

// pastDays returns the keys of the days since a day in generations that are over, in their order, as many as
// an addition brings.
func (s *State) pastDays(since uint32) (out []pastDay) {
	for i := range s.chains {
		c := &s.chains[i]
		for j := range c.days { // a live chain has none
			if day := c.day + uint32(j); day >= since {
				out = append(out, pastDay{g: c.g, day: day, key: c.days[j]})
			}
		}
	}
	slices.SortFunc(out, func(a, b pastDay) int {
		if a.before(&b) {
			return -1
		}
		return 1
	})
	return out[:min(len(out), maxHistory*historyKeys)]
}

// locateHistory returns where a newcomer finds days of earlier generations.
func locateHistory(slot *secret, g uint32, k int) Locator {
	return locateBy(labelHistory, slot, g, uint64(k))
}

// history makes the slots with the days that an addition gives besides those of the generation g.
func (s *sealer) history(a *Addition, g uint32, days []pastDay) (out []envelope.Slot, err error) {
	for k := 0; len(days) > 0; k++ {
		n := min(len(days), historyKeys)
		slot, err := s.historySlot(a.Member.Leaf, locateHistory(&a.slot, g, k), encodeDays(days[:n]))
		if err != nil {
			return nil, err
		}
		out, days = append(out, slot), days[n:]
	}
	return out, nil
}

func (s *sealer) historySlot(leaf []byte, at Locator, content []byte) (envelope.Slot, error) {
	content = append(content, ed25519.Sign(s.author, concat(labelHistorySign, s.info, at[:], content))...)
	defer clear(content)
	box, err := boxSeal(leaf, concat(labelHistorySlot, s.info), content)
	return envelope.Slot{Locator: at, Sealed: box}, err
}

func encodeDays(days []pastDay) []byte {
	b := cryptobyte.NewBuilder(make([]byte, 0, historySize))
	addDays(b, days)
	out := b.BytesOrPanic()
	return append(out, make([]byte, historySize-64-len(out))...)
}

func addDays(b *cryptobyte.Builder, days []pastDay) {
	b.AddUint8(uint8(len(days)))
	for i := range days {
		b.AddUint32(days[i].g)
		b.AddUint32(days[i].day)
		b.AddBytes(days[i].key.b[:])
	}
}

// readDays reads what addDays wrote, in its order.
func readDays(s *cryptobyte.String, most uint8) (out []pastDay, ok bool) {
	var n uint8
	if !s.ReadUint8(&n) || n > most {
		return nil, false
	}
	for i := range int(n) {
		var d pastDay
		if !s.ReadUint32(&d.g) || !s.ReadUint32(&d.day) || !s.CopyBytes(d.key.b[:]) || d.g == 0 ||
			d.day > maxDay || i > 0 && !out[i-1].before(&d) {
			return nil, false
		}
		out = append(out, d)
	}
	return out, true
}

func decodeDays(b []byte) ([]pastDay, error) {
	s := cryptobyte.String(b)
	out, ok := readDays(&s, historyKeys)
	if !ok || len(out) == 0 || len(b) != historySize-64 || !zeros(s) {
		return nil, fault.New(fault.Corrupt, "read group history", "malformed")
	}
	return out, nil
}

// ownAddition returns the commit that let the own account in, if it is the head.
func (s *State) ownAddition(t *Ticket, b []byte) (*commit, *Described, *Addition) {
	d, err := s.Describe(b)
	if err != nil || d.Void || d.Kind != KindAdd || t.slot.zero() {
		return nil, nil, nil
	}
	i := slices.IndexFunc(d.Change.Adds, func(a Addition) bool { return a.Member.Account == s.self })
	c, err := decodeCommit(b)
	if err != nil || i < 0 {
		return nil, nil, nil
	}
	return c, d, &d.Change.Adds[i]
}

// HistorySlots returns where keys for days of earlier generations may lie, in order, right after Enter with
// the ticket of somebody who was added: nowhere if the commit that did it, the head, gave no days.
// TakeHistory takes what lies there.
func (s *State) HistorySlots(t *Ticket, commit []byte) (out []Locator) {
	c, _, a := s.ownAddition(t, commit)
	if c == nil || a.ShareDays == 0 || c.Generation == 1 {
		return nil
	}
	for k := range maxHistory {
		out = append(out, locateHistory(&t.slot, c.Generation, k))
	}
	return out
}

// TakeHistory takes in what is stored at HistorySlots, in that order, up to the first place where nothing of
// the commit lies: messages of those days then open. Who lacks some of it reads less of what was written
// earlier, and nothing else.
//
// Errors: Invalid (the commit is not the head, or not the one that let the own account in), Exists (taken in
// already). Of one of the slots, where those before it count: Denied (not sealed to the own keys),
// Unauthenticated (not by the author of the commit), Corrupt.
func (s *State) TakeHistory(t *Ticket, commit []byte, slots [][]byte) error {
	c, d, _ := s.ownAddition(t, commit)
	switch {
	case c == nil:
		return fault.New(fault.Invalid, "take group history",
			"the commit is not the head, or not the one that let this account in")
	case len(s.chains) != 1:
		return fault.New(fault.Exists, "take group history", "there are keys of earlier generations already")
	}
	chains, last := []chain(nil), (*pastDay)(nil)
	for k, body := range slots[:min(len(slots), maxHistory)] {
		if len(body) < 32 || [32]byte(body[:32]) != c.SlotsRoot {
			break // another admin, whose commit came too late, may have staged there
		}
		days, err := s.openHistory(c, d, locateHistory(&t.slot, c.Generation, k), body[32:])
		if err == nil && last != nil && !last.before(&days[0]) {
			err = fault.New(fault.Corrupt, "take group history", "slot %d is out of order", k)
		}
		if err == nil {
			chains, err = extend(chains, days)
		}
		if err != nil {
			s.chains = append(chains, s.chains...)
			return err
		}
		last = &days[len(days)-1]
	}
	s.chains = append(chains, s.chains...)
	return nil
}

// openHistory opens the slot at a place beside the commit c.
func (s *State) openHistory(c *commit, d *Described, at Locator, sealed []byte) ([]pastDay, error) {
	info := s.slotContext(c.Generation, c.Index, c.PrevHash)
	var plain []byte
	for i := range s.leaves {
		if b, err := boxOpen(s.leaves[i].key.box(), concat(labelHistorySlot, info), sealed); err == nil {
			plain = b
			break
		}
	}
	if len(plain) != historySize {
		return nil, fault.New(fault.Denied, "take group history",
			"no leaf key opens it, or it has another size")
	}
	content, sig := plain[:historySize-64], plain[historySize-64:]
	if m := s.core.member(d.Author); m == nil ||
		!verify(m.Sign, sig, labelHistorySign, info, at[:], content) {
		return nil, fault.New(fault.Unauthenticated, "take group history",
			"it is not the author's of commit %d", c.Index)
	}
	days, err := decodeDays(content)
	if err != nil {
		return nil, err
	}
	for i := range days {
		if days[i].g >= c.Generation || !near(days[i].day, d.At) {
			return nil, fault.New(fault.Corrupt, "take group history", "it names day %d of generation %d",
				days[i].day, days[i].g)
		}
	}
	return days, nil
}

// extend returns chains that are over, by generation, with earlier days: those of one generation follow each
// other.
func extend(chains []chain, days []pastDay) ([]chain, error) {
	out := slices.Clone(chains)
	for i := range days {
		d := &days[i]
		j, found := slices.BinarySearchFunc(out, d.g,
			func(c chain, g uint32) int { return int(int64(c.g) - int64(g)) })
		switch {
		case !found:
			out = slices.Insert(out, j, chain{g: d.g, day: d.day, days: []secret{d.key}})
		case d.day+1 != out[j].day:
			return chains, fault.New(fault.Corrupt, "take group history", "days of generation %d are missing",
				d.g)
		default:
			out[j].day, out[j].days = d.day, append([]secret{d.key}, out[j].days...)
		}
	}
	return out, nil
}
