package account

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/private"
)

// world is the one trace generator of the properties: Alice with up to three devices, and Bob who writes to
// her.
type world struct {
	t          testing.TB
	now        time.Time
	alice, bob *person
	sent       []sentMail
}

// sentMail is a stored message and the day key that it was sealed to.
type sentMail struct {
	env envelope.Envelope
	key DayVersion
}

func newWorld(t testing.TB) *world {
	return &world{t: t, now: testStart, alice: newPerson(t, 1, testStart), bob: newPerson(t, 2, testStart)}
}

func (w *world) send() {
	w.t.Helper()
	to := w.alice.box.recipient(w.alice.id, w.now)
	e := w.bob.send(w.bob.devices[0], w.alice, "secret", 0, w.now)
	w.sent = append(w.sent, sentMail{e, to.Record.Version()})
}

// pass lets time go by, up to what the records that are published allow, and publishes more.
func (w *world) pass(d time.Duration) {
	w.t.Helper()
	w.now = w.now.Add(d)
	for _, p := range []*person{w.alice, w.bob} {
		s := p.devices[0]
		if _, err := p.catchUp(s, w.now); err != nil {
			w.t.Fatal(err)
		}
		req, err := s.Publish(rand.Reader, func(uint32) bool { return false }, w.now)
		if err != nil {
			w.t.Fatal(err)
		}
		k, _ := s.Authority()
		if err := p.box.do(req, k, w.now).Err(); err != nil {
			w.t.Fatal(err)
		}
	}
}

// step does something at random.
func (w *world) step(t *rapid.T) {
	switch rapid.IntRange(0, 4).Draw(t, "step") {
	case 0, 1:
		w.send()
	case 2:
		w.pass(time.Duration(rapid.IntRange(1, 60).Draw(t, "hours")) * time.Hour)
	case 3:
		w.alice.rotate(w.alice.devices[0], Rotation{}, w.now)
	case 4:
		if len(w.alice.devices) < 3 {
			w.alice.link("more", w.now)
		}
	}
}

// thief is somebody with the phrase and every byte that nodes ever held. candidates are all 32-byte secrets
// that labels lead to from what the phrase gives.
type thief struct {
	id         ident.AccountID
	box        *box
	candidates [][32]byte
}

func newThief(entropy [32]byte, b *box) *thief {
	root := NewRoot(private.KeyOf(entropy))
	th := &thief{id: root.ID(), box: b}
	roots := [][32]byte{entropy, root.sign.seed(), root.vault.b, root.MailboxKey(testCluster).prefix.b,
		[32]byte(th.id[1:])}
	s := &State{account: th.id}
	for _, e := range b.in(envelope.Vault) {
		_ = s.LearnVault(root, e.Body)
	}
	for i := range s.vault {
		roots = append(roots, s.vault[i].key.b)
	}
	context := append(th.id[:], 0, 0, 0, 1)
	for _, r := range roots {
		th.candidates = append(th.candidates, r)
		for _, l := range labels {
			th.candidates = append(th.candidates, derive(r[:], l), derive(r[:], l, context...))
		}
	}
	return th
}

// opens counts the messages and device groups that open when every candidate is taken for every kind of
// secret.
func (th *thief) opens(mail []sentMail) (n int) {
	s := &State{account: th.id, mailbox: th.box.id}
	for _, c := range th.candidates {
		key := newBoxKey(c)
		for _, e := range th.box.in(envelope.Devices) {
			if _, _, err := openGroup(th.id, binary.BigEndian.Uint32(e.Key[12:]), e.Body,
				[]*boxKey{&key}); err == nil {
				n++
			}
		}
		for _, m := range mail {
			fromGS := chainKey{key: secret{b: derive(c[:], labelChain,
				binary.BigEndian.AppendUint32(th.id[:], m.key.G)...)}}
			fromChain := chainKey{key: secret{b: c}}
			kems := []boxKey{key}
			for _, seed := range []secret{{b: c}, fromGS.seed(), fromChain.seed()} {
				kems = append(kems, newBoxKey(derive(seed.b[:], labelKem)))
			}
			for _, kem := range kems {
				if o, _ := s.trialOpen(m.env.Body, m.key, &dayKeys{kem: kem}); o != nil {
					n++
				}
			}
		}
	}
	return n
}

