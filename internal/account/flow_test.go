package account

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/private"
)

var (
	testCluster = ident.ClusterID{1, 2, 3}
	testStart   = time.Date(2030, 1, 2, 12, 0, 0, 0, time.UTC)
)

// box is a mailbox as the tests need it: it stores what is conditional on the certificate log, checks who
// signs, and answers by namespace and key.
type box struct {
	t         testing.TB
	id        ident.MailboxID
	authority [32]byte
	envs      []envelope.Envelope
	seq       uint64
}

func (b *box) head() (h uint64) {
	for _, e := range b.envs {
		if e.Namespace == envelope.Certs {
			h = e.Seq
		}
	}
	return h
}

func (b *box) do(req *envelope.Request, k Signer, now time.Time) *envelope.Response {
	b.t.Helper()
	raw := req.Encode()
	signed := SignRequest(k, envelope.LabelRequest, ident.NodeID{}, [32]byte{9}, now.UnixMilli(), raw)
	if !signed.Verify(envelope.LabelRequest, req.Authority, ident.NodeID{}, [32]byte{9}) {
		b.t.Fatalf("a request of %x does not verify", req.Authority[:4])
	}
	req, err := envelope.DecodeRequest(raw)
	if err != nil {
		b.t.Fatal(err)
	}
	refuse := func(kind fault.Kind, i int) *envelope.Response {
		return &envelope.Response{CertsHead: b.head(), Failed: i,
			Results: []envelope.Result{{Err: fault.New(kind, "store", "refused")}}}
	}
	byMailbox := req.Authority == [32]byte(b.id)
	if !byMailbox && req.Authority != b.authority {
		return refuse(fault.Stale, 0)
	}
	saved := *b
	res := &envelope.Response{Failed: -1}
	for i, op := range req.Ops {
		switch op := op.(type) {
		case envelope.Store:
			if op.IfHead != nil && *op.IfHead != b.head() || op.IfCerts != nil && *op.IfCerts != b.head() {
				*b = saved
				return refuse(fault.Stale, i)
			}
			rules, _ := envelope.RulesOf(op.Namespace)
			if len(op.Body) > rules.MaxBody {
				b.t.Fatalf("body of %d bytes in %s, want at most %d", len(op.Body), rules.Name, rules.MaxBody)
			}
			if ttl := time.Duration(op.TTL) * time.Second; op.TTL != 0 && (ttl < rules.MinTTL ||
				ttl > rules.MaxTTL) {
				b.t.Fatalf("ttl %s in %s, want %s to %s", ttl, rules.Name, rules.MinTTL, rules.MaxTTL)
			}
			res.Results = append(res.Results, envelope.Result{Seq: b.put(op.Namespace, op.Key, op.Body, now)})
		case envelope.SetAuthority:
			if byMailbox != (op.Change != envelope.Rotate) {
				*b = saved
				return refuse(fault.Denied, i)
			}
			b.authority = op.Key
			res.Results = append(res.Results, envelope.Result{})
		default:
			b.t.Fatalf("unexpected operation %T", op)
		}
	}
	res.CertsHead = b.head()
	return res
}

func (b *box) put(ns envelope.Namespace, key [16]byte, body []byte, now time.Time) uint64 {
	b.seq++
	b.envs = append(b.envs, envelope.Envelope{Seq: b.seq, Namespace: ns, Key: key, StoredAt: now.UnixMilli(),
		Body: body})
	return b.seq
}

func (b *box) in(ns envelope.Namespace) (out []envelope.Envelope) {
	for _, e := range b.envs {
		if e.Namespace == ns {
			out = append(out, e)
		}
	}
	return out
}

func (b *box) keyed(ns envelope.Namespace, key [16]byte) envelope.Envelope {
	b.t.Helper()
	for i := len(b.envs) - 1; i >= 0; i-- {
		if b.envs[i].Namespace == ns && b.envs[i].Key == key {
			return b.envs[i]
		}
	}
	b.t.Fatalf("nothing under key %x of namespace %d", key, ns)
	return envelope.Envelope{}
}

// recipient is what a stranger learns from the mailbox of an account.
func (b *box) recipient(id ident.AccountID, now time.Time) Recipient {
	b.t.Helper()
	chain, err := ChainOfLog(id, OpenCerts(id, b.in(envelope.Certs)))
	if err != nil {
		b.t.Fatal(err)
	}
	r, err := OpenRecord(id, b.keyed(envelope.Days, DayKey(Day(now))))
	if err != nil {
		b.t.Fatal(err)
	}
	return Recipient{Chain: chain, Record: r}
}

