package envelope_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// every returns one request with every operation and every field set.
func every() *envelope.Request {
	return &envelope.Request{
		Mailbox: ident.MailboxID{1}, Authority: [32]byte{2}, MinSeq: 3, Mode: envelope.All,
		Ops: []envelope.Op{
			envelope.Store{Namespace: envelope.Certs, IfHead: new(uint64(4)), IfCerts: new(uint64(5)),
				Admission: []byte{6}, Body: []byte("body")},
			envelope.Store{Namespace: envelope.Days, Key: [16]byte{7}, TTL: 3600,
				IfGeneration: new(uint32(16)), Body: []byte{}},
			envelope.Retrieve{Namespaces: []envelope.Namespace{1, 0x8001}, After: 8,
				MaxCount: 9, MaxBytes: 10},
			envelope.RetrieveKey{Namespace: envelope.Devices, Key: [16]byte{11}},
			envelope.Delete{Namespace: envelope.Sync, Required: true, Hashes: []envelope.Hash{{12}, {13}}},
			envelope.DeleteBefore{Namespace: envelope.Inbox, Before: 14},
			envelope.SetAuthority{Change: envelope.Rotate, Key: [32]byte{15}},
			envelope.Info{},
		},
	}
}

func TestRequestRoundTrip(t *testing.T) {
	r := every()
	r.Ops[0] = envelope.Store{Namespace: envelope.Certs, IfHead: new(uint64(4)), IfCerts: new(uint64(5)),
		Admission: []byte{6}, Body: []byte("body")}
	got, err := envelope.DecodeRequest(r.Encode())
	if err != nil {
		t.Fatalf("decode: %v", err)
	}
	if !bytes.Equal(got.Encode(), r.Encode()) || len(got.Ops) != len(r.Ops) {
		t.Errorf("got %+v, want %+v", got, r)
	}
	for i := 2; i < len(r.Ops); i++ { // the stores hold pointers and empty slices
		if !reflect.DeepEqual(got.Ops[i], r.Ops[i]) {
			t.Errorf("operation %d: got %+v, want %+v", i, got.Ops[i], r.Ops[i])
		}
	}
	if r.ReadOnly() || !(&envelope.Request{Ops: r.Ops[2:4]}).ReadOnly() {
		t.Error("read-only is told wrongly")
	}
}