// P1: the phrase and all bytes of all nodes open no message.
func TestPhraseAndServersOpenNothing(t *testing.T) {
	w := newWorld(t)
	w.send()
	w.alice.link("second", w.now)
	w.pass(24 * time.Hour)
	w.send()
	th := newThief(w.alice.entropy, w.alice.box)
	if n := th.opens(w.sent); n != 0 {
		t.Errorf("the phrase opens %d things", n)
	}
	// Nor through the front door: a device made from the phrase finds no slot, and what it recovers is new
	// and visible.
	fresh, err := NewDevice(rand.Reader, w.alice.id, testCluster, "thief", w.now)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.alice.catchUp(fresh, w.now); !errors.Is(err, fault.Denied) || fresh.G() != 0 {
		t.Errorf("a device without approval: got %v at generation %d", err, fresh.G())
	}
	if err := fresh.Recover(rand.Reader, w.alice.root(), w.now); err != nil {
		t.Fatal(err)
	}
	w.alice.settle(fresh, w.now)
	for _, m := range w.sent {
		if _, err := fresh.Open(m.env, nobody); !errors.Is(err, fault.NotFound) {
			t.Errorf("a recovery opens old mail: %v", err)
		}
	}
	if events, _ := w.alice.catchUp(w.alice.devices[0], w.now); len(events) != 1 ||
		events[0].Kind != EventRecovered {
		t.Errorf("the owner sees %v, want the recovery", events)
	}
}

// TestThiefOracleFindsPhraseDerivedSecrets is the negative control of P1: an account whose generation secret
// does come from the phrase is opened.
func TestThiefOracleFindsPhraseDerivedSecrets(t *testing.T) {
	bad := derive([]byte{31: 0}, labelSync)
	entropy := [32]byte{}
	s, err := Create(repeat(bad), NewRoot(private.KeyOf(entropy)), testCluster, "weak", testStart, nil)
	if err != nil {
		t.Fatal(err)
	}
	alice := &person{t: t, entropy: entropy, id: s.Account(), box: &box{t: t, id: s.Mailbox()},
		devices: []*State{s}}
	alice.settle(s, testStart)
	w := &world{t: t, now: testStart, alice: alice, bob: newPerson(t, 2, testStart)}
	w.send()
	if n := newThief(entropy, alice.box).opens(w.sent); n == 0 {
		t.Error("the oracle of P1 is blind: it does not open what it should")
	}
}

// repeat is a reader that yields one 32-byte value for ever.
func repeat(v [32]byte) io.Reader { return &repeater{v: v} }

type repeater struct {
	v [32]byte
	n int
}

func (r *repeater) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = r.v[r.n%32]
		r.n++
	}
	return len(b), nil
}

// P2: the full state of a device opens exactly the mail of the day keys that it retains.
func TestStateOpensExactlyTheRetainedDays(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t)
		s := w.alice.devices[0]
		for range rapid.IntRange(1, 12).Draw(rt, "steps") {
			w.step(rt)
			if rapid.IntRange(0, 3).Draw(rt, "long") == 0 {
				w.pass(time.Duration(rapid.IntRange(1, 12).Draw(rt, "days")) * 24 * time.Hour)
			}
			if rapid.Bool().Draw(rt, "erase") {
				if _, err := w.alice.catchUp(s, w.now); err != nil {
					rt.Fatal(err)
				}
				s.Erase(w.now, time.Time{})
			}
		}
		if _, err := w.alice.catchUp(s, w.now); err != nil {
			rt.Fatal(err)
		}
		s.Erase(w.now, time.Time{})
		stolen := reload(t, s)
		for _, m := range w.sent {
			// The rule, written down once more: a key goes 15 days after its 48 hours.
			end := int64(m.key.Day)*86_400_000 - 900_000 + 48*3_600_000 + 15*86_400_000
			want := w.now.UnixMilli() <= end
			_, err := stolen.Open(m.env, nobody)
			if got := err == nil; got != want {
				rt.Fatalf("mail of %v at %s: opens %v (%v), want %v", m.key, w.now, got, err, want)
			}
		}
	})
}

