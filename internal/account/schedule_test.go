package account

import (
	"crypto/rand"
	"errors"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// acknowledge tells the account's devices how far s has fetched.
func (p *person) acknowledge(s *State, upTo, now time.Time) {
	p.t.Helper()
	blob, err := s.SealFetched(rand.Reader, upTo.UnixMilli(), now)
	if err != nil {
		p.t.Fatal(err)
	}
	p.box.put(envelope.Sync, [16]byte{}, blob, now)
}

// acked reads all acknowledgements as s does.
func (p *person) acked(s *State, own time.Time) time.Time {
	p.t.Helper()
	said := map[ident.DeviceID]int64{}
	for _, e := range p.box.in(envelope.Sync) {
		kind, body, err := s.OpenCopy(e.Body)
		if err != nil || kind != CopyFetched {
			continue
		}
		f, err := s.ApplyFetched(body, e.StoredAt)
		if err != nil {
			p.t.Fatal(err)
		}
		said[f.Device] = max(said[f.Device], f.UpTo)
	}
	return s.Acked(own.UnixMilli(), func(d ident.DeviceID) int64 { return said[d] })
}

func TestGenerationsFallDueWithinAWeekOneDeviceAtATime(t *testing.T) {
	alice := newPerson(t, 1, testStart)
	for range 2 {
		alice.link("more", testStart)
	}
	first := map[ident.DeviceID]bool{}
	now := testStart
	for range 8 {
		var at []time.Time
		var who ident.DeviceID
		for _, s := range alice.devices {
			if _, err := alice.catchUp(s, now); err != nil {
				t.Fatal(err)
			}
			due, ok := s.RotationDue()
			if left := due.Sub(now); !ok || left < 6*24*time.Hour || left >= 7*24*time.Hour-time.Hour {
				t.Fatalf("device %s: due in %s, %v, want between six days and an hour before seven",
					s.Device(), left, ok)
			}
			if len(at) == 0 || due.Before(slices.MinFunc(at, time.Time.Compare)) {
				who = s.Device()
			}
			at = append(at, due)
		}
		if at[0].Equal(at[1]) || at[1].Equal(at[2]) || at[0].Equal(at[2]) {
			t.Errorf("devices share a turn: %v", at)
		}
		first[who] = true
		now = slices.MinFunc(at, time.Time.Compare)
		i := slices.IndexFunc(alice.devices, func(s *State) bool { return s.Device() == who })
		alice.rotate(alice.devices[i], Rotation{}, now)
	}
	if len(first) < 2 {
		t.Error("one device has the first turn in every generation")
	}
	if due, ok := reload(t, alice.devices[0]).RotationDue(); ok && due.Before(now) {
		t.Errorf("due at %s after a generation at %s", due, now)
	}
}

func TestSilentDevicesAreLeftOutAndASoleDeviceNever(t *testing.T) {
	now := testStart
	alice := newPerson(t, 1, now)
	sole := alice.devices[0]
	if got := sole.Silent(now.Add(400 * 24 * time.Hour)); len(got) != 0 {
		t.Errorf("a sole device is silent to itself: %v", got)
	}
	second, third := alice.link("second", now), alice.link("third", now)
	for _, s := range alice.devices {
		if _, err := alice.catchUp(s, now); err != nil {
			t.Fatal(err)
		}
	}
	// The third says a word on day 10, the second never does; the ratchet only lets day keys of published
	// days be used.
	for range 5 {
		w := &world{t: t, now: now, alice: alice, bob: newPerson(t, 2, now)}
		w.pass(48 * time.Hour)
		now = w.now
	}
	alice.acknowledge(third, now, now)
	alice.acked(sole, now)
	if got := sole.Silent(testStart.Add(15 * 24 * time.Hour)); len(got) != 0 {
		t.Errorf("after 15 days: got %v, want nobody", got)
	}
	at := testStart.Add(SilentDays * 24 * time.Hour)
	if got := reload(t, sole).Silent(at); !slices.Equal(got, []ident.DeviceID{second.Device()}) {
		t.Fatalf("after 16 days: got %v, want the second device", got)
	}
	old := sole.VaultGen()
	a := alice.rotate(sole, Rotation{Silent: sole.Silent(at)}, at)
	if !slices.Equal(a.Removed, []ident.DeviceID{second.Device()}) || sole.VaultGen() == old {
		t.Errorf("got %v removed and data key of generation %d, want the second device and a new key",
			a.Removed, sole.VaultGen())
	}
	if tombs := sole.Tombstones(); len(tombs) != 1 || tombs[0].Reason != TombSilent ||
		tombs[0].By != sole.Device() {
		t.Errorf("tombstones: got %+v", tombs)
	}
	if _, err := alice.catchUp(second, at); !errors.Is(err, fault.Denied) || !second.Revoked() {
		t.Errorf("the silent device: got %v, revoked %v", err, second.Revoked())
	}
	if _, err := alice.catchUp(third, at); err != nil || third.Revoked() {
		t.Errorf("the third device: got %v", err)
	}
	if _, err := sole.Rotate(rand.Reader, Rotation{Silent: []ident.DeviceID{sole.Device()}},
		at); !errors.Is(err, fault.Invalid) {
		t.Errorf("a device leaves itself out: got %v, want Invalid", err)
	}
}

// P2 with acknowledgements: on any schedule of fetching, a day key goes exactly when every device has said
// that it has fetched past the day's end, or after 15 days.
func TestDaysGoWhenAllDevicesHaveAcknowledged(t *testing.T) {
	base := newPerson(t, 1, testStart)
	base.link("second", testStart)
	rapid.Check(t, func(rt *rapid.T) {
		alice := &person{t: t, entropy: base.entropy, id: base.id, box: &box{t: t, id: base.box.id,
			authority: base.box.authority, seq: base.box.seq, envs: slices.Clone(base.box.envs)}}
		for _, s := range base.devices {
			alice.devices = append(alice.devices, reload(t, s))
		}
		now := testStart
		fetched := map[ident.DeviceID]time.Time{}
		for range rapid.IntRange(1, 25).Draw(rt, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(1, 30).Draw(rt, "hours")) * time.Hour)
			s := alice.devices[rapid.IntRange(0, 1).Draw(rt, "device")]
			fetched[s.Device()] = now
			alice.acknowledge(s, now, now)
			held := len(s.Retained())
			s.Advance(now)
			all := s.Retained()
			acked := now
			for _, d := range s.Devices() {
				if fetched[d.ID].Before(acked) {
					acked = fetched[d.ID]
				}
			}
			erased := s.Erase(now, alice.acked(s, now))
			for _, v := range all {
				end := time.UnixMilli(int64(v.Day)*86_400_000 - 900_000 + 48*3_600_000)
				want := acked.After(end.Add(time.Hour)) || now.After(end.Add(15*24*time.Hour))
				if got := slices.Contains(erased, v); got != want {
					rt.Fatalf("%v at %s with all at %s (%d held): erased %v, want %v", v, now, acked,
						held, got, want)
				}
			}
		}
	})
}

