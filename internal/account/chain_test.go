package account

import (
	"bytes"
	"crypto/rand"
	"errors"
	"testing"

	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/private"
)

// forge makes certificates of one account at will.
type forge struct {
	t    testing.TB
	root *Root
	id   ident.AccountID
}

func newForge(t testing.TB, tag byte) *forge {
	root := NewRoot(private.KeyOf([32]byte{tag}))
	return &forge{t: t, root: root, id: root.ID()}
}

func (f *forge) gen(g uint32) generation { return expand([32]byte{byte(g), 77}, f.id, g, 21_000) }

func (f *forge) cert(kind CertKind, g uint32, prev *Cert, ask *certKey, root *Root) *Cert {
	f.t.Helper()
	x := f.gen(g)
	c := Cert{Kind: kind, Account: f.id, G: g, Ask: x.ask.public(), Sx: x.sx.public(), Auth: x.auth.Public(),
		Created: 21_000 * dayMS}
	if prev != nil {
		c.Prev = prev.Hash()
	}
	return mustCert(f.t, c, ask, root)
}

func (f *forge) genesis() *Cert { return f.cert(CertGenesis, 1, nil, nil, f.root) }

func (f *forge) rotate(prev *Cert) *Cert {
	x := f.gen(prev.G)
	return f.cert(CertRotate, prev.G+1, prev, &x.ask, nil)
}

func (f *forge) recover(prev *Cert) *Cert { return f.cert(CertRecover, prev.G+1, prev, nil, f.root) }