// person is an account with its mailbox and devices in a test.
type person struct {
	t       testing.TB
	entropy [32]byte
	id      ident.AccountID
	box     *box
	devices []*State
}

func newPerson(t testing.TB, tag byte, now time.Time) *person {
	t.Helper()
	p := &person{t: t, entropy: [32]byte{tag}}
	root := p.root()
	p.id = root.ID()
	s, err := Create(rand.Reader, root, testCluster, "first", now, nil)
	if err != nil {
		t.Fatal(err)
	}
	p.box = &box{t: t, id: s.Mailbox()}
	p.devices = []*State{s}
	p.settle(s, now)
	return p
}

func (p *person) root() *Root { return NewRoot(private.KeyOf(p.entropy)) }

// settle stores what is pending and adopts it, through a restart of the device.
func (p *person) settle(s *State, now time.Time) {
	p.t.Helper()
	pending, ok := s.Pending()
	if !ok {
		p.t.Fatal("nothing is pending")
	}
	p.commit(s, pending.Change, pending.Signer, now)
	if _, ok := s.Pending(); ok {
		p.t.Fatal("the batch is still pending after its commit")
	}
}

func (p *person) commit(s *State, c *Change, k Signer, now time.Time) *Adoption {
	p.t.Helper()
	a, err := s.Commit(rand.Reader, c, p.box.do(c.Request, k, now))
	if err != nil {
		p.t.Fatal(err)
	}
	p.announce(s, a, now)
	return a
}

func (p *person) announce(s *State, a *Adoption, now time.Time) {
	p.t.Helper()
	if !a.Announce {
		return
	}
	blob, err := s.Announcement(rand.Reader, now)
	if err != nil {
		p.t.Fatal(err)
	}
	p.box.put(envelope.Sync, [16]byte{}, blob, now)
}

// catchUp reads certificates, device groups and announcements.
func (p *person) catchUp(s *State, now time.Time) (events []Event, err error) {
	p.t.Helper()
	events = s.LearnCerts(p.box.in(envelope.Certs))
	for g, ok := s.Next(); ok; g, ok = s.Next() {
		a, aerr := s.Adopt(rand.Reader, p.box.keyed(envelope.Devices, GroupKey(g)).Body)
		if aerr != nil {
			err = aerr
			if s.Revoked() || !errors.Is(aerr, fault.Denied) {
				return events, err
			}
			continue
		}
		p.announce(s, a, now)
	}
	for _, e := range p.box.in(envelope.Sync) {
		if kind, body, err := s.OpenCopy(e.Body); err == nil && kind == CopyAnnounce {
			if err := s.ApplyAnnouncement(body); err != nil {
				p.t.Fatal(err)
			}
		}
	}
	return events, err
}

func (p *person) rotate(s *State, r Rotation, now time.Time) *Adoption {
	p.t.Helper()
	if _, err := p.catchUp(s, now); err != nil {
		p.t.Fatal(err)
	}
	c, err := s.Rotate(rand.Reader, r, now)
	if err != nil {
		p.t.Fatal(err)
	}
	k, _ := s.Authority()
	return p.commit(s, c, k, now)
}

// link adds a device by phrase, approved by the first device that is still in.
func (p *person) link(label string, now time.Time) *State {
	p.t.Helper()
	fresh, err := NewDevice(rand.Reader, p.id, testCluster, label, now)
	if err != nil {
		p.t.Fatal(err)
	}
	fresh.LearnCerts(p.box.in(envelope.Certs))
	asked, blob, err := fresh.LinkRequest(p.root(), p.box.recipient(p.id, now), now)
	if err != nil {
		p.t.Fatal(err)
	}
	p.box.put(envelope.Inbox, [16]byte{}, blob, now)
	live := p.devices[0]
	if _, err := p.catchUp(live, now); err != nil {
		p.t.Fatal(err)
	}
	in, err := live.Open(p.box.envs[len(p.box.envs)-1], nil)
	if err != nil || in.Link == nil {
		p.t.Fatalf("open link request: got %v, %v", in, err)
	}
	if in.Link.Code != asked.Code || in.Link.Label != label {
		p.t.Fatalf("link request: got code %s label %q, want %s %q", in.Link.Code, in.Link.Label,
			asked.Code, label)
	}
	p.rotate(live, Rotation{Add: []*LinkRequest{in.Link}}, now)
	if _, err := p.catchUp(fresh, now); err != nil {
		p.t.Fatal(err)
	}
	p.devices = append(p.devices, fresh)
	return fresh
}

