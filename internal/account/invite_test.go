package account

import (
	"bytes"
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// newJoiner makes a new device, through a restart of it.
func newJoiner(t testing.TB, label string) *Joiner {
	t.Helper()
	j, err := NewJoiner(rand.Reader, testCluster, label, testStart)
	if err != nil {
		t.Fatal(err)
	}
	again, err := UnmarshalJoiner(j.Marshal())
	if err != nil || !bytes.Equal(again.Marshal(), j.Marshal()) || again.Invite() != j.Invite() {
		t.Fatalf("a new device after a restart: %v, its invitation must stay", err)
	}
	return again
}

// invited carries the offer of j to a device of the account and returns the invitation and the offer as that
// reads them.
func invited(t testing.TB, j *Joiner) (Invite, *Offer) {
	t.Helper()
	i, err := ParseInvite(j.Invite().String())
	if err != nil {
		t.Fatal(err)
	}
	blob, err := j.SealOffer(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	o, err := i.OpenOffer(blob)
	if err != nil {
		t.Fatal(err)
	}
	return i, o
}

func TestInvitationLinks(t *testing.T) {
	alice := newPerson(t, 1, testStart)
	live := alice.devices[0]
	j := newJoiner(t, "tablet")
	i, o := invited(t, j)
	if o.Device != j.Device() || o.Label != "tablet" || !i.For(testCluster) || i.For(ident.ClusterID{9}) {
		t.Errorf("offer: got %s %q, want %s tablet, for the test's cluster only", o.Device,
			o.Label, j.Device())
	}
	if r := i.Rendezvous(); r.Mailbox != j.Invite().Rendezvous().Mailbox ||
		r.Authority.Public() == r.Key.Public() {
		t.Error("both sides must find the same mailbox, whose authority is another key than its own")
	}
	if _, err := i.SealAnswer(rand.Reader, o, live); !errors.Is(err, fault.NotFound) {
		t.Errorf("answer before the device is in: got %v, want not found", err)
	}
	alice.rotate(live, Rotation{Invite: []*Offer{o}}, testStart.Add(time.Minute))
	alice.rotate(live, Rotation{}, testStart.Add(time.Hour)) // before the answer is made
	blob, err := i.SealAnswer(rand.Reader, o, live)
	if err != nil {
		t.Fatal(err)
	}
	a, err := j.OpenAnswer(blob)
	if err != nil || a.Account != alice.id || a.G != 2 {
		t.Fatalf("answer: got %+v, %v, want Alice at generation 2", a, err)
	}
	certs := alice.box.in(envelope.Certs)
	if _, err := j.Join(a, certs[:1]); !errors.Is(err, fault.Stale) {
		t.Errorf("join with an old log: got %v, want stale", err)
	}
	s, err := j.Join(a, certs)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := alice.catchUp(s, testStart); err != nil || s.G() != 3 || s.Revoked() {
		t.Fatalf("adopt: got generation %d, %v, want 3", s.G(), err)
	}
	// Both derive the same day keys from here on.
	k1, _ := live.dayKeys(DayVersion{3, Day(testStart)})
	k2, _ := s.dayKeys(DayVersion{3, Day(testStart)})
	if k1.sync.b != k2.sync.b {
		t.Error("the linked device derives other day keys")
	}
	if _, err := live.Rotate(rand.Reader, Rotation{Invite: []*Offer{o}}, testStart); !errors.Is(err,
		fault.Exists) {
		t.Errorf("the same invitation again: got %v, want exists", err)
	}
}

// TestMiddleCannotSwapKeys plays nodes and passers-by that put other bytes into the rendezvous mailbox.
func TestMiddleCannotSwapKeys(t *testing.T) {
	alice, mallory := newPerson(t, 1, testStart), newPerson(t, 2, testStart)
	j, other := newJoiner(t, "tablet"), newJoiner(t, "evil")
	i, o := invited(t, j)
	own, _ := j.SealOffer(rand.Reader)
	foreign, _ := other.SealOffer(rand.Reader)
	if _, err := i.OpenOffer(foreign); !errors.Is(err, fault.Corrupt) {
		t.Errorf("an offer under another seed: got %v, want corrupt", err)
	}
	// Somebody who saw the invitation knows the seed, but has to find an offer with its hash.
	swapped, _ := i.wrap(rand.Reader, OfferKey, other.offer())
	if _, err := i.OpenOffer(swapped); !errors.Is(err, fault.Denied) {
		t.Errorf("another device's offer under the right seed: got %v, want denied", err)
	}
	if bytes.Contains(own, []byte("tablet")) {
		t.Error("a node reads the label")
	}
	alice.rotate(alice.devices[0], Rotation{Invite: []*Offer{o}}, testStart.Add(time.Minute))
	answer, err := i.SealAnswer(rand.Reader, o, alice.devices[0])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.OpenAnswer(answer); !errors.Is(err, fault.Corrupt) {
		t.Errorf("another device opens the answer: got %v, want corrupt", err)
	}
	// With the seed alone the answer stays closed: it is sealed to the new device's key.
	thief := *other
	thief.seed = j.seed
	if _, err := thief.OpenAnswer(answer); !errors.Is(err, fault.Corrupt) {
		t.Errorf("a device with the seed opens the answer: got %v, want corrupt", err)
	}
	a, err := j.OpenAnswer(answer)
	if err != nil {
		t.Fatal(err)
	}
	// A node that shows another log for the account cannot move the device in elsewhere.
	mallory.rotate(mallory.devices[0], Rotation{}, testStart)
	if _, err := j.Join(a, mallory.box.in(envelope.Certs)); !errors.Is(err, fault.Stale) {
		t.Errorf("join with another account's log: got %v, want stale", err)
	}
	forked := newPerson(t, 1, testStart)
	forked.rotate(forked.devices[0], Rotation{}, testStart.Add(time.Minute))
	if _, err := j.Join(a, forked.box.in(envelope.Certs)); !errors.Is(err, fault.Corrupt) {
		t.Errorf("join with a forked log: got %v, want corrupt", err)
	}
}

func TestAnyFlippedBitOfALinkIsRefused(t *testing.T) {
	alice := newPerson(t, 1, testStart)
	j := newJoiner(t, "tablet")
	i, o := invited(t, j)
	offer, _ := j.SealOffer(rand.Reader)
	alice.rotate(alice.devices[0], Rotation{Invite: []*Offer{o}}, testStart.Add(time.Minute))
	answer, err := i.SealAnswer(rand.Reader, o, alice.devices[0])
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		bit := rapid.IntRange(0, 8*len(offer)-1).Draw(t, "bit of the offer")
		b := slices.Clone(offer)
		b[bit/8] ^= 1 << (bit % 8)
		if _, err := i.OpenOffer(b); err == nil {
			t.Error("a damaged offer opens")
		}
		bit = rapid.IntRange(0, 8*len(answer)-1).Draw(t, "bit of the answer")
		b = slices.Clone(answer)
		b[bit/8] ^= 1 << (bit % 8)
		if _, err := j.OpenAnswer(b); err == nil {
			t.Error("a damaged answer opens")
		}
	})
}

