package groups

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
)

const aDay = 24 * time.Hour

// placed finds what lies at places beside the newest commit.
func (b *mailbox) placed(at []Locator) (out [][]byte) {
	for _, l := range at {
		out = append(out, b.slots[len(b.slots)-1].Find(l))
	}
	return out
}

// admit adds somebody with days of history, who enters and takes in what lies there.
func (b *mailbox) admit(t fataler, by *user, n int, days uint16) *user {
	t.Helper()
	u := newUser(t, n)
	a := direct(u)
	a.ShareDays = days
	if stay := by.core.lastStay(u.id); stay != nil {
		a.Replaces = stay.joined
	}
	b.commit(t, by, Change{Kind: KindAdd, Adds: []Addition{a}})
	b.enter(t, u)
	ticket, last := u.keys.Ticket(b.group, u.id), b.log[len(b.log)-1]
	if err := u.TakeHistory(ticket, last, b.placed(u.HistorySlots(ticket, last))); err != nil {
		t.Fatalf("take history: %v", err)
	}
	return u
}

// written is a message, and the day and generation of its key.
type written struct {
	day, g uint32
	blob   []byte
}

// chronicle has a user write on a number of days, in three generations.
func (b *mailbox) chronicle(t fataler, by *user) (out []written) {
	for _, rekey := range []bool{false, false, true, false, true, false} {
		if rekey {
			b.commit(t, by, Change{Kind: KindRekey})
		} else {
			b.now = b.now.Add(2 * aDay)
		}
		out = append(out, written{Day(b.now), by.Generation(), say(t, b, by, "then")})
	}
	b.now = b.now.Add(aDay)
	return append(out, written{Day(b.now), by.Generation(), say(t, b, by, "now")})
}

// opens compares which messages somebody opens.
func (u *user) opensSince(t *testing.T, all []written, since uint32) {
	t.Helper()
	for i, w := range all {
		if _, err := u.Open(w.blob); (err == nil) != (w.day >= since) ||
			err != nil && !errors.Is(err, fault.Denied) {
			t.Errorf("message %d, of day %d and generation %d: got %v, want those since %d", i, w.day,
				w.g, err, since)
		}
	}
	again, err := Unmarshal(u.Marshal())
	if err != nil || !bytes.Equal(again.Marshal(), u.Marshal()) || again.Since() != u.Since() {
		t.Errorf("read back: %v, or another state", err)
	}
}

func TestNewcomerReadsItsDaysAcrossGenerations(t *testing.T) {
	for _, days := range []uint16{0, 1, 2, 3, 4, 5, 6, 7, 30, 65535} {
		t.Run(fmt.Sprint(days, " days"), func(t *testing.T) {
			b, alice := found(t, 1)
			all := b.chronicle(t, alice)
			since := Day(b.now) - min(uint32(days), Day(b.now))
			bob := b.admit(t, alice, 2, days)
			bob.opensSince(t, all, since)
			bob.Erase(Day(b.now)-2, b.now)
			bob.opensSince(t, all, max(since, Day(b.now)-2))
			b.commit(t, alice, Change{Kind: KindRekey})
			b.mustSync(t, bob)
			bob.opensSince(t, all, max(since, Day(b.now)-2))
		})
	}
}