// send seals a message from one device to another account and stores it there.
func (p *person) send(s *State, to *person, text string, peerSeen uint32, now time.Time) envelope.Envelope {
	p.t.Helper()
	blob, err := s.Seal(to.box.recipient(to.id, now), Outgoing{ID: ident.MessageID{7},
		SentAt: now.UnixMilli(), PeerSeen: peerSeen, Body: []byte(text)}, now)
	if err != nil {
		p.t.Fatal(err)
	}
	to.box.put(envelope.Inbox, [16]byte{}, blob, now)
	return to.box.envs[len(to.box.envs)-1]
}

func reload(t testing.TB, s *State) *State {
	t.Helper()
	out, err := UnmarshalState(s.Marshal())
	if err != nil {
		t.Fatal(err)
	}
	if string(out.Marshal()) != string(s.Marshal()) {
		t.Fatal("a state changes on its way through Marshal")
	}
	return out
}

func nobody(ident.AccountID) *Chain { return nil }

func TestFirstMessageCarriesTheSendersChain(t *testing.T) {
	now := testStart
	alice, bob := newPerson(t, 1, now), newPerson(t, 2, now)
	e := alice.send(reload(t, alice.devices[0]), bob, "hello", 0, now)
	in, err := reload(t, bob.devices[0]).Open(e, nobody)
	if err != nil {
		t.Fatal(err)
	}
	if !in.Verified || string(in.Body) != "hello" || in.Sender != alice.id || in.SeenG != 1 ||
		in.Chain == nil || in.Record == nil {
		t.Fatalf("got %+v, want a verified hello with chain and record", in)
	}
	// What came along is enough to answer.
	to := Recipient{Chain: in.Chain, Record: in.Record}
	if _, err := bob.devices[0].Seal(to, Outgoing{ID: ident.MessageID{1}, Body: []byte("hi"),
		PeerSeen: in.SeenG}, now); err != nil {
		t.Fatal(err)
	}
}

func TestSecondMessageIsSmallAndNeedsThePin(t *testing.T) {
	now := testStart
	alice, bob := newPerson(t, 1, now), newPerson(t, 2, now)
	e := alice.send(alice.devices[0], bob, "hello again", 1, now)
	if got, want := len(e.Body), minBlob; got != want {
		t.Errorf("blob of %d bytes, want %d", got, want)
	}
	in, err := bob.devices[0].Open(e, nobody)
	if err != nil || in.Verified || in.Chain != nil {
		t.Fatalf("without certificates: got %+v, %v, want an unverified message", in, err)
	}
	pinned := alice.box.recipient(alice.id, now).Chain
	in, err = bob.devices[0].Open(e, func(ident.AccountID) *Chain { return pinned })
	if err != nil || !in.Verified {
		t.Fatalf("with the pinned chain: got %+v, %v, want a verified message", in, err)
	}
}

func TestLinkedDevicesOpenTheSameMail(t *testing.T) {
	now := testStart
	alice, bob := newPerson(t, 1, now), newPerson(t, 2, now)
	before := bob.send(bob.devices[0], alice, "before", 0, now)
	second := alice.link("second", now.Add(time.Hour))
	third := alice.link("third", now.Add(2*time.Hour))
	now = now.Add(3 * time.Hour)
	for i, s := range alice.devices {
		if _, err := alice.catchUp(s, now); err != nil {
			t.Fatalf("device %d: %v", i, err)
		}
		if got := len(s.Devices()); got != 3 || s.G() != 3 {
			t.Errorf("device %d: %d devices at generation %d, want 3 at 3", i, got, s.G())
		}
	}
	e := bob.send(bob.devices[0], alice, "to all", 1, now)
	pinned := bob.box.recipient(bob.id, now).Chain
	for i, s := range alice.devices {
		in, err := reload(t, s).Open(e, func(ident.AccountID) *Chain { return pinned })
		if err != nil || string(in.Body) != "to all" || !in.Verified {
			t.Errorf("device %d: got %+v, %v", i, in, err)
		}
	}
	if in, err := alice.devices[0].Open(before, nobody); err != nil || string(in.Body) != "before" {
		t.Errorf("the first device lost mail of the generation before: %v", err)
	}
	for _, s := range []*State{second, third} {
		if _, err := s.Open(before, nobody); !errors.Is(err, fault.NotFound) {
			t.Errorf("a linked device opens mail from before it: %v", err)
		}
		if before.Seq >= s.FirstSeq() {
			t.Errorf("first seq %d, want above %d", s.FirstSeq(), before.Seq)
		}
	}
	// Copies and documents.
	blob, err := second.SealCopy(rand.Reader, CopySent,
		(&SentCopy{To: bob.id.Key(), Certs: pinned, Body: []byte("sent")}).Encode(), now)
	if err != nil {
		t.Fatal(err)
	}
	kind, body, err := third.OpenCopy(blob)
	if err != nil || kind != CopySent {
		t.Fatalf("open copy: %v, %v", kind, err)
	}
	if c, err := DecodeSentCopy(body); err != nil || string(c.Body) != "sent" || c.Certs.G() != 1 {
		t.Errorf("sent copy: got %+v, %v", c, err)
	}
	doc, err := third.SealDocument(rand.Reader, []byte("contacts"))
	if err != nil {
		t.Fatal(err)
	}
	if b, err := alice.devices[0].OpenDocument(doc); err != nil || string(b) != "contacts" {
		t.Errorf("open document: got %q, %v", b, err)
	}
}