func TestInvitationText(t *testing.T) {
	text := newJoiner(t, "x").Invite().String()
	want, err := ParseInvite(text)
	if err != nil || len(text) != len(invitePrefix)+68+16 {
		t.Fatalf("own text of %d characters: %v", len(text), err)
	}
	for _, same := range []string{strings.ToLower(text), strings.TrimPrefix(text, invitePrefix),
		strings.ReplaceAll(text, "-", " "),
		"  " + strings.ReplaceAll(text, "-", "") + "\n"} {
		if got, err := ParseInvite(same); err != nil || got != want {
			t.Errorf("%q: got %v, want the same invitation", same, err)
		}
	}
	for _, bad := range []string{"", "7K2M-9QXD", text[:len(text)-1], text + "0", strings.Repeat("0", 68),
		strings.Repeat("A", 2000), strings.Replace(text, "-", "-U", 1)} {
		if _, err := ParseInvite(bad); !errors.Is(err, fault.Invalid) {
			t.Errorf("%.20q: got %v, want invalid", bad, err)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		b := []byte(strings.ReplaceAll(strings.TrimPrefix(text, invitePrefix), "-", ""))
		at := rapid.IntRange(0, len(b)-1).Draw(t, "at")
		c := crockford[rapid.IntRange(0, 31).Draw(t, "character")]
		changed := b[at] != c
		b[at] = c
		got, err := ParseInvite(string(b))
		if changed && err == nil && got == want {
			t.Error("another text reads as the same invitation")
		}
	})
}

func TestRenameAndLastSeen(t *testing.T) {
	alice := newPerson(t, 1, testStart)
	second := alice.link("second", testStart)
	later := testStart.Add(48 * time.Hour)
	alice.rotate(second, Rotation{Rename: map[ident.DeviceID]string{alice.devices[0].Device(): "kitchen"}},
		later)
	if _, err := alice.catchUp(alice.devices[0], later); err != nil {
		t.Fatal(err)
	}
	for _, s := range alice.devices {
		for _, d := range s.Devices() {
			if d.ID == alice.devices[0].Device() && d.Label != "kitchen" || d.ID == second.Device() &&
				(d.Label != "second" || d.LastSeen != Day(later)) {
				t.Errorf("device %s: got label %q, last seen %d", d.ID, d.Label, d.LastSeen)
			}
		}
	}
	if got := alice.devices[0].Label(); got != "kitchen" {
		t.Errorf("own label: got %q, want kitchen", got)
	}
	for label, id := range map[string]ident.DeviceID{strings.Repeat("x", MaxLabel+1): second.Device(),
		"\xff": second.Device()} {
		if _, err := second.Rotate(rand.Reader, Rotation{Rename: map[ident.DeviceID]string{id: label}},
			later); !errors.Is(err, fault.Invalid) {
			t.Errorf("label %.8q: got %v, want invalid", label, err)
		}
	}
	if _, err := second.Rotate(rand.Reader, Rotation{Rename: map[ident.DeviceID]string{{9}: "nobody"}},
		later); !errors.Is(err, fault.NotFound) {
		t.Errorf("rename nobody: got %v, want not found", err)
	}
}