// Day keys that every device has acknowledged go an hour after their validity.
func TestAcknowledgedDaysGoEarly(t *testing.T) {
	w := newWorld(t)
	s := w.alice.devices[0]
	w.send()
	day := w.sent[0].key.Day
	end := time.UnixMilli(validTo(day)).Add(time.Hour)
	if got := s.Erase(end, end.Add(time.Hour)); len(got) != 0 {
		t.Errorf("erased %v at the very end of the hour", got)
	}
	if got := s.Erase(end.Add(time.Second), end); len(got) != 0 {
		t.Errorf("erased %v before everybody acknowledged", got)
	}
	seed, _ := s.seedOf(w.sent[0].key)
	if got := s.Erase(end.Add(time.Second), end.Add(time.Second)); len(got) != 1 || got[0].Day != day {
		t.Errorf("erased %v, want day %d", got, day)
	}
	if slices.Contains(windows(s.Marshal()), seed.b) {
		t.Error("the erased seed is still in the state")
	}
	if _, err := s.Open(w.sent[0].env, nobody); !errors.Is(err, fault.NotFound) {
		t.Errorf("mail of an erased day: got %v, want NotFound", err)
	}
}

// windows lists all runs of 32 bytes.
func windows(b []byte) (out [][32]byte) {
	for i := 0; i+32 <= len(b); i++ {
		out = append(out, [32]byte(b[i:]))
	}
	return out
}

// P3: after a generation without it, a device's old state opens nothing new, whatever it sees.
func TestOldStateOpensNothingOfTheNextGeneration(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t)
		gone := w.alice.link("stolen", w.now)
		for range rapid.IntRange(0, 4).Draw(rt, "before") {
			w.step(rt)
		}
		if _, err := w.alice.catchUp(gone, w.now); err != nil {
			rt.Fatal(err)
		}
		stolen := gone.Marshal()
		w.alice.rotate(w.alice.devices[0], Rotation{Remove: []ident.DeviceID{gone.Device()}}, w.now)
		w.alice.devices = slices.DeleteFunc(w.alice.devices, func(s *State) bool { return s == gone })
		w.sent = nil
		w.send()
		for range rapid.IntRange(0, 6).Draw(rt, "after") {
			w.step(rt)
		}
		copied, err := w.alice.devices[0].SealCopy(rand.Reader, CopySent, []byte("copy"), w.now)
		if err != nil {
			rt.Fatal(err)
		}
		s, err := UnmarshalState(stolen)
		if err != nil {
			rt.Fatal(err)
		}
		if _, err := w.alice.catchUp(s, w.now); !errors.Is(err, fault.Denied) || !s.Revoked() {
			rt.Fatalf("the stolen state adopts: %v", err)
		}
		keys := s.log
		for _, m := range w.sent {
			if _, err := w.alice.devices[0].Open(m.env, nobody); err != nil { // the control
				rt.Fatalf("a device that stayed does not open mail of %v: %v", m.key, err)
			}
			// Try with all that it has, also against its own idea of which generation the mail is of.
			for d := m.key.Day - 3; d <= m.key.Day+3; d++ {
				for g := uint32(1); g <= keys[len(keys)-1].Cert.G; g++ {
					k, ok := s.dayKeys(DayVersion{g, d})
					if !ok {
						continue
					}
					if o, _ := s.trialOpen(m.env.Body, m.key, k); o != nil {
						rt.Fatalf("generation %d day %d opens mail of %v", g, d, m.key)
					}
				}
			}
		}
		if _, _, err := s.OpenCopy(copied); err == nil {
			rt.Fatal("the stolen state opens a new copy")
		}
	})
}

// P4: devices that wake at different times derive the same keys.
func TestDevicesDeriveEqualKeysOnAnySchedule(t *testing.T) {
	alice := newPerson(t, 1, testStart)
	second := alice.link("second", testStart)
	a, b := alice.devices[0].Marshal(), second.Marshal()
	rapid.Check(t, func(rt *rapid.T) {
		first, err := UnmarshalState(a)
		if err != nil {
			rt.Fatal(err)
		}
		other, err := UnmarshalState(b)
		if err != nil {
			rt.Fatal(err)
		}
		for _, s := range []*State{first, other} {
			now := testStart
			for range rapid.IntRange(0, 6).Draw(rt, "wakes") {
				now = now.Add(time.Duration(rapid.IntRange(0, 100).Draw(rt, "hours")) * time.Hour)
				s.Advance(now)
			}
		}
		day := Day(testStart) + rapid.Uint32Range(0, 40).Draw(rt, "day")
		k, ok1 := first.dayKeys(DayVersion{2, day})
		l, ok2 := other.dayKeys(DayVersion{2, day})
		if !ok1 || !ok2 || k.sync.b != l.sync.b || k.ax.public() != l.ax.public() ||
			string(k.kem.public()) != string(l.kem.public()) {
			rt.Fatalf("day %d differs (%v, %v)", day, ok1, ok2)
		}
	})
}

