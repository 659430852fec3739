package statemachine_test

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"testing"
	"time"

	"github.com/starling-swarm/starling/cluster/internal/mailstore/storetest"
	"github.com/starling-swarm/starling/cluster/internal/statemachine"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// swarm is a replica in memory with one mailbox.
type swarm struct {
	t   *testing.T
	mem *storetest.Memory
	rep *storetest.Replica
	acc *storetest.Account
}

func newSwarm(t *testing.T, config statemachine.Config) *swarm {
	mem := new(storetest.Memory)
	s := &swarm{t: t, mem: mem, rep: storetest.NewReplica(mem, config), acc: storetest.NewAccount("account")}
	t.Cleanup(func() {
		if err := errors.Join(mem.Err(), statemachine.Audit(mem)); err != nil {
			t.Errorf("audit: %v", err)
		}
	})
	return s
}

func (s *swarm) do(r *envelope.Request, key int) *envelope.Response {
	s.t.Helper()
	sign := storetest.Signer(envelope.LabelRequest, nil)
	switch key {
	case 0:
		sign = storetest.Signer(envelope.LabelRequest, s.acc.MailboxKey())
	case 1:
		sign = storetest.Signer(envelope.LabelRequest, s.acc.Authority(1))
	}
	resp, err := s.rep.Do(s.t.Context(), s.acc.Mailbox(), r.Encode(), sign)
	if err != nil {
		s.t.Fatalf("do: %v", err)
	}
	return resp
}

func (s *swarm) want(resp *envelope.Response, kind fault.Kind) *fault.Error {
	s.t.Helper()
	if got := fault.KindOf(resp.Err()); got != kind {
		s.t.Fatalf("got %v (%v), want %v", got, resp.Err(), kind)
	}
	var f *fault.Error
	errors.As(resp.Err(), &f)
	return f
}

func inbox(body string) envelope.Store {
	return envelope.Store{Namespace: envelope.Inbox, TTL: 3600, Body: []byte(body)}
}

func TestForeignSlotIsWrongSwarm(t *testing.T) {
	s := newSwarm(t, statemachine.Config{})
	s.want(s.do(s.acc.Genesis(), 0), 0)
	var one statemachine.SlotSet
	one.Add(s.acc.Mailbox().Slot() ^ 1)
	if one.Has(s.acc.Mailbox().Slot()) || !one.Has(s.acc.Mailbox().Slot()^1) {
		t.Fatal("a slot set holds another slot than the one added")
	}
	s.mem.Apply(statemachine.EncodeCommand(&statemachine.Config{Number: 2, DirectoryVersion: 42, Slots: one}))
	for name, r := range map[string]*envelope.Request{
		"store": s.acc.Request(nil, inbox("x")),
		"read":  s.acc.Request(nil, envelope.Retrieve{Namespaces: []envelope.Namespace{envelope.Certs}}),
	} {
		if f := s.want(s.do(r, -1), fault.WrongSwarm); f.Version != 42 {
			t.Errorf("%s: got directory version %d, want 42", name, f.Version)
		}
	}
	sub := &envelope.Subscribe{Mailbox: s.acc.Mailbox(), Namespaces: []envelope.Namespace{envelope.Certs}}
	if err := statemachine.NewView(s.mem).VerifySubscribe(&statemachine.Ingress{}, sub); !errors.Is(err,
		fault.WrongSwarm) {
		t.Errorf("subscribe: got %v, want wrong swarm", err)
	}
	// An older configuration that arrives late changes nothing.
	s.mem.Apply(statemachine.EncodeCommand(&statemachine.Config{Number: 2, Slots: statemachine.AllSlots()}))
	s.want(s.do(s.acc.Request(nil, inbox("x")), -1), fault.WrongSwarm)
	s.mem.Apply(statemachine.EncodeCommand(&statemachine.Config{Number: 3, Slots: statemachine.AllSlots()}))
	s.want(s.do(s.acc.Request(nil, inbox("x")), -1), 0)
}