func TestRevokedDeviceIsOut(t *testing.T) {
	now := testStart
	alice, bob := newPerson(t, 1, now), newPerson(t, 2, now)
	second := alice.link("second", now)
	a := alice.rotate(alice.devices[0], Rotation{Remove: []ident.DeviceID{second.Device()}}, now)
	if len(a.Removed) != 1 || a.Removed[0] != second.Device() {
		t.Errorf("removed: got %v", a.Removed)
	}
	if got := alice.devices[0].Tombstones(); len(got) != 1 || got[0].Reason != TombRevoked ||
		got[0].By != alice.devices[0].Device() {
		t.Errorf("tombstones: got %v", got)
	}
	e := bob.send(bob.devices[0], alice, "secret", 0, now)
	doc, _ := alice.devices[0].SealDocument(rand.Reader, []byte("new"))
	if _, err := alice.catchUp(second, now); !errors.Is(err, fault.Denied) || !second.Revoked() {
		t.Errorf("revoked device: got %v, revoked %v", err, second.Revoked())
	}
	if _, err := second.Open(e, nobody); !errors.Is(err, fault.NotFound) {
		t.Errorf("a revoked device opens new mail: %v", err)
	}
	if _, err := second.OpenDocument(doc); !errors.Is(err, fault.NotFound) {
		t.Errorf("a revoked device opens new documents: %v", err)
	}
	if _, err := second.Seal(bob.box.recipient(bob.id, now), Outgoing{}, now); !errors.Is(err, fault.Denied) {
		t.Errorf("a revoked device seals: %v", err)
	}
	if _, err := second.Rotate(rand.Reader, Rotation{}, now); !errors.Is(err, fault.Denied) {
		t.Errorf("a revoked device rotates: %v", err)
	}
}

func TestRecoveryFromThePhraseIsVisible(t *testing.T) {
	now := testStart
	alice, bob := newPerson(t, 1, now), newPerson(t, 2, now)
	old := alice.devices[0]
	doc, _ := old.SealDocument(rand.Reader, []byte("contacts"))
	oldWrap := alice.box.keyed(envelope.Vault, WrapKey(1)).Body
	pinned := alice.box.recipient(alice.id, now).Chain

	fresh, err := NewDevice(rand.Reader, alice.id, testCluster, "new", now)
	if err != nil {
		t.Fatal(err)
	}
	fresh.LearnCerts(alice.box.in(envelope.Certs))
	if err := fresh.Recover(rand.Reader, alice.root(), now); err != nil {
		t.Fatal(err)
	}
	fresh = reload(t, fresh)
	alice.settle(fresh, now)
	if err := fresh.LearnVault(alice.root(), oldWrap); err != nil {
		t.Fatal(err)
	}
	if b, err := fresh.OpenDocument(doc); err != nil || string(b) != "contacts" || fresh.VaultGen() != 2 {
		t.Errorf("documents after recovery: got %q, %v, vault generation %d", b, err, fresh.VaultGen())
	}
	// The old device and the contact see it.
	events, err := alice.catchUp(old, now)
	if !errors.Is(err, fault.Denied) || !old.Revoked() || len(events) != 1 ||
		events[0].Kind != EventRecovered {
		t.Errorf("old device: got %v, events %v", err, events)
	}
	e := alice.send(fresh, bob, "me again", 1, now)
	in, err := bob.devices[0].Open(e, func(ident.AccountID) *Chain { return pinned })
	if err != nil || !in.Verified || len(in.Events) != 1 || in.Events[0].Kind != EventRecovered {
		t.Errorf("contact: got %+v, %v, want a verified message with a recovery", in, err)
	}
	// The old device can come back by a recovery of its own, as nothing but the phrase allows.
	if err := old.Recover(rand.Reader, alice.root(), now); err != nil {
		t.Fatal(err)
	}
	alice.settle(old, now)
	if old.G() != 3 {
		t.Errorf("generation %d, want 3", old.G())
	}
}