// TestPhraseOutranksAThief expels a device whose holder has every key of the generation.
func TestPhraseOutranksAThief(t *testing.T) {
	alice := newPerson(t, 1, testStart)
	thief := alice.link("stolen", testStart)
	third := alice.link("third", testStart)
	live := alice.devices[0]
	if _, err := alice.catchUp(live, testStart); err != nil {
		t.Fatal(err)
	}
	if _, _, err := live.Expel(rand.Reader, newPerson(t, 2, testStart).root(),
		[]ident.DeviceID{thief.Device()}, testStart); !errors.Is(err, fault.Denied) {
		t.Errorf("with another phrase: got %v, want denied", err)
	}
	c, key, err := live.Expel(rand.Reader, alice.root(), []ident.DeviceID{thief.Device()}, testStart)
	if err != nil {
		t.Fatal(err)
	}
	alice.commit(live, c, key, testStart)
	events, err := alice.catchUp(third, testStart)
	if err != nil || !slices.ContainsFunc(events, func(e Event) bool { return e.Kind == EventRecovered }) {
		t.Errorf("the third device: got %v, %v, want to stay and to see a recovery", events, err)
	}
	if _, err := alice.catchUp(thief, testStart); !errors.Is(err, fault.Denied) || !thief.Revoked() {
		t.Errorf("the thief: got %v, want to be left out", err)
	}
	if len(third.Devices()) != 2 || third.Tombstones()[0].ID != thief.Device() ||
		third.Tombstones()[0].By != (ident.DeviceID{}) {
		t.Errorf("devices: got %d, tombstones %+v, want two and the thief's, by the phrase",
			len(third.Devices()), third.Tombstones())
	}
	if live.VaultGen() != live.G() {
		t.Errorf("data key of generation %d, want %d", live.VaultGen(), live.G())
	}
	if head, _ := live.Chain(); !head.Head().RootSigned() || head.Head().Kind != CertRecover {
		t.Error("contacts must see it as a recovery")
	}
	if _, err := thief.Rotate(rand.Reader, Rotation{}, testStart); !errors.Is(err, fault.Denied) {
		t.Errorf("the thief rotates: got %v, want denied", err)
	}
}

func FuzzParseInvite(f *testing.F) {
	j, err := NewJoiner(rand.Reader, testCluster, "x", testStart)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(j.Invite().String())
	f.Fuzz(func(t *testing.T, s string) {
		i, err := ParseInvite(s)
		if err != nil {
			return
		}
		if again, err := ParseInvite(i.String()); err != nil || again != i {
			t.Errorf("round trip: %v", err)
		}
	})
}

func FuzzDecodeOffer(f *testing.F) {
	j, err := NewJoiner(rand.Reader, testCluster, "x", testStart)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(j.offer())
	f.Fuzz(func(t *testing.T, b []byte) {
		if o, err := decodeOffer(b); err == nil && !bytes.Equal(o.raw, b) {
			t.Error("an offer is not the bytes it came as")
		}
	})
}

func FuzzOpenAnswer(f *testing.F) {
	j, err := NewJoiner(rand.Reader, testCluster, "x", testStart)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(bytes.Repeat([]byte{1}, 85))
	f.Fuzz(func(t *testing.T, plain []byte) {
		// What is inside of valid layers may still be anything.
		sealed, err := boxSeal(j.box.public(), answerInfo(j.offer()), plain)
		if err != nil {
			t.Fatal(err)
		}
		blob, err := j.Invite().wrap(rand.Reader, AnswerKey, sealed)
		if err != nil {
			t.Fatal(err)
		}
		if a, err := j.OpenAnswer(blob); err == nil && (len(plain) != 70 || a.G == 0 ||
			CheckID(a.Account) != nil) {
			t.Errorf("%x is an answer", plain)
		}
	})
}

func FuzzUnmarshalJoiner(f *testing.F) {
	j, err := NewJoiner(rand.Reader, testCluster, "x", testStart)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(j.Marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		if j, err := UnmarshalJoiner(b); err == nil && !bytes.Equal(j.Marshal(), b) {
			t.Error("a new device is not the bytes it came as")
		}
	})
}