// P6: what does not lead on from what is known is refused.
func TestOnlyTrueChainsVerify(t *testing.T) {
	f, other := newForge(t, 1), newForge(t, 2)
	c1 := f.genesis()
	c2 := f.rotate(c1)
	c3 := f.rotate(c2)
	r4 := f.recover(c3)
	wrongAsk := f.gen(9)
	stranger := other.genesis()
	for name, certs := range map[string][]*Cert{
		"none":                      nil,
		"begins with a rotate":      {c2, c3},
		"a gap":                     {c1, c3},
		"backwards":                 {c1, c2, c1},
		"twice":                     {c1, c1},
		"of another account":        {stranger},
		"another account's in it":   {c1, other.rotate(stranger)},
		"signed by the wrong key":   {c1, f.cert(CertRotate, 2, c1, &wrongAsk.ask, nil)},
		"names another predecessor": {c1, f.cert(CertRotate, 2, c3, ptr(f.gen(1)), nil)},
		"recover by another root":   {f.cert(CertRecover, 2, c1, nil, other.root)},
		"root-signed rotate first":  {f.cert(CertRotate, 2, c1, ptr(f.gen(1)), f.root)},
	} {
		if _, err := VerifyChain(f.id, certs); !errors.Is(err, fault.Corrupt) {
			t.Errorf("%s: got %v, want Corrupt", name, err)
		}
	}
	for name, certs := range map[string][]*Cert{"whole": {c1, c2, c3, r4}, "from the recovery": {r4},
		"genesis": {c1}} {
		if _, err := VerifyChain(f.id, certs); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func ptr(g generation) *certKey { return &g.ask }

func TestPinnedChainOnlyMovesOn(t *testing.T) {
	f := newForge(t, 1)
	c1 := f.genesis()
	c2 := f.rotate(c1)
	c3 := f.rotate(c2)
	r4 := f.recover(c3)
	c5 := f.rotate(r4)
	pin, err := VerifyChain(f.id, []*Cert{c1, c2})
	if err != nil {
		t.Fatal(err)
	}
	fork2 := f.cert(CertRecover, 2, c1, nil, f.root)
	for name, c := range map[string]struct {
		certs  []*Cert
		g      uint32
		events int
		bad    bool
	}{
		"nothing":                     {nil, 2, 0, false},
		"what is known":               {[]*Cert{c1, c2}, 2, 0, false},
		"an older head":               {[]*Cert{c1}, 2, 0, false},
		"the next":                    {[]*Cert{c3}, 3, 1, false},
		"the whole log":               {[]*Cert{c1, c2, c3}, 3, 1, false},
		"over a recovery":             {[]*Cert{c3, r4, c5}, 5, 3, false},
		"a recovery with a gap":       {[]*Cert{r4, c5}, 5, 2, false},
		"a rotate with a gap":         {[]*Cert{c5}, 2, 0, true},
		"a fork at the head":          {[]*Cert{fork2}, 2, 0, true},
		"a fork below, then above it": {[]*Cert{fork2, f.rotate(fork2)}, 2, 0, true},
	} {
		got, events, err := pin.Extend(c.certs)
		if c.bad {
			if !errors.Is(err, fault.Corrupt) {
				t.Errorf("%s: got %v, want Corrupt", name, err)
			}
			continue
		}
		if err != nil || got.G() != c.g || len(events) != c.events {
			t.Errorf("%s: got generation %d, events %v, %v, want %d, %d", name, got.G(), events,
				err, c.g, c.events)
		}
	}
	if pin.G() != 2 {
		t.Errorf("the pin itself moved to %d", pin.G())
	}
	long, _, _ := pin.Extend([]*Cert{c3, r4, c5})
	if got := long.Certs(); len(got) != 2 || got[0] != r4 {
		t.Errorf("a chain begins at its newest recovery: got %d certificates", len(got))
	}
	again, err := UnmarshalChain(long.Marshal())
	if err != nil || again.G() != 5 {
		t.Errorf("marshalled: %v", err)
	}
}

func TestLogPassesOverWhatDoesNotFit(t *testing.T) {
	f, other := newForge(t, 1), newForge(t, 2)
	c1 := f.genesis()
	c2 := f.rotate(c1)
	r3 := f.recover(c2)
	c4 := f.rotate(r3)
	var log []LoggedCert
	for i, c := range []*Cert{c1, other.genesis(), c2, c1, f.cert(CertRotate, 2, c1, ptr(f.gen(1)), nil),
		r3, c2, c4, r3} {
		log = append(log, LoggedCert{Seq: uint64(i + 1), Cert: c})
	}
	c, err := ChainOfLog(f.id, log)
	if err != nil || c.Head() != c4 || c.Certs()[0] != r3 {
		t.Errorf("got %v, %v, want the chain from the recovery to generation 4", c, err)
	}
	if _, err := ChainOfLog(other.id, log[:1]); !errors.Is(err, fault.NotFound) {
		t.Errorf("a log without the account: got %v, want NotFound", err)
	}
}

func TestJunkInTheOwnLogIsHarmless(t *testing.T) {
	alice := newPerson(t, 1, testStart)
	s := alice.devices[0]
	alice.box.put(envelope.Certs, [16]byte{}, []byte("junk"), testStart)
	alice.rotate(s, Rotation{}, testStart)
	if s.G() != 2 || s.CertsHead() != alice.box.head() {
		t.Errorf("generation %d, head %d, want 2, %d", s.G(), s.CertsHead(), alice.box.head())
	}
}

func TestMalformedCertificatesAreRefused(t *testing.T) {
	f := newForge(t, 1)
	good := f.rotate(f.genesis()).raw
	for n := range good {
		if _, err := DecodeCert(good[:n]); !errors.Is(err, fault.Invalid) {
			t.Fatalf("cut at %d: got %v, want Invalid", n, err)
		}
	}
	set := func(at int, v ...byte) []byte {
		b := bytes.Clone(good)
		copy(b[at:], v)
		return b
	}
	torsion := append([]byte{}, make([]byte, 32)...) // y = 0: a point of order 4
	const ask, sx = 73, 105
	for name, b := range map[string][]byte{
		"trailing byte":      append(bytes.Clone(good), 0),
		"unknown version":    set(0, 2),
		"unknown kind":       set(1, 9),
		"move":               set(1, byte(CertMove)),
		"flags":              set(2, 0, 1),
		"not an account":     set(4, 3),
		"generation zero":    set(37, 0, 0, 0, 0),
		"ask of small order": set(ask, torsion...),
		"ask not canonical":  set(ask, bytes.Repeat([]byte{0xff}, 32)...),
		"sx of small order":  set(sx, make([]byte, 32)...),
		"sx not canonical": set(sx,
			append([]byte{0xee}, append(bytes.Repeat([]byte{0xff}, 30), 0x7f)...)...),
		"too long": make([]byte, 1025),
	} {
		if _, err := DecodeCert(b); !errors.Is(err, fault.Invalid) {
			t.Errorf("%s: got %v, want Invalid", name, err)
		}
	}
}

func TestAccountIDsThatAreNoPointsAreNotFound(t *testing.T) {
	id := NewRoot(private.KeyOf([32]byte{1})).ID()
	if err := CheckID(id); err != nil {
		t.Fatal(err)
	}
	group := id
	group[0] = 3
	for name, bad := range map[string]ident.AccountID{
		"identity": ident.AccountIDOf(append([]byte{1}, make([]byte, 31)...)),
		"order 4":  ident.AccountIDOf(make([]byte, 32)),
		"no point": ident.AccountIDOf(append([]byte{2}, make([]byte, 31)...)),
		"not canonical": ident.AccountIDOf(append([]byte{0xee},
			append(bytes.Repeat([]byte{0xff}, 30), 0x7f)...)),
		"a group":        group,
		"mixed torsion":  ident.AccountIDOf(torsioned(t)),
		"identity, sign": ident.AccountIDOf(append([]byte{1}, append(make([]byte, 30), 0x80)...)),
	} {
		if err := CheckID(bad); !errors.Is(err, fault.NotFound) {
			t.Errorf("%s: got %v, want NotFound", name, err)
		}
		if _, err := MailboxOf(bad, testCluster); !errors.Is(err, fault.NotFound) {
			t.Errorf("mailbox of %s: got %v, want NotFound", name, err)
		}
	}
}

func TestMailboxesOfClustersDiffer(t *testing.T) {
	root := NewRoot(private.KeyOf([32]byte{1}))
	a, err := MailboxOf(root.ID(), ident.ClusterID{1})
	if err != nil {
		t.Fatal(err)
	}
	b, _ := MailboxOf(root.ID(), ident.ClusterID{2})
	if a == b || bytes.Equal(a[:], root.ID().RootKey()) {
		t.Error("mailboxes show whose they are")
	}
	if got := root.MailboxKey(ident.ClusterID{1}).Public(); got != [32]byte(a) {
		t.Errorf("owner's and contact's mailbox differ: %x, %x", got, a)
	}
}

func TestCodesAreReadAsPeopleTypeThem(t *testing.T) {
	for in, want := range map[string]string{"abcd-2345": "ABCD2345", " o1il 0000": "01110000",
		"ZZZZZZZZ": "ZZZZZZZZ"} {
		if got, err := ParseCode(in); err != nil || got != want {
			t.Errorf("%q: got %q, %v, want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"", "ABC", "ABCDEFGHJ", "ABCDEFGU", "ABCDEFG\u00d6"} {
		if _, err := ParseCode(in); !errors.Is(err, fault.Invalid) {
			t.Errorf("%q: got %v, want Invalid", in, err)
		}
	}
}

func TestLinkRequestsOfOthersAreRefused(t *testing.T) {
	now := testStart
	alice, bob := newPerson(t, 1, now), newPerson(t, 2, now)
	fresh, err := NewDevice(rand.Reader, alice.id, testCluster, "new", now)
	if err != nil {
		t.Fatal(err)
	}
	fresh.LearnCerts(alice.box.in(envelope.Certs))
	if _, _, err := fresh.LinkRequest(bob.root(), alice.box.recipient(alice.id, now), now); !errors.Is(err,
		fault.Denied) {
		t.Errorf("with another phrase: got %v, want Denied", err)
	}
	l, blob, err := fresh.LinkRequest(alice.root(), alice.box.recipient(alice.id, now), now)
	if err != nil {
		t.Fatal(err)
	}
	again, _, err := reload(t, fresh).LinkRequest(alice.root(), alice.box.recipient(alice.id, now), now)
	if err != nil || again.Code != l.Code || !bytes.Equal(again.raw, l.raw) {
		t.Errorf("a second restore asks anew: %v", err)
	}
	if _, err := DecodeLinkRequest(bob.id, l.raw); !errors.Is(err, fault.Corrupt) {
		t.Errorf("for another account: got %v, want Corrupt", err)
	}
	for i := 0; i < len(l.raw); i += 7 {
		bad := bytes.Clone(l.raw)
		bad[i] ^= 1
		if _, err := DecodeLinkRequest(alice.id, bad); !errors.Is(err, fault.Corrupt) {
			t.Fatalf("byte %d changed: got %v, want Corrupt", i, err)
		}
	}
	// Bob writes to Alice with sender generation 0.
	to := alice.box.recipient(alice.id, now)
	forged, err := sealPlain(to, plainHeader{sender: bob.id}, nil, l.raw, nil)
	if err != nil {
		t.Fatal(err)
	}
	alice.box.put(envelope.Inbox, [16]byte{}, forged, now)
	if _, err := alice.devices[0].Open(alice.box.envs[len(alice.box.envs)-1], nobody); !errors.Is(err,
		fault.Unauthenticated) {
		t.Errorf("from another account: got %v, want Unauthenticated", err)
	}
	// A request of an older generation is refused by Open, as the device would look for the wrong group.
	alice.rotate(alice.devices[0], Rotation{}, now)
	to = alice.box.recipient(alice.id, now)
	stale, err := sealPlain(to, plainHeader{sender: alice.id}, nil, l.raw, nil)
	if err != nil {
		t.Fatal(err)
	}
	alice.box.put(envelope.Inbox, [16]byte{}, stale, now)
	if _, err := alice.devices[0].Open(alice.box.envs[len(alice.box.envs)-1], nobody); !errors.Is(err,
		fault.Unauthenticated) {
		t.Errorf("replayed into another generation: got %v, want Unauthenticated", err)
	}
	if len(blob) < minBlob {
		t.Errorf("blob of %d bytes", len(blob))
	}
	// Once in or removed, the same request adds nothing.
	device := alice.link("other", now)
	req := &LinkRequest{Mailbox: alice.box.id, Device: device.Device()}
	if _, err := alice.devices[0].Rotate(rand.Reader, Rotation{Add: []*LinkRequest{req}},
		now); !errors.Is(err, fault.Exists) {
		t.Errorf("a device twice: got %v, want Exists", err)
	}
}

func TestGroupThatDoesNotFitItsCertificateIsRefused(t *testing.T) {
	now := testStart
	alice := newPerson(t, 1, now)
	second := alice.link("second", now)
	first := alice.devices[0]
	a, err := first.Rotate(rand.Reader, Rotation{}, now)
	if err != nil {
		t.Fatal(err)
	}
	b, err := first.Rotate(rand.Reader, Rotation{}, now)
	if err != nil {
		t.Fatal(err)
	}
	k, _ := first.Authority()
	alice.box.do(a.Request, k, now)
	second.LearnCerts(alice.box.in(envelope.Certs))
	before := second.Marshal()
	if _, err := second.Adopt(rand.Reader, b.Group); !errors.Is(err, fault.Corrupt) {
		t.Errorf("the group of another draw: got %v, want Corrupt", err)
	}
	if !bytes.Equal(second.Marshal(), before) || second.Revoked() {
		t.Error("a refused group changed the device")
	}
	if _, err := second.Adopt(rand.Reader, a.Group); err != nil {
		t.Error(err)
	}
	if _, err := second.Adopt(rand.Reader, a.Group); !errors.Is(err, fault.NotFound) {
		t.Errorf("adopting twice: got %v, want NotFound", err)
	}
}

func TestFullHouse(t *testing.T) {
	now := testStart
	alice := newPerson(t, 1, now)
	for range MaxDevices - 1 {
		alice.link("a label that is as long as labels may be: sixty-four bytes of it", now)
	}
	if got := len(alice.devices[0].Devices()); got != MaxDevices {
		t.Fatalf("%d devices, want %d", got, MaxDevices)
	}
	extra := &LinkRequest{Mailbox: alice.box.id, Device: ident.DeviceID{1}}
	if _, err := alice.devices[0].Rotate(rand.Reader, Rotation{Add: []*LinkRequest{extra}},
		now); !errors.Is(err, fault.Limited) {
		t.Errorf("one too many: got %v, want Limited", err)
	}
	t.Logf("batch of %d devices: %d bytes", MaxDevices, batchSize(t, alice))
}

func batchSize(t testing.TB, p *person) int {
	t.Helper()
	c, err := p.devices[0].Rotate(rand.Reader, Rotation{}, testStart)
	if err != nil {
		t.Fatal(err)
	}
	return len(c.Request.Encode())
}