// P5: any flipped bit, a wrong recipient or a wrong sender is refused.
func TestTamperedMessagesAreRefused(t *testing.T) {
	w := newWorld(t)
	w.send()
	e := w.sent[0].env
	s := w.alice.devices[0]
	rapid.Check(t, func(rt *rapid.T) {
		bit := rapid.IntRange(0, 8*len(e.Body)-1).Draw(rt, "bit")
		bad := e
		bad.Body = slices.Clone(e.Body)
		bad.Body[bit/8] ^= 1 << (bit % 8)
		if in, err := s.Open(bad, nobody); err == nil {
			rt.Fatalf("bit %d flipped: got %+v", bit, in)
		}
	})
	carol := newPerson(t, 3, w.now)
	e.Seq = carol.box.seq + 1
	if _, err := carol.devices[0].Open(e, nobody); !errors.Is(err, fault.NotFound) {
		t.Errorf("another recipient: got %v, want NotFound", err)
	}
	// Mallory knows all of Bob that is public, and says to be Bob.
	mallory := newPerson(t, 4, w.now)
	to := w.alice.box.recipient(w.alice.id, w.now)
	bobs := w.bob.devices[0]
	certs, err := bobs.introduce(0, w.now)
	if err != nil {
		t.Fatal(err)
	}
	h := plainHeader{sender: w.bob.id, senderG: 1, sentAt: w.now.UnixMilli()}
	blob, err := sealPlain(to, h, certs, []byte("give me money"), &mallory.devices[0].gen.sx)
	if err != nil {
		t.Fatal(err)
	}
	w.alice.box.put(envelope.Inbox, [16]byte{}, blob, w.now)
	if in, err := s.Open(w.alice.box.envs[len(w.alice.box.envs)-1], nobody); !errors.Is(err,
		fault.Unauthenticated) {
		t.Errorf("forged sender: got %+v, %v, want Unauthenticated", in, err)
	}
	// The same with Bob's key is accepted: the control.
	blob, err = sealPlain(to, h, certs, []byte("hello"), &bobs.gen.sx)
	if err != nil {
		t.Fatal(err)
	}
	w.alice.box.put(envelope.Inbox, [16]byte{}, blob, w.now)
	if in, err := s.Open(w.alice.box.envs[len(w.alice.box.envs)-1], nobody); err != nil || !in.Verified {
		t.Errorf("true sender: got %+v, %v", in, err)
	}
}

// P8, as far as it is pure: without a valid record of the newest generation nothing is sealed, and the
// phrase's keys have no way to open anything.
func TestNothingIsSealedWithoutAValidRecord(t *testing.T) {
	w := newWorld(t)
	s := w.bob.devices[0]
	now := w.now
	good := w.alice.box.recipient(w.alice.id, now)
	old := good
	w.alice.rotate(w.alice.devices[0], Rotation{}, now)
	rotated := w.alice.box.recipient(w.alice.id, now)
	other := w.bob.box.recipient(w.bob.id, now)
	for name, c := range map[string]struct {
		to   Recipient
		at   time.Time
		kind fault.Kind
	}{
		"no record":               {Recipient{Chain: good.Chain}, now, fault.NotFound},
		"no chain":                {Recipient{Record: good.Record}, now, fault.NotFound},
		"expired":                 {good, now.Add(48 * time.Hour), fault.Stale},
		"not yet valid":           {good, now.Add(-24 * time.Hour), fault.Stale},
		"superseded generation":   {Recipient{Chain: rotated.Chain, Record: old.Record}, now, fault.Stale},
		"record of somebody else": {Recipient{Chain: good.Chain, Record: other.Record}, now, fault.Corrupt},
		"below what was used": {Recipient{Chain: good.Chain, Record: good.Record,
			Floor: DayVersion{1, good.Record.Day + 1}}, now, fault.Stale},
		"below the generation": {Recipient{Chain: good.Chain, Record: good.Record,
			Floor: DayVersion{2, 0}}, now, fault.Stale},
		"of a generation above": {Recipient{Chain: good.Chain, Record: rotated.Record}, now, fault.Stale},
		"signed by another's keys": {Recipient{Chain: good.Chain, Record: forgeRecord(t, good.Record)},
			now, fault.Corrupt},
	} {
		if blob, err := s.Seal(c.to, Outgoing{}, c.at); fault.KindOf(err) != c.kind || blob != nil {
			t.Errorf("%s: got %d bytes, %v, want %s", name, len(blob), err, c.kind)
		}
	}
	if _, err := s.Seal(rotated, Outgoing{}, now); err != nil {
		t.Errorf("the control: %v", err)
	}
	for typ, want := range map[reflect.Type][]string{
		reflect.TypeFor[*Root]():       {"Format", "ID", "MailboxKey", "MarshalText", "Wipe"},
		reflect.TypeFor[*MailboxKey](): {"Format", "MarshalText", "Public", "Sign"},
	} {
		var got []string
		for i := range typ.NumMethod() {
			got = append(got, typ.Method(i).Name)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s can %v, want only %v", typ, got, want)
		}
	}
}