func TestTwoDevicesRotateAtOnce(t *testing.T) {
	now := testStart
	alice := newPerson(t, 1, now)
	alice.link("second", now)
	a, b := alice.devices[0], alice.devices[1]
	if _, err := alice.catchUp(a, now); err != nil {
		t.Fatal(err)
	}
	ca, err := a.Rotate(rand.Reader, Rotation{}, now)
	if err != nil {
		t.Fatal(err)
	}
	cb, err := b.Rotate(rand.Reader, Rotation{}, now)
	if err != nil {
		t.Fatal(err)
	}
	ka, _ := a.Authority()
	kb, _ := b.Authority()
	alice.commit(a, ca, ka, now)
	if _, err := b.Commit(rand.Reader, cb, alice.box.do(cb.Request, kb, now)); !errors.Is(err, fault.Stale) {
		t.Fatalf("the second of two: got %v, want Stale", err)
	}
	alice.rotate(b, Rotation{}, now)
	if _, err := alice.catchUp(a, now); err != nil || a.G() != 4 || b.G() != 4 {
		t.Errorf("generations %d and %d (%v), want 4", a.G(), b.G(), err)
	}
}

func TestOfflineDeviceCatchesUpOverManyGenerations(t *testing.T) {
	now := testStart
	alice := newPerson(t, 1, now)
	away := alice.link("away", now)
	for range 5 {
		now = now.Add(26 * time.Hour)
		alice.rotate(alice.devices[0], Rotation{}, now)
	}
	if _, err := alice.catchUp(away, now); err != nil {
		t.Fatal(err)
	}
	if away.G() != 7 {
		t.Errorf("generation %d, want 7", away.G())
	}
	// And its own rotation reaches the first device.
	alice.rotate(away, Rotation{}, now)
	if _, err := alice.catchUp(alice.devices[0], now); err != nil || alice.devices[0].G() != 8 {
		t.Errorf("generation %d (%v), want 8", alice.devices[0].G(), err)
	}
}

func TestGenesisBatchIsSignedByTheMailboxKeyAndFitsAMessage(t *testing.T) {
	s, err := Create(rand.Reader, NewRoot(private.KeyOf([32]byte{5})), testCluster, "laptop", testStart,
		[]byte{1, 0, 0})
	if err != nil {
		t.Fatal(err)
	}
	p, _ := reload(t, s).Pending()
	if p.Signer.Public() != [32]byte(s.Mailbox()) || p.Change.Request.Authority != [32]byte(s.Mailbox()) {
		t.Error("the genesis batch is not the mailbox key's")
	}
	if got := len(p.Change.Request.Ops); got > envelope.MaxOps {
		t.Errorf("%d operations, want at most %d", got, envelope.MaxOps)
	}
	sig := p.Signer.Sign([]byte("x"))
	m := s.Mailbox()
	if !ed25519.Verify(m[:], []byte("x"), sig[:]) {
		t.Error("crypto/ed25519 refuses the blinded key's signature")
	}
	if string(p.Change.Request.Ops[0].(envelope.Store).Admission) != string([]byte{1, 0, 0}) {
		t.Error("the admission got lost")
	}
}

func TestMissingRecordsArePublished(t *testing.T) {
	now := testStart
	alice := newPerson(t, 1, now)
	s := alice.devices[0]
	if req, err := s.Publish(rand.Reader, func(uint32) bool { return true }, now); err != nil || req != nil {
		t.Fatalf("nothing is missing: got %v, %v", req, err)
	}
	now = now.Add(10 * 24 * time.Hour)
	last := Day(now) + 5
	req, err := s.Publish(rand.Reader, func(d uint32) bool { return d <= last }, now)
	if err != nil || len(req.Ops) != 10 {
		t.Fatalf("got %v, %v, want 10 records", req, err)
	}
	k, _ := s.Authority()
	if err := alice.box.do(req, k, now).Err(); err != nil {
		t.Fatal(err)
	}
	later := now.Add(14 * 24 * time.Hour)
	e := alice.send(s, alice, "to myself", 1, later)
	if in, err := s.Open(e, nobody); err != nil || !in.Verified {
		t.Errorf("note to self: got %+v, %v", in, err)
	}
}