func TestFullMailboxIsLimited(t *testing.T) {
	s := newSwarm(t, statemachine.Config{QuotaBytes: 4096})
	s.want(s.do(s.acc.Genesis(), 0), 0)
	big := inbox(string(make([]byte, 3000)))
	s.want(s.do(s.acc.Request(nil, big), -1), 0)
	if f := s.want(s.do(s.acc.Request(nil, inbox(string(make([]byte, 1000)))), -1),
		fault.Limited); f.RetryAfter <= 0 {
		t.Errorf("got retry after %v, want some time", f.RetryAfter)
	}
	s.want(s.do(s.acc.Request(nil, big), -1), 0) // existed: needs no room
	s.rep.Advance(time.Hour)                     // what expired makes room
	s.want(s.do(s.acc.Request(nil, inbox(string(make([]byte, 1000)))), -1), 0)
}

func TestReplacedEnvelopeMakesRoomForItsSuccessor(t *testing.T) {
	s := newSwarm(t, statemachine.Config{QuotaBytes: 4096})
	s.want(s.do(s.acc.Genesis(), 0), 0)
	for _, b := range []byte("abc") {
		st := envelope.Store{Namespace: envelope.Vault, Key: storetest.Key("k"),
			Body: bytes.Repeat([]byte{b}, 3000)}
		s.want(s.do(s.acc.Request(s.acc.Authority(1), st), 1), 0)
	}
}

func TestVaultHoldsItsBytesOnly(t *testing.T) {
	s := newSwarm(t, statemachine.Config{QuotaBytes: 1 << 30})
	s.want(s.do(s.acc.Genesis(), 0), 0)
	body := make([]byte, 96<<10)
	n := 0
	for ; n < 100; n++ {
		st := envelope.Store{Namespace: envelope.Vault, Key: [16]byte{byte(n)}, Body: body}
		if resp := s.do(s.acc.Request(s.acc.Authority(1), st), 1); resp.Err() != nil {
			s.want(resp, fault.Limited)
			break
		}
	}
	if want := 8 << 20 / (96<<10 + statemachine.EntryOverhead); n != want {
		t.Errorf("got %d snapshots into the vault, want %d", n, want)
	}
}

func TestStampsAdmit(t *testing.T) {
	s := newSwarm(t, statemachine.Config{StampDifficulty: 8})
	now := s.rep.Now().UnixMilli()
	gen := s.acc.Genesis()
	s.want(s.do(gen, 0), fault.Denied)
	cert := gen.Ops[0].(envelope.Store)
	cert.Admission = envelope.SolveStamp(s.acc.Mailbox(), envelope.HashOf(s.acc.Mailbox(), cert.Namespace,
		cert.Key, cert.Body), now, 8)
	gen.Ops[0] = cert
	s.want(s.do(gen, 0), 0)

	st := inbox("paid")
	s.want(s.do(s.acc.Request(nil, st), -1), fault.Denied)
	st.Admission = envelope.SolveStamp(s.acc.Mailbox(), envelope.HashOf(s.acc.Mailbox(), st.Namespace, st.Key,
		st.Body), now, 8)
	other := st
	other.Body = []byte("unpaid")
	s.want(s.do(s.acc.Request(nil, other), -1), fault.Denied)
	s.want(s.do(s.acc.Request(nil, st), -1), 0)
	s.want(s.do(s.acc.Request(s.acc.Authority(1), inbox("to myself")), 1), 0)
	s.rep.Advance(2 * time.Hour)
	s.want(s.do(s.acc.Request(nil, st), -1), fault.Denied) // that hour is over, and the envelope too
}