func forgeRecord(t testing.TB, r *EpochRecord) *EpochRecord {
	t.Helper()
	b := r.Bytes()
	b[len(b)-1] ^= 1
	out, err := DecodeEpochRecord(b)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// P9: the length of a ciphertext depends on the bucket only.
func TestCiphertextLengthIsABucket(t *testing.T) {
	w := newWorld(t)
	to := w.alice.box.recipient(w.alice.id, w.now)
	s := w.bob.devices[0]
	buckets := []int{1536, 2048, 2560, 3072, 3584, 4096, 5120, 6144, 7168, 8192, 10240, 12288, 14336, 16384,
		20480, 24576, 28672, 32768, 40960, 49152, 57344, 65536, 81920, 98304}
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(0, MaxMessageBody).Draw(rt, "body")
		blob, err := s.Seal(to, Outgoing{PeerSeen: 1, Body: make([]byte, n)}, w.now)
		if err != nil {
			rt.Fatal(err)
		}
		i, ok := slices.BinarySearch(buckets, len(blob))
		if !ok {
			rt.Fatalf("body of %d bytes: blob of %d bytes is no bucket", n, len(blob))
		}
		if i > 0 && n+blobOverhead <= buckets[i-1] {
			rt.Fatalf("body of %d bytes: bucket %d, %d would do", n, buckets[i], buckets[i-1])
		}
	})
	if _, err := s.Seal(to, Outgoing{PeerSeen: 1, Body: make([]byte, MaxMessageBody+1)},
		w.now); !errors.Is(err, fault.Invalid) {
		t.Errorf("one byte too many: got %v, want Invalid", err)
	}
	for _, n := range []int{0, 1, 900, 940, 5000} {
		blob, err := s.SealCopy(rand.Reader, CopySent, make([]byte, n), w.now)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := slices.BinarySearch(append([]int{1024}, buckets...), len(blob)); !ok {
			t.Errorf("copy of %d bytes: blob of %d bytes is no bucket", n, len(blob))
		}
	}
}

// Nodes cannot count devices: groups of one to four look alike, and the own slot lies anywhere.
func TestDeviceGroupHidesHowManyThereAre(t *testing.T) {
	alice := newPerson(t, 1, testStart)
	size := func(g uint32) int { return len(alice.box.keyed(envelope.Devices, GroupKey(g)).Body) }
	for range 4 {
		alice.link("more", testStart)
	}
	if size(1) != size(2) || size(2) != size(4) || size(4) == size(5) {
		t.Errorf("sizes for 1 to 5 devices: %d %d %d %d %d", size(1), size(2), size(3), size(4), size(5))
	}
	places := make(map[int]bool)
	s := alice.devices[0]
	for range 40 {
		c, err := s.Rotate(rand.Reader, Rotation{}, testStart)
		if err != nil {
			t.Fatal(err)
		}
		b, err := unwrapRecord(alice.id, envelope.Devices, GroupKey(c.G), c.Group)
		if err != nil {
			t.Fatal(err)
		}
		slots, _, err := splitGroup(b, c.G)
		if err != nil {
			t.Fatal(err)
		}
		for i, slot := range slots {
			if _, err := s.box.open(groupContext(labelGroupSlot, alice.id, c.G), slot); err == nil {
				places[i] = true
			}
		}
	}
	if len(places) < 4 {
		t.Errorf("the own slot was only at %v in 40 groups of 8 slots", places)
	}
}