// TestRequestVector pins the layout: what one version signs, the next must read.
func TestRequestVector(t *testing.T) {
	zeros := func(n int) string { return strings.Repeat("00", n) }
	want := "01" + "01" + zeros(31) + "02" + zeros(31) + "0000000000000003" + "00" + "08" +
		"01" + "000031" + "0002" + zeros(16) + "00000000" + "03" + "0000000000000004" + "0000000000000005" +
		"0001" + "06" + "000004" + "626f6479" +
		"01" + "000020" + "0003" + "07" + zeros(15) + "00000e10" + "04" + "00000010" + "0000" + "000000" +
		"02" + "000013" + "02" + "0001" + "8001" + "0000000000000008" + "0009" + "0000000a" +
		"03" + "000012" + "0004" + "0b" + zeros(15) +
		"04" + "000045" + "0006" + "01" + "0002" + "0c" + zeros(31) + "0d" + zeros(31) +
		"05" + "00000a" + "0001" + "000000000000000e" +
		"06" + "000022" + "02" + "0f" + zeros(31) + "00" +
		"07" + "000000"
	if got := hex.EncodeToString(every().Encode()); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestMalformedRequestsAreInvalid(t *testing.T) {
	good := every().Encode()
	edit := func(at int, b byte) []byte {
		p := bytes.Clone(good)
		p[at] = b
		return p
	}
	many := &envelope.Request{Ops: make([]envelope.Op, envelope.MaxOps+1)}
	for i := range many.Ops {
		many.Ops[i] = envelope.Info{}
	}
	fat := &envelope.Request{}
	for range 5 {
		fat.Ops = append(fat.Ops, envelope.Store{Namespace: envelope.Inbox, TTL: 60,
			Body: make([]byte, 80_000)})
	}
	for name, p := range map[string][]byte{
		"empty":               nil,
		"version 2":           edit(0, 2),
		"mode 2":              edit(73, 2),
		"no operation":        edit(74, 0),
		"too few operations":  edit(74, 9),
		"too many operations": many.Encode(),
		"unknown kind":        edit(75, 99),
		"unknown store flag":  edit(75+4+2+16+4, 8),
		"bytes after the end": append(bytes.Clone(good), 0),
		"bodies too large":    fat.Encode(),
		"oversized":           make([]byte, envelope.MaxRequest+1),
		"body too large": (&envelope.Request{Ops: []envelope.Op{envelope.Store{Namespace: 1,
			Body: make([]byte, envelope.MaxBody+1)}}}).Encode(),
		"admission too large": (&envelope.Request{Ops: []envelope.Op{envelope.Store{Namespace: 1,
			Admission: make([]byte, envelope.MaxAdmission+1)}}}).Encode(),
		"no namespaces": (&envelope.Request{Ops: []envelope.Op{envelope.Retrieve{}}}).Encode(),
		"too many namespaces": (&envelope.Request{Ops: []envelope.Op{envelope.Retrieve{Namespaces: make(
			[]envelope.Namespace, envelope.MaxNamespaces+1)}}}).Encode(),
		"no keys": (&envelope.Request{Ops: []envelope.Op{envelope.RevokeKeys{}}}).Encode(),
		"too many keys": (&envelope.Request{Ops: []envelope.Op{envelope.RevokeKeys{Keys: make(
			[][32]byte, envelope.MaxRevokeKeys+1)}}}).Encode(),
		"no hashes": (&envelope.Request{Ops: []envelope.Op{envelope.Delete{}}}).Encode(),
		"too many hashes": (&envelope.Request{Ops: []envelope.Op{envelope.Delete{Hashes: make(
			[]envelope.Hash, envelope.MaxDeleteHashes+1)}}}).Encode(),
		"instant before 1970": (&envelope.Request{Ops: []envelope.Op{envelope.DeleteBefore{Before: -1}}}).Encode(),
		"unknown change":      (&envelope.Request{Ops: []envelope.Op{envelope.SetAuthority{Change: 4}}}).Encode(),
		"unknown flags": (&envelope.Request{Ops: []envelope.Op{envelope.SetAuthority{Change: 1,
			Flags: 1}}}).Encode(),
	} {
		if _, err := envelope.DecodeRequest(p); !errors.Is(err, fault.Invalid) {
			t.Errorf("%s: got %v, want invalid", name, err)
		}
	}
	for n := range good {
		if _, err := envelope.DecodeRequest(good[:n]); !errors.Is(err, fault.Invalid) {
			t.Errorf("cut to %d bytes: got %v, want invalid", n, err)
		}
	}
}

// TestEveryFlippedBitBreaksTheSignature: nothing of a request, its time, its node or its circuit can be
// changed.
func TestEveryFlippedBitBreaksTheSignature(t *testing.T) {
	key := ed25519.NewKeyFromSeed(make([]byte, 32))
	pub := [32]byte(key.Public().(ed25519.PublicKey))
	node, tag := ident.NodeID{1}, [32]byte{2}
	s := envelope.Signed{TimeMS: 1_800_000_000_000, Bytes: every().Encode()}
	copy(s.Signature[:], ed25519.Sign(key, envelope.SignedBytes(envelope.LabelRequest, node, tag,
		s.TimeMS, s.Bytes)))
	if !s.Verify(envelope.LabelRequest, pub, node, tag) {
		t.Fatal("a good signature does not verify")
	}
	if s.Verify(envelope.LabelSubscribe, pub, node, tag) ||
		s.Verify(envelope.LabelRequest, pub, ident.NodeID{}, tag) ||
		s.Verify(envelope.LabelRequest, pub, node, [32]byte{}) {
		t.Error("a signature verifies for another label, node or circuit")
	}
	raw := s.Encode()
	for i := range raw {
		raw[i] ^= 1
		got, err := envelope.DecodeSigned(raw)
		if err == nil && got.Verify(envelope.LabelRequest, pub, node, tag) {
			t.Errorf("byte %d flipped: the signature still verifies", i)
		}
		raw[i] ^= 1
	}
	for _, n := range []int{0, 71, 73 + envelope.MaxRequest} {
		if _, err := envelope.DecodeSigned(make([]byte, n)); !errors.Is(err, fault.Invalid) {
			t.Errorf("%d bytes: got %v, want invalid", n, err)
		}
	}
}

func TestHashDependsOnEveryField(t *testing.T) {
	base := envelope.HashOf(ident.MailboxID{1}, 2, [16]byte{3}, []byte("body"))
	for name, h := range map[string]envelope.Hash{
		"mailbox":   envelope.HashOf(ident.MailboxID{2}, 2, [16]byte{3}, []byte("body")),
		"namespace": envelope.HashOf(ident.MailboxID{1}, 3, [16]byte{3}, []byte("body")),
		"key":       envelope.HashOf(ident.MailboxID{1}, 2, [16]byte{4}, []byte("body")),
		"body":      envelope.HashOf(ident.MailboxID{1}, 2, [16]byte{3}, []byte("bodz")),
	} {
		if h == base {
			t.Errorf("another %s gives the same hash", name)
		}
	}
	if got, want := hex.EncodeToString(base[:]),
		"e2ca02b71351a8634532ca15995f77aa8319d521ea5a7a4626f36395d2d92454"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestCheckRefusesWhatReplicasRefuse(t *testing.T) {
	store := func(edit func(*envelope.Store)) envelope.Op {
		st := envelope.Store{Namespace: envelope.Inbox, TTL: 3600, Body: []byte("x")}
		edit(&st)
		return st
	}
	head := uint64(1)
	cert := envelope.Store{Namespace: envelope.Certs, IfHead: &head, Body: []byte("cert")}
	rotate := envelope.SetAuthority{Change: envelope.Rotate, Key: [32]byte{1}}
	genesis := envelope.SetAuthority{Change: envelope.Genesis, Key: [32]byte{1}}
	for _, c := range []struct {
		name string
		ok   bool
		mode envelope.Mode
		ops  []envelope.Op
	}{
		{"plain store", true, 0, []envelope.Op{store(func(*envelope.Store) {})}},
		{"no operations", false, 0, nil},
		{"mode 7", false, 7, []envelope.Op{envelope.Info{}}},
		{"unknown namespace", false, 0, []envelope.Op{store(func(s *envelope.Store) { s.Namespace = 16 })}},
		{"ttl 9 s", false, 0, []envelope.Op{store(func(s *envelope.Store) { s.TTL = 9 })}},
		{"ttl over 14 d", false, 0, []envelope.Op{store(func(s *envelope.Store) { s.TTL = 14*86400 + 1 })}},
		{"ttl 14 d", true, 0, []envelope.Op{store(func(s *envelope.Store) { s.TTL = 14 * 86400 })}},
		{"key in a log", false, 0, []envelope.Op{store(func(s *envelope.Store) { s.Key[0] = 1 })}},
		{"largest body", true, 0,
			[]envelope.Op{store(func(s *envelope.Store) { s.Body = make([]byte, envelope.MaxBody) })}},
		{"body too large", false, 0,
			[]envelope.Op{store(func(s *envelope.Store) { s.Body = make([]byte, envelope.MaxBody+1) })}},
		{"copy of one second", true, 0,
			[]envelope.Op{store(func(s *envelope.Store) { s.Namespace, s.TTL = envelope.Sync, 1 })}},
		{"delta", true, 0, []envelope.Op{store(func(s *envelope.Store) {
			s.Namespace, s.TTL = envelope.Sync,
				0
		})}},
		{"certificate", true, 0, []envelope.Op{cert}},
		{"unconditional certificate", false, 0, []envelope.Op{envelope.Store{Namespace: envelope.Certs}}},
		{"rotation", true, 0, []envelope.Op{cert, rotate}},
		{"rotation without certificate", false, 0, []envelope.Op{rotate}},
		{"rotation in mode each", false, envelope.Each, []envelope.Op{cert, rotate}},
		{"two rotations", false, 0, []envelope.Op{cert, rotate, rotate}},
		{"genesis of a one-time mailbox", true, 0, []envelope.Op{genesis}},
		{"namespace twice", false, 0,
			[]envelope.Op{envelope.Retrieve{Namespaces: []envelope.Namespace{1, 2, 1}}}},
		{"key of a log", false, 0, []envelope.Op{envelope.RetrieveKey{Namespace: envelope.Inbox}}},
		{"delete all", true, 0, []envelope.Op{envelope.DeleteBefore{Before: 1<<63 - 1}}},
		{"delete in an unknown namespace", false, 0, []envelope.Op{envelope.DeleteBefore{Namespace: 99}}},
	} {
		err := (&envelope.Request{Mode: c.mode, Ops: c.ops}).Check()
		if (err == nil) != c.ok || err != nil && !errors.Is(err, fault.Invalid) {
			t.Errorf("%s: got %v, want ok %v", c.name, err, c.ok)
		}
	}
}

func TestPublicNamespacesNeedNoSignature(t *testing.T) {
	if !envelope.Public([]envelope.Namespace{envelope.Certs, envelope.Days, envelope.Devices,
		envelope.Contest}) {
		t.Error("certificates, days, devices and contest are not public")
	}
	for _, ns := range []envelope.Namespace{envelope.Inbox, envelope.Vault, envelope.Sync,
		envelope.Application, 99} {
		if envelope.Public([]envelope.Namespace{envelope.Certs, ns}) {
			t.Errorf("namespace %d is public", ns)
		}
	}
}

func TestStampsAreBoundAndCostWork(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := ident.MailboxID(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "mailbox"))
		h := envelope.Hash(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "hash"))
		const now = 1_800_000_123_456
		stamp := envelope.SolveStamp(m, h, now, 8)
		for _, ok := range []int64{0, -3_600_000, 3_600_000} {
			if err := envelope.CheckStamp(stamp, m, h, now+ok, 8); err != nil {
				t.Errorf("%d ms later: got %v, want no error", ok, err)
			}
		}
		if err := envelope.CheckStamp(stamp, m, h, now+2*3_600_000, 8); !errors.Is(err, fault.Denied) {
			t.Errorf("two hours later: got %v, want denied", err)
		}
		// A stamp for 8 bits has 40 once in 2^32 tries.
		if err := envelope.CheckStamp(stamp, m, h, now, 40); !errors.Is(err, fault.Denied) {
			t.Errorf("at 40 bits: got %v, want denied", err)
		}
		if err := envelope.CheckStamp(nil, m, h, now, 0); err != nil {
			t.Errorf("at difficulty 0: got %v, want no error", err)
		}
	})
}