func TestHistoryHasWhoWasAMemberThen(t *testing.T) {
	b, alice := found(t, 1)
	bob := b.add(t, alice, 2)
	first := say(t, b, bob, "first stay")
	b.commit(t, alice, Change{Kind: KindRemove, Targets: target(alice, bob.id)})
	late := say(t, b, alice, "without him")
	b.now = b.now.Add(aDay)
	again := b.admit(t, alice, 2, 7)
	for name, blob := range map[string][]byte{"of before its removal": first, "of while it was out": late} {
		if _, err := again.Open(blob); err != nil {
			t.Errorf("who came back, a message %s: %v", name, err)
		}
	}
	b.commit(t, alice, Change{Kind: KindRekey})
	b.mustSync(t, again)
	second := say(t, b, again, "second stay")
	carol := b.admit(t, alice, 3, 7)
	for name, blob := range map[string][]byte{"the first": first, "the second": second} {
		if m, err := carol.Open(blob); err != nil || m.Sender != again.id {
			t.Errorf("a newcomer, a message of %s stay: got %v", name, err)
		}
	}
	forger := bob.Clone() // signs in alice's name with the keys that he had
	forger.self = alice.id
	forged, err := forger.Seal(rand.Reader, start, [16]byte{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := carol.Open(forged); !errors.Is(err, fault.Unauthenticated) {
		t.Errorf("a message of then in another's name: got %v, want unauthenticated", err)
	}
}

func TestAdminGivesTheDaysThatItHas(t *testing.T) {
	b, alice := found(t, 1)
	all := b.chronicle(t, alice)
	some, none := b.admit(t, alice, 2, 3), b.admit(t, alice, 3, 0)
	since := Day(b.now) - 3
	for _, u := range []*user{some, none} {
		b.commit(t, alice, Change{Kind: KindRole, Targets: target(alice, u.id), Role: Admin})
	}
	b.mustSync(t, some, none)
	b.commit(t, alice, Change{Kind: KindRekey})
	b.mustSync(t, some, none)
	b.admit(t, some, 4, 30).opensSince(t, all, since)
	b.mustSync(t, none)
	b.admit(t, none, 5, 30).opensSince(t, all, Day(b.now))
}

// TestHistoryHasRoom has more days and generations than three slots hold, and a full commit.
func TestHistoryHasRoom(t *testing.T) {
	b, alice := found(t, 1)
	for range 20 {
		b.now = b.now.Add(5 * aDay)
		b.commit(t, alice, Change{Kind: KindRekey})
	}
	want := alice.pastDays(0)
	if len(want) != maxHistory*historyKeys {
		t.Fatalf("got %d days, want %d", len(want), maxHistory*historyKeys)
	}
	ch, first := Change{Kind: KindAdd}, newUser(t, 2)
	for n := range MaxAdds {
		u := first
		if n > 0 {
			u = newUser(t, 2+n)
		}
		a := direct(u)
		a.ShareDays = 1000
		ch.Adds = append(ch.Adds, a)
	}
	b.commit(t, alice, ch)
	p := b.slots[len(b.slots)-1]
	if len(p.Slots) != MaxAdds*(1+maxHistory) {
		t.Errorf("got %d slots, want %d", len(p.Slots), MaxAdds*(1+maxHistory))
	}
	for i := range p.Slots {
		if n := len(p.Body(i)); n != 32+boxSize && n != 2033 {
			t.Fatalf("a slot has %d bytes", n)
		}
	}
	b.enter(t, first)
	ticket, last := first.keys.Ticket(b.group, first.id), b.log[len(b.log)-1]
	at := first.HistorySlots(ticket, last)
	for name, c := range map[string]struct {
		slots [][]byte
		want  int
	}{"all": {b.placed(at), 60}, "none": {nil, 0}, "the first missing": {[][]byte{nil, p.Find(at[1])},
		0}, "the second missing": {[][]byte{p.Find(at[0]), nil, p.Find(at[2])}, 20}} {
		u := &user{State: first.Clone()}
		if err := u.TakeHistory(ticket, last, c.slots); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		got := u.pastDays(0)
		for i := range got {
			if got[i].key.b != want[i].key.b || got[i].g != want[i].g || got[i].day != want[i].day {
				t.Fatalf("%s: key %d is another one", name, i)
			}
		}
		if _, err := Unmarshal(u.Marshal()); err != nil || len(got) != c.want {
			t.Errorf("%s: got %d keys, want %d, read back: %v", name, len(got), c.want, err)
		}
	}
}

func TestHistoryOfOthersIsRefused(t *testing.T) {
	b, alice := found(t, 1)
	bob := b.add(t, alice, 2)
	b.chronicle(t, alice)
	b.mustSync(t, bob)
	u := newUser(t, 3)
	a := direct(u)
	a.ShareDays = 30
	b.commit(t, alice, Change{Kind: KindAdd, Adds: []Addition{a}})
	b.enter(t, u)
	ticket, last := u.keys.Ticket(b.group, u.id), b.log[len(b.log)-1]
	c, err := decodeCommit(last)
	if err != nil {
		t.Fatal(err)
	}
	at := u.HistorySlots(ticket, last)
	good := b.placed(at)[0]
	days := alice.pastDays(0)
	sealed := func(by *user, at Locator, days []pastDay, change func(content []byte)) []byte {
		content := encodeDays(days)
		if change != nil {
			change(content)
		}
		seal := u.sealer(c.Generation, c.Index, c.PrevHash, &by.sign)
		slot, err := seal.historySlot(a.Member.Leaf, at, content)
		if err != nil {
			t.Fatal(err)
		}
		return envelope.SlotBody(c.SlotsRoot, slot.Sealed)
	}
	one := func(g, day uint32) []pastDay { return []pastDay{{g: g, day: day}} }
	today := Day(b.now)
	for name, x := range map[string]struct {
		slot []byte
		want error
	}{
		"another member's":             {sealed(bob, at[0], days, nil), fault.Unauthenticated},
		"the author's, from elsewhere": {sealed(alice, at[1], days, nil), fault.Unauthenticated},
		"no days":                      {sealed(alice, at[0], nil, nil), fault.Corrupt},
		"too many days": {sealed(alice, at[0], days[:1],
			func(b []byte) { b[0] = historyKeys + 1 }), fault.Corrupt},
		"something after the days": {sealed(alice, at[0], days[:1], func(b []byte) { b[len(b)-1] = 1 }),
			fault.Corrupt},
		"no generation":           {sealed(alice, at[0], one(0, today), nil), fault.Corrupt},
		"the generation in force": {sealed(alice, at[0], one(c.Generation, today), nil), fault.Corrupt},
		"a day long ago":          {sealed(alice, at[0], one(1, today-maxAhead-1), nil), fault.Corrupt},
		"a day to come":           {sealed(alice, at[0], one(1, today+maxAhead+1), nil), fault.Corrupt},
		"a day beyond all":        {sealed(alice, at[0], one(1, 1<<32-1), nil), fault.Corrupt},
		"a day twice": {sealed(alice, at[0], append(one(1, today), one(1, today)...), nil),
			fault.Corrupt},
		"days in another order": {sealed(alice, at[0], append(one(1, today-1), one(1, today)...), nil),
			fault.Corrupt},
		"a gap": {sealed(alice, at[0], append(one(1, today), one(1, today-2)...), nil),
			fault.Corrupt},
		"an addition's slot": {b.slotFor(ticket), fault.Denied},
		"garbage":            {append(bytes.Clone(c.SlotsRoot[:]), 1, 2, 3), fault.Denied},
	} {
		s := u.Clone()
		if err := s.TakeHistory(ticket, last, [][]byte{x.slot}); !errors.Is(err, x.want) ||
			!bytes.Equal(s.Marshal(), u.Marshal()) {
			t.Errorf("%s: got %v, want %v and nothing taken in", name, err, x.want)
		}
	}
	for i := 0; i < len(good); i += 13 {
		bad := bytes.Clone(good)
		bad[i] ^= 1
		s := u.Clone()
		if err := s.TakeHistory(ticket, last, [][]byte{bad}); (err == nil) != (i < 32) ||
			!bytes.Equal(s.Marshal(), u.Marshal()) {
			t.Fatalf("byte %d flipped: got %v, or something taken in", i, err)
		}
	}
	s := u.Clone()
	if err := s.TakeHistory(ticket, last, [][]byte{good, sealed(alice, at[1], days[:1], nil)}); !errors.Is(
		err, fault.Corrupt) || len(s.pastDays(0)) != len(days) {
		t.Errorf("a bad second slot: got %v and %d days, want corrupt, and the %d of the first", err,
			len(s.pastDays(0)), len(days))
	}
	if err := s.TakeHistory(ticket, last, [][]byte{good}); !errors.Is(err, fault.Exists) {
		t.Errorf("again: got %v, want exists", err)
	}
	if err := u.TakeHistory(ticket, b.log[0], [][]byte{good}); !errors.Is(err, fault.Invalid) ||
		u.HistorySlots(ticket, b.log[0]) != nil {
		t.Errorf("with another commit: got %v, want invalid and no places", err)
	}
	if err := alice.TakeHistory(ticket, last, [][]byte{good}); !errors.Is(err, fault.Invalid) {
		t.Errorf("by who was not added: got %v, want invalid", err)
	}
}

func FuzzHistory(f *testing.F) {
	b, alice := found(f, 1)
	b.chronicle(f, alice)
	u := newUser(f, 3)
	a := direct(u)
	a.ShareDays = 30
	b.commit(f, alice, Change{Kind: KindAdd, Adds: []Addition{a}})
	b.enter(f, u)
	ticket, last := u.keys.Ticket(b.group, u.id), b.log[len(b.log)-1]
	f.Add(encodeDays(alice.pastDays(0)))
	f.Add(b.placed(u.HistorySlots(ticket, last))[0])
	f.Fuzz(func(t *testing.T, in []byte) {
		_ = u.Clone().TakeHistory(ticket, last, [][]byte{in, in})
		days, err := decodeDays(in)
		if err != nil {
			return
		}
		if !bytes.Equal(encodeDays(days), in) {
			t.Error("days do not encode to what they were read from")
		}
		chains, _ := extend(nil, days)
		s := u.Clone()
		s.chains = append(chains, s.chains...)
		if again, err := Unmarshal(s.Marshal()); err != nil || again.Since() != s.Since() {
			t.Errorf("a state with this history cannot be read back: %v", err)
		}
	})
}
