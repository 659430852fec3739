package groups

import (
	"crypto/rand"
	"errors"
	"testing"

	"github.com/starling-swarm/starling/internal/fault"
)

func leafNumbers(s *State) (out []uint32) {
	for _, l := range s.leaves {
		out = append(out, l.number)
	}
	return out
}

// TestDevicesHandLeafKeysOver lets two devices of one account draw leaf keys at the same time.
func TestDevicesHandLeafKeysOver(t *testing.T) {
	box, first := found(t, 1)
	a := first.State
	ticket, err := DecodeHandover(a.Handover())
	if err != nil {
		t.Fatal(err)
	}
	b, err := Enter(start, testCluster, ticket, nil, box.log, box.slotFor(ticket))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*State{a, b} {
		if _, err := s.NewLeaf(rand.Reader); err != nil {
			t.Fatal(err)
		}
	}
	ha, hb := a.Handover(), b.Handover()
	for range 2 { // a copy may come twice
		if err := a.TakeHandover(hb); err != nil {
			t.Fatal(err)
		}
		if err := b.TakeHandover(ha); err != nil {
			t.Fatal(err)
		}
	}
	for name, s := range map[string]*State{"a": a, "b": b} {
		if got := leafNumbers(s); len(got) != 3 || got[0] != 1 || got[1] != 2 || got[2] != 2 {
			t.Errorf("%s: got leaf keys %v, want 1 2 2", name, got)
		}
		again, err := Unmarshal(s.Marshal())
		if err != nil || len(again.leaves) != 3 {
			t.Errorf("%s: read back: %v", name, err)
		}
	}
	_, other := found(t, 2)
	if err := a.TakeHandover(other.Handover()); fault.KindOf(err) != fault.Invalid {
		t.Errorf("of another group: got %v, want Invalid", err)
	}
	if err := a.TakeHandover(ha[:9]); fault.KindOf(err) != fault.Corrupt {
		t.Errorf("cut: got %v, want Corrupt", err)
	}
}

// TestHandoverOpensTheSameDays: a device that enters with a handover opens what the one opens that made it.
func TestHandoverOpensTheSameDays(t *testing.T) {
	b, alice := found(t, 1)
	all := b.chronicle(t, alice)
	since := Day(b.now) - 4
	bob := b.admit(t, alice, 2, 4)
	same := func(when string) {
		t.Helper()
		u := bob
		for _, name := range []string{"a second device", "a third, by the second"} {
			d, err := b.device(t, bob.id, u.Handover())
			if err != nil {
				t.Fatalf("%s, %s: %v", when, name, err)
			}
			d.opensSince(t, all, since)
			if d.Since() != bob.Since() || d.Digest() != bob.Digest() {
				t.Errorf("%s, %s: opens days since %d, want %d, or another state", when, name,
					d.Since(), bob.Since())
			}
			u = d
		}
	}
	same("at once")
	b.now = b.now.Add(2 * aDay)
	all = append(all, written{Day(b.now), bob.Generation(), say(t, b, alice, "as a member")})
	same("later in the generation")
	first := bob.Handover()
	b.commit(t, alice, Change{Kind: KindRole, Targets: target(alice, bob.id), Role: Admin})
	b.mustSync(t, bob)
	same("with the slot of a role")
	b.admit(t, bob, 3, 65535).opensSince(t, all, since)
	b.commit(t, bob, Change{Kind: KindRekey})
	same("in the next generation")
	old, err := b.device(t, bob.id, first)
	if err != nil {
		t.Fatal(err)
	}
	old.opensSince(t, all, since)
	since = Day(b.now) - 3
	bob.Erase(since, b.now)
	same("when days are erased")
	since = Day(b.now)
	bob.Erase(since, b.now)
	same("when all days but today are erased")
}

// TestHandoverHasRoomForDays fills a handover with leaf keys: the newest days stay.
func TestHandoverHasRoomForDays(t *testing.T) {
	b, alice := found(t, 1)
	for range 20 {
		b.now = b.now.Add(5 * aDay)
		b.commit(t, alice, Change{Kind: KindRekey})
	}
	all := alice.pastDays(0)
	for leaves := 1; leaves <= maxOwnLeaves; leaves++ {
		want := len(all)
		if leaves > 33 {
			want = (4096 - 233 - 44*leaves) / 40
		}
		h := alice.Handover()
		d, err := b.device(t, alice.id, h)
		if err != nil {
			t.Fatal(err)
		}
		if got := d.pastDays(0); len(h) > 4096 || len(got) != want || got[want-1].key.b != all[want-1].key.b {
			t.Fatalf("%d leaf keys: got %d days in %d bytes, want the newest %d in 4,096", leaves,
				len(got), len(h), want)
		}
		if _, err := alice.NewLeaf(rand.Reader); err != nil {
			t.Fatal(err)
		}
	}
}

func TestHandoverOfWrongDays(t *testing.T) {
	b, alice := found(t, 1)
	b.chronicle(t, alice)
	today := Day(b.now)
	entered := func(change func(*Ticket)) (*State, error) {
		ticket, err := DecodeHandover(alice.Handover())
		if err != nil {
			t.Fatal(err)
		}
		change(ticket)
		if ticket, err = DecodeHandover(ticket.encode()); err != nil {
			return nil, err
		}
		return Enter(b.now, testCluster, ticket, nil, b.log, b.slotFor(ticket))
	}
	for name, days := range map[string][]pastDay{
		"of the generation in force": {{g: alice.Generation(), day: today}},
		"of one to come":             {{g: alice.Generation() + 1, day: today}},
		"of no generation":           {{day: today}},
		"beyond all":                 {{g: 1, day: maxDay + 1}},
		"in another order":           {{g: 1, day: today - 1}, {g: 1, day: today}},
		"twice":                      {{g: 1, day: today}, {g: 1, day: today}},
		"with a gap":                 {{g: 1, day: today}, {g: 1, day: today - 2}},
		"of more than there may be":  make([]pastDay, maxHistory*historyKeys+1),
	} {
		if _, err := entered(func(h *Ticket) { h.days = days }); !errors.Is(err, fault.Corrupt) {
			t.Errorf("days %s: got %v, want corrupt", name, err)
		}
	}
	slot := alice.chains[len(alice.chains)-1]
	for name, change := range map[string]func(*Ticket){
		"another key":      func(h *Ticket) { h.ck.b[0] ^= 1 },
		"a day before":     func(h *Ticket) { h.first-- },
		"a day after":      func(h *Ticket) { h.first++ },
		"a day long ago":   func(h *Ticket) { h.first = 0 },
		"the last of days": func(h *Ticket) { h.first = maxDay },
	} {
		s, err := entered(change)
		if err != nil {
			t.Fatalf("a chain with %s: %v", name, err)
		}
		if c := s.chains[len(s.chains)-1]; c.day != slot.day || c.ck.b != slot.ck.b {
			t.Errorf("a chain with %s: it was taken, want the slot's", name)
		}
	}
	if _, err := entered(func(h *Ticket) { h.first = maxDay + 1 }); !errors.Is(err, fault.Corrupt) {
		t.Errorf("a chain from a day beyond all: got %v, want corrupt", err)
	}
}