func TestMalformedStampsAreDenied(t *testing.T) {
	m, h := ident.MailboxID{1}, envelope.Hash{2}
	const now = 1_800_000_000_000
	good := envelope.SolveStamp(m, h, now, 8)
	for name, p := range map[string][]byte{
		"none": nil, "cut": good[:len(good)-1], "long": append(bytes.Clone(good),
			0), "kind 2": append([]byte{2}, good[1:]...),
		"wrong length": append([]byte{1, 0, 13}, good[3:]...),
	} {
		if err := envelope.CheckStamp(p, m, h, now, 8); !errors.Is(err, fault.Denied) {
			t.Errorf("%s: got %v, want denied", name, err)
		}
	}
	misses := 0
	for i := range 64 {
		if envelope.CheckStamp(good, ident.MailboxID{byte(i), 9}, h, now, 8) != nil {
			misses++
		}
	}
	if misses < 60 {
		t.Errorf("a stamp passes for %d of 64 other mailboxes, want about none", 64-misses)
	}
}

func FuzzDecodeRequest(f *testing.F) {
	f.Add(every().Encode())
	f.Add((&envelope.Request{Ops: []envelope.Op{envelope.Info{}}}).Encode())
	f.Fuzz(func(t *testing.T, p []byte) {
		r, err := envelope.DecodeRequest(p)
		if err != nil {
			if !errors.Is(err, fault.Invalid) {
				t.Errorf("got %v, want invalid", err)
			}
			return
		}
		if !bytes.Equal(r.Encode(), p) {
			t.Errorf("request %x decodes but does not encode to itself", p)
		}
		_ = r.Check()
		_ = r.ReadOnly()
	})
}