func TestForeignAndForgedAcknowledgementsAreRefused(t *testing.T) {
	now := testStart
	alice := newPerson(t, 1, now)
	second := alice.link("second", now)
	first := alice.devices[0]
	if _, err := alice.catchUp(first, now); err != nil {
		t.Fatal(err)
	}
	blob, err := second.SealFetched(rand.Reader, now.Add(90*24*time.Hour).UnixMilli(), now)
	if err != nil {
		t.Fatal(err)
	}
	_, body, err := first.OpenCopy(blob)
	if err != nil {
		t.Fatal(err)
	}
	// A clock that runs ahead acknowledges no more than the node's time.
	if f, err := first.ApplyFetched(body, now.UnixMilli()); err != nil || f.Device != second.Device() ||
		f.UpTo != now.UnixMilli() {
		t.Errorf("acknowledgement from the future: got %+v, %v, want it lowered to %d", f, err,
			now.UnixMilli())
	}
	for i := range body {
		bad := slices.Clone(body)
		bad[i] ^= 1
		if f, err := first.ApplyFetched(bad, now.UnixMilli()); err == nil {
			t.Fatalf("byte %d flipped: got %+v", i, f)
		}
	}
	for _, n := range []int{0, 1, len(body) - 1} {
		if _, err := first.ApplyFetched(body[:n], now.UnixMilli()); !errors.Is(err, fault.Corrupt) {
			t.Errorf("cut to %d bytes: got %v, want Corrupt", n, err)
		}
	}
	alice.rotate(first, Rotation{Remove: []ident.DeviceID{second.Device()}}, now)
	if _, err := first.ApplyFetched(body, now.UnixMilli()); !errors.Is(err, fault.Denied) {
		t.Errorf("from a removed device: got %v, want Denied", err)
	}
	if got := first.Acked(now.UnixMilli(),
		func(ident.DeviceID) int64 { return 0 }); !got.Equal(time.UnixMilli(now.UnixMilli())) {
		t.Errorf("a sole device: acknowledged up to %s, want %s", got, now)
	}
}

func FuzzApplyFetched(f *testing.F) {
	alice := newPerson(f, 1, testStart)
	s := alice.devices[0]
	blob, err := s.SealFetched(rand.Reader, testStart.UnixMilli(), testStart)
	if err != nil {
		f.Fatal(err)
	}
	_, body, err := s.OpenCopy(blob)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(body, int64(1))
	f.Add([]byte{1}, int64(-1))
	f.Fuzz(func(t *testing.T, b []byte, at int64) {
		if got, err := s.ApplyFetched(b, at); err == nil && (got.Device != s.Device() || got.UpTo > at ||
			string(b) != string(body)) {
			t.Errorf("got %+v of %x at %d", got, b, at)
		}
	})
}