func TestClockMovesByTheAllowance(t *testing.T) {
	m := new(storetest.Memory)
	at := func(c statemachine.Command) int64 {
		m.Apply(statemachine.EncodeCommand(c))
		return statemachine.NewView(m).Clock()
	}
	for i, step := range []struct {
		cmd  statemachine.Command
		want int64
	}{
		{&statemachine.Expire{Stamp: statemachine.Stamp{Time: 1000}}, 1000}, // the first stamp sets it
		{&statemachine.Expire{Stamp: statemachine.Stamp{Time: 9000, Allowance: 2000}}, 3000},
		{&statemachine.Expire{Stamp: statemachine.Stamp{Time: 3500, Allowance: 2000}}, 3500},
		{&statemachine.Expire{Stamp: statemachine.Stamp{Time: 10, Allowance: 2000}}, 3500}, // never back
		{&statemachine.Clock{Stamp: statemachine.Stamp{Time: 10}, To: 1_000_000}, 1_000_000},
		{&statemachine.Clock{Stamp: statemachine.Stamp{Time: 10}, To: 5}, 1_000_000},
	} {
		if got := at(step.cmd); got != step.want {
			t.Errorf("step %d: got clock %d, want %d", i, got, step.want)
		}
	}
}

func TestOldSignatureIsRefused(t *testing.T) {
	s := newSwarm(t, statemachine.Config{})
	s.want(s.do(s.acc.Genesis(), 0), 0)
	raw := s.acc.Request(s.acc.Authority(1), envelope.DeleteBefore{Before: 1<<63 - 1}).Encode()
	in := statemachine.Ingress{Node: node, Signed: storetest.Signer(envelope.LabelRequest,
		s.acc.Authority(1))(node, [32]byte{}, storetest.Epoch, raw)}
	replay := func() *envelope.Response {
		return s.mem.Apply(statemachine.EncodeCommand(&statemachine.Request{Ingress: in})).Response
	}
	s.want(replay(), 0)
	s.rep.Advance(statemachine.SignedFor * time.Millisecond)
	s.want(replay(), 0)
	s.rep.Advance(time.Millisecond)
	s.want(replay(), fault.Unauthenticated)
}

func TestSignatureIsBoundToNodeAndCircuit(t *testing.T) {
	s := newSwarm(t, statemachine.Config{})
	s.want(s.do(s.acc.Genesis(), 0), 0)
	raw := s.acc.Request(s.acc.Authority(1), envelope.Store{Namespace: envelope.Sync,
		Body: []byte("x")}).Encode()
	signed := storetest.Signer(envelope.LabelRequest, s.acc.Authority(1))(node, tag, storetest.Epoch, raw)
	for name, in := range map[string]statemachine.Ingress{
		"other node": {Node: ident.NodeID{9}, Tag: tag, Signed: signed},
		"other tag":  {Node: node, Signed: signed},
		"other time": {Node: node, Tag: tag, Signed: envelope.Signed{TimeMS: signed.TimeMS + 1,
			Signature: signed.Signature, Bytes: raw}},
		"subscription": {Node: node, Tag: tag, Signed: storetest.Signer(envelope.LabelSubscribe,
			s.acc.Authority(1))(
			node, tag, storetest.Epoch, raw)},
	} {
		res := s.mem.Apply(statemachine.EncodeCommand(&statemachine.Request{Ingress: in}))
		if got := fault.KindOf(res.Response.Err()); got != fault.Unauthenticated {
			t.Errorf("%s: got %v, want unauthenticated", name, got)
		}
	}
	flipped := bytes.Clone(raw)
	for i := range raw {
		flipped[i] ^= 1
		in := statemachine.Ingress{Node: node, Tag: tag, Signed: envelope.Signed{TimeMS: signed.TimeMS,
			Signature: signed.Signature, Bytes: flipped}}
		if res := s.mem.Apply(statemachine.EncodeCommand(
			&statemachine.Request{Ingress: in})); res.Response.Err() == nil {
			t.Errorf("byte %d flipped: got no error", i)
		}
		flipped[i] ^= 1
	}
}