func FuzzDecodeSubscribe(f *testing.F) {
	f.Add((&envelope.Subscribe{Mailbox: ident.MailboxID{1}, Authority: [32]byte{2},
		Namespaces: []envelope.Namespace{1, 6}, Cursor: 7}).Encode())
	f.Fuzz(func(t *testing.T, p []byte) {
		s, err := envelope.DecodeSubscribe(p)
		if err == nil && !bytes.Equal(s.Encode(), p) {
			t.Errorf("subscription %x decodes but does not encode to itself", p)
		}
	})
}

func TestSubscribeRoundTrip(t *testing.T) {
	s := &envelope.Subscribe{Mailbox: ident.MailboxID{1}, Authority: [32]byte{2},
		Namespaces: []envelope.Namespace{1, 6}, Cursor: 7}
	p := s.Encode()
	got, err := envelope.DecodeSubscribe(p)
	if err != nil || !reflect.DeepEqual(got, s) {
		t.Errorf("got %+v (%v), want %+v", got, err, s)
	}
	for n := range p {
		if _, err := envelope.DecodeSubscribe(p[:n]); !errors.Is(err, fault.Invalid) {
			t.Errorf("cut to %d bytes: got %v, want invalid", n, err)
		}
	}
	p[0] = 2
	if _, err := envelope.DecodeSubscribe(p); !errors.Is(err, fault.Invalid) {
		t.Errorf("version 2: got %v, want invalid", err)
	}
}
