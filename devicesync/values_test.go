package devicesync

import (
	"testing"

	"pgregory.net/rapid"
)

func TestNewerTimerIsTheLargerNumber(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(name string) Timer {
			return Timer{rapid.Uint32().Draw(t, name), TimerMode(rapid.IntRange(1, 2).Draw(t, name)),
				rapid.Uint32Range(1, MaxTimer).Draw(t, name)}
		}
		a, b := draw("a"), draw("b")
		if got := UnpackTimer(a.Pack()); got != a {
			t.Errorf("got %+v, want %+v", got, a)
		}
		if a.SetAt > b.SetAt && a.Pack() <= b.Pack() {
			t.Errorf("%+v is not larger than %+v", a, b)
		}
	})
}

func TestValuesOfOthersReadAsNothing(t *testing.T) {
	if got := UnpackTimer(7<<32 | 3<<30 | 5); got.Mode != TimerOff || got.Seconds != 0 {
		t.Errorf("timer of an unknown mode: got %+v, want off", got)
	}
	h := Hidden{At: 5, Seq: 9}
	if got, ok := UnpackHidden(h.Pack()); !ok || got != h {
		t.Errorf("hidden: got %+v, %v, want %+v", got, ok, h)
	}
	for _, b := range [][]byte{nil, {1}, make([]byte, 17), {0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
		0, 0, 0, 0, 0}} {
		if _, ok := UnpackHidden(b); ok {
			t.Errorf("%x reads as hidden", b)
		}
	}
}

func TestStandingsOfOthersReadAsNothing(t *testing.T) {
	for _, want := range []Standing{{GroupJoined, 1}, {GroupLeft, 7}, {GroupRemoved, 1<<64 - 1},
		{GroupDeclined, 0}} {
		if got, ok := UnpackStanding(want.Pack()); !ok || got != want {
			t.Errorf("got %+v, %v, want %+v", got, ok, want)
		}
	}
	for _, b := range [][]byte{nil, {1}, {1, 0, 0, 0, 0, 0, 0, 0}, {0, 0, 0, 0, 0, 0, 0, 0, 1},
		{5, 0, 0, 0, 0, 0, 0, 0, 1}, make([]byte, 10)} {
		if got, ok := UnpackStanding(b); ok {
			t.Errorf("%x reads as %+v", b, got)
		}
	}
}

// TestGroupsConvergeOverDevices lets one device learn of an admin and another of a leave.
func TestGroupsConvergeOverDevices(t *testing.T) {
	group := string(append([]byte{3}, make([]byte, 32)...))
	alice, bob := []byte("alice, an account ID"), []byte("bob, an account ID")
	a, b := New(device(0)), New(device(1))
	var l log
	must(t, a.Set(start, GroupStanding, group, Standing{GroupJoined, 4}.Pack()))
	must(t, a.Set(start, GroupName, group, Text("climbers")))
	must(t, a.Add(GroupAdmins, group, alice))
	l.push(t, a, start)
	mergeAll(t, b, l, []int{0})
	must(t, b.Set(start+5, GroupStanding, group, Standing{GroupLeft, 4}.Pack()))
	must(t, b.Discard(GroupAdmins, group, alice))
	must(t, a.Add(GroupAdmins, group, bob))
	l.push(t, b, start+5)
	l.push(t, a, start+6)
	mergeAll(t, a, l, []int{0, 1, 2})
	mergeAll(t, b, l, []int{2, 1, 0})
	for name, r := range map[string]*Replica{"a": a, "b": b} {
		v, _ := r.Get(GroupStanding, group)
		if s, ok := UnpackStanding(v); !ok || s != (Standing{GroupLeft, 4}) {
			t.Errorf("%s: got %+v, want left", name, s)
		}
		if got := r.Elements(GroupAdmins, group); len(got) != 1 || string(got[0]) != string(bob) {
			t.Errorf("%s: got admins %q, want bob", name, got)
		}
	}
	if a.Version(Groups) != b.Version(Groups) || a.Version(Groups) == "" {
		t.Errorf("got versions %q and %q, want the same", a.Version(Groups), b.Version(Groups))
	}
}

func TestVersionsAreEqualWhenReplicasAre(t *testing.T) {
	a, b := New(device(0)), New(device(1))
	var l log
	must(t, a.Set(start, ContactNick, "bob", Text("x")))
	if a.Version(Contacts) != "" || a.Pending(Contacts) != 1 || a.Pending(Profile) != 0 {
		t.Errorf("before the acknowledgement: got version %q, %d pending", a.Version(Contacts),
			a.Pending(Contacts))
	}
	l.push(t, a, start)
	must(t, b.Set(start, ContactNick, "carol", Text("y")))
	l.push(t, b, start)
	mergeAll(t, a, l, []int{0, 1})
	if v := a.Version(Contacts); v == b.Version(Contacts) || v == "" {
		t.Errorf("different replicas: got the same version %q", v)
	}
	mergeAll(t, b, l, []int{1, 0})
	if a.Version(Contacts) != b.Version(Contacts) || a.Version(Profile) != "" || a.Pending(Contacts) != 0 {
		t.Errorf("equal replicas: got %q and %q", a.Version(Contacts), b.Version(Contacts))
	}
	if got := a.ChangedAt(ContactNick, "bob"); got != start {
		t.Errorf("changed at: got %d, want %d", got, start)
	}
}