func TestLaggingReplicaSaysSo(t *testing.T) {
	s := newSwarm(t, statemachine.Config{})
	s.want(s.do(s.acc.Genesis(), 0), 0)
	r := s.acc.Request(nil, envelope.Retrieve{Namespaces: []envelope.Namespace{envelope.Certs}})
	for minSeq, behind := range map[uint64]bool{3: false, 4: true} {
		r.MinSeq = minSeq
		resp, got := s.mem.Read(statemachine.Ingress{Signed: envelope.Signed{Bytes: r.Encode()}}, r)
		if got != behind || behind && !errors.Is(resp.Err(), fault.Unavailable) {
			t.Errorf("min seq %d of head 3: got behind %v and %v, want %v", minSeq, got, resp.Err(), behind)
		}
	}
	write := s.acc.Request(nil, inbox("x"))
	resp, _ := s.mem.Read(statemachine.Ingress{}, write)
	s.want(resp, fault.Invalid)
}

func TestSubscriptionsAreVerified(t *testing.T) {
	s := newSwarm(t, statemachine.Config{})
	verify := func(auth int, ns ...envelope.Namespace) fault.Kind {
		sub := &envelope.Subscribe{Mailbox: s.acc.Mailbox(), Namespaces: ns}
		sign := storetest.Signer(envelope.LabelSubscribe, nil)
		if auth >= 0 {
			copy(sub.Authority[:], s.acc.Authority(auth).Public().(ed25519.PublicKey))
			sign = storetest.Signer(envelope.LabelSubscribe, s.acc.Authority(auth))
		}
		in := statemachine.Ingress{Node: node, Tag: tag, Signed: sign(node, tag,
			storetest.Epoch, sub.Encode())}
		if err := statemachine.NewView(s.mem).VerifySubscribe(&in, sub); err != nil {
			return err.Kind
		}
		return 0
	}
	if got := verify(-1, envelope.Certs); got != fault.NotFound {
		t.Errorf("absent mailbox: got %v, want not found", got)
	}
	s.want(s.do(s.acc.Genesis(), 0), 0)
	for _, c := range []struct {
		name string
		auth int
		ns   []envelope.Namespace
		want fault.Kind
	}{
		{"public, unsigned", -1, []envelope.Namespace{envelope.Certs, envelope.Days, envelope.Devices,
			envelope.Contest}, 0},
		{"inbox, unsigned", -1, []envelope.Namespace{envelope.Certs, envelope.Inbox}, fault.Unauthenticated},
		{"inbox, authority", 1, []envelope.Namespace{envelope.Inbox, envelope.Sync, envelope.Vault}, 0},
		{"inbox, stranger", 5, []envelope.Namespace{envelope.Inbox}, fault.Denied},
		{"none", 1, nil, fault.Invalid},
		{"unknown", 1, []envelope.Namespace{99}, fault.Invalid},
	} {
		if got := verify(c.auth, c.ns...); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
	s.want(s.do(s.acc.Change(envelope.Rotate, 2, 1), 1), 0)
	if got := verify(1, envelope.Inbox); got != fault.Stale {
		t.Errorf("superseded authority: got %v, want stale", got)
	}
	if got := verify(1, envelope.Certs); got != 0 {
		t.Errorf("superseded authority, public: got %v, want no error", got)
	}
}

func TestPageStopsAtItsBytesOverAllOperations(t *testing.T) {
	s := newSwarm(t, statemachine.Config{})
	s.want(s.do(s.acc.Genesis(), 0), 0)
	for i := range 14 {
		s.want(s.do(s.acc.Request(nil, inbox(string(bytes.Repeat([]byte{byte(i)}, envelope.MaxBody)))), -1),
			0)
	}
	all := envelope.Retrieve{Namespaces: []envelope.Namespace{envelope.Inbox}}
	resp := s.do(s.acc.Request(s.acc.Authority(1), all, all, all), 1)
	s.want(resp, 0)
	if n := len(resp.Encode()); n > envelope.MaxPage+1024 {
		t.Errorf("got an answer of %d bytes, want one page of %d", n, envelope.MaxPage)
	}
	if r := resp.Results[2]; !r.More || r.Seq != 0 || len(r.Envelopes) > 0 {
		t.Errorf("got %d envelopes, more %v, seq %d in the last operation, want it to start over later",
			len(r.Envelopes), r.More, r.Seq)
	}
}

func TestKeysThatOverfillTheAnswerAreLimited(t *testing.T) {
	s := newSwarm(t, statemachine.Config{})
	s.want(s.do(s.acc.Genesis(), 0), 0)
	st := envelope.Store{Namespace: envelope.Vault, Key: storetest.Key("k"), Body: make([]byte, 96<<10)}
	s.want(s.do(s.acc.Request(s.acc.Authority(1), st), 1), 0)
	r := s.acc.Request(s.acc.Authority(1))
	for range envelope.MaxOps {
		r.Ops = append(r.Ops, envelope.RetrieveKey{Namespace: envelope.Vault, Key: storetest.Key("k")})
	}
	s.want(s.do(r, 1), fault.Limited)
	r.Ops = r.Ops[:10]
	s.want(s.do(r, 1), 0)
}

func TestOneTimeMailboxGoesWithItsLastEnvelope(t *testing.T) {
	s := newSwarm(t, statemachine.Config{})
	genesis := s.acc.Request(s.acc.MailboxKey(), s.acc.Genesis().Ops[1])
	s.want(s.do(genesis, 0), 0)
	chunk := envelope.Store{Namespace: envelope.Blobs, Key: storetest.Key("0"), TTL: 3600,
		Body: []byte("chunk")}
	s.want(s.do(s.acc.Request(s.acc.Authority(1), chunk), 1), 0)
	s.rep.Events()
	s.rep.Advance(time.Hour)
	if ev := s.rep.Events(); len(ev) != 1 || ev[0].Kind != statemachine.Dropped ||
		ev[0].Mailbox != s.acc.Mailbox() {
		t.Errorf("got events %+v, want the mailbox dropped", ev)
	}
	s.want(s.do(s.acc.Request(s.acc.Authority(1), chunk), 1), fault.NotFound)
	if st := statemachine.NewView(s.mem).Slot(s.acc.Mailbox().Slot()); st != (statemachine.SlotState{}) {
		t.Errorf("got %+v left in the slot, want nothing", st)
	}
}

func TestIdleMailboxIsDropped(t *testing.T) {
	s := newSwarm(t, statemachine.Config{})
	s.want(s.do(s.acc.Genesis(), 0), 0)
	const day = 24 * time.Hour
	s.rep.Advance(399 * day)
	s.want(s.do(s.acc.Request(s.acc.Authority(1), envelope.Store{Namespace: envelope.Sync,
		Body: []byte("alive")}), 1), 0)
	s.rep.Advance(399 * day)
	s.want(s.do(s.acc.Request(nil, inbox("mail keeps nothing alive")), -1), 0)
	s.rep.Advance(2 * day)
	s.want(s.do(s.acc.Request(nil, inbox("late")), -1), fault.NotFound)
}

func TestMalformedCommandsChangeNothing(t *testing.T) {
	s := newSwarm(t, statemachine.Config{})
	s.want(s.do(s.acc.Genesis(), 0), 0)
	before := s.mem.Rows()
	for _, c := range [][]byte{nil, {9}, {1, 9}, bytes.Repeat([]byte{1}, 500)} {
		if res := s.mem.Apply(c); !errors.Is(res.Err, fault.Invalid) {
			t.Errorf("command %x: got %v, want invalid", c, res.Err)
		}
	}
	res := s.mem.Apply(statemachine.EncodeCommand(
		&statemachine.Request{Ingress: statemachine.Ingress{Signed: envelope.Signed{Bytes: []byte("junk")}}}))
	s.want(res.Response, fault.Invalid)
	for i, r := range s.mem.Rows() {
		if !bytes.Equal(r, before[i]) {
			t.Errorf("row %d changed to %x", i, r)
		}
	}
}
