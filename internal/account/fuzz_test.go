package account

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"os"
	"strings"
	"testing"

	"filippo.io/edwards25519"

	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/private"
)

// torsioned returns a point of the large subgroup plus one of small order.
func torsioned(t testing.TB) []byte {
	t.Helper()
	small, err := new(edwards25519.Point).SetBytes(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	return small.Add(small, edwards25519.NewGeneratorPoint()).Bytes()
}

func TestSecretsPrintNothing(t *testing.T) {
	alice := newPerson(t, 1, testStart)
	s := alice.devices[0]
	root := alice.root()
	k, _ := s.Authority()
	for name, v := range map[string]any{
		"root": root, "state": s, "authority": k, "mailbox key": root.MailboxKey(testCluster), "box": s.box,
		"generation": *s.gen, "secret": s.gen.ck.key,
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
			if got := fmt.Sprintf(verb, v); got != "[redacted]" {
				t.Errorf("%s with %s: got %d bytes, want %q", name, verb, len(got), "[redacted]")
			}
		}
	}
	if got := fmt.Sprintf("%+v", struct{ S *State }{s}); strings.Contains(got, "{") &&
		!strings.Contains(got, "[redacted]") {
		t.Errorf("inside a struct: got %q", got)
	}
}

func frozenState(t testing.TB) (*frozen, *State) {
	t.Helper()
	b, err := os.ReadFile(frozenFile)
	if err != nil {
		t.Fatal(err)
	}
	f := new(frozen)
	if err := unmarshalFrozen(b, f); err != nil {
		t.Fatal(err)
	}
	s, err := UnmarshalState(f.State)
	if err != nil {
		t.Fatal(err)
	}
	return f, s
}

func FuzzDecodeCert(f *testing.F) {
	v, _ := frozenState(f)
	f.Add([]byte(v.Genesis))
	f.Add([]byte(v.Rotate))
	f.Add([]byte(v.Recover))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := DecodeCert(b)
		if err == nil && !bytes.Equal(c.Bytes(), b) {
			t.Error("a certificate is not the bytes it came as")
		}
		if err == nil {
			_, _ = VerifyChain(c.Account, []*Cert{c})
		}
	})
}

func FuzzUnmarshalChain(f *testing.F) {
	_, s := frozenState(f)
	f.Add(s.chain.Marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := UnmarshalChain(b); err == nil && !bytes.Equal(c.Marshal(), b) {
			t.Error("a chain marshals to something else")
		}
	})
}

func FuzzDecodeEpochRecord(f *testing.F) {
	v, s := frozenState(f)
	f.Add([]byte(v.Record))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := DecodeEpochRecord(b)
		if err == nil && (!bytes.Equal(r.Bytes(), b) || s.chain.CheckRecord(r) == nil) {
			t.Error("a record is not the bytes it came as, or verifies for another account")
		}
	})
}

func FuzzDeviceGroup(f *testing.F) {
	v, _ := frozenState(f)
	id := NewRoot(private.KeyOf([32]byte{1})).ID()
	key := newBoxKey([32]byte(v.BoxKey))
	p, _, err := openGroup(id, 3, v.Group, []*boxKey{&key})
	if err != nil {
		f.Fatal(err)
	}
	inner, err := unwrapRecord(id, envelope.Devices, GroupKey(3), v.Group)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(p.encode())
	f.Add(inner)
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := decodeGroupPayload(b); err == nil && !bytes.Equal(p.encode(), b) {
			t.Error("a payload encodes to something else")
		}
		if slots, _, err := splitGroup(b, 3); err == nil && len(slots)%4 != 0 {
			t.Errorf("%d slots", len(slots))
		}
	})
}

func FuzzDecodeLinkRequest(f *testing.F) {
	v, s := frozenState(f)
	f.Add([]byte(v.Link))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := DecodeLinkRequest(s.account, b)
		if err == nil && !bytes.Equal(l.Bytes(), b) {
			t.Error("a request is not the bytes it came as")
		}
	})
}

// FuzzOpen looks behind the encryption: what a sender may put into a plaintext.
func FuzzOpen(f *testing.F) {
	v, s := frozenState(f)
	e := envelope.Envelope{Seq: v.Seq, StoredAt: v.StoredAt, Body: v.Envelope}
	for _, k := range s.candidates(e) {
		keys, ok := s.dayKeys(k)
		if !ok {
			continue
		}
		if o, err := s.trialOpen(e.Body, k, keys); err == nil && o != nil {
			f.Add(append(bytes.Clone(o.plain), o.tag...))
		}
	}
	day := s.chain.Head().Day()
	keys, _ := s.dayKeys(DayVersion{s.gen.g, day})
	f.Fuzz(func(t *testing.T, plain []byte) {
		if in, err := s.Open(envelope.Envelope{Seq: v.Seq, StoredAt: v.StoredAt, Body: plain},
			nobody); err == nil {
			t.Errorf("a blob that nobody sealed opens: %+v", in)
		}
		o := &opened{keys: keys, version: DayVersion{s.gen.g, day}, export: make([]byte, 32)}
		if o.decode(plain) != nil {
			return
		}
		if in, err := s.authenticate(o, nobody); err == nil && in.Verified {
			t.Error("a plaintext without the sender's key verifies")
		}
	})
}

func FuzzCopyBodies(f *testing.F) {
	alice := newPerson(f, 1, testStart)
	alice.link("second", testStart)
	s := alice.devices[0]
	f.Add((&SentCopy{To: alice.id.Key(), Certs: s.chain, Body: []byte("x")}).Encode())
	for _, e := range alice.box.in(envelope.Sync) {
		if _, body, err := s.OpenCopy(e.Body); err == nil {
			f.Add(body)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := DecodeSentCopy(b); err == nil && !bytes.Equal(c.Encode(), b) {
			t.Error("a copy encodes to something else")
		}
		_ = s.ApplyAnnouncement(b)
		if _, _, err := s.OpenCopy(b); err == nil {
			t.Error("a copy that nobody sealed opens")
		}
		if _, err := s.OpenDocument(b); err == nil {
			t.Error("a document that nobody sealed opens")
		}
		if s.LearnVault(alice.root(), b) == nil {
			t.Error("a wrap that nobody sealed opens")
		}
		if got := OpenCerts(alice.id, []envelope.Envelope{{Body: b}}); len(got) > 0 {
			t.Error("a certificate that nobody wrapped opens")
		}
	})
}

func FuzzUnmarshalState(f *testing.F) {
	v, s := frozenState(f)
	f.Add([]byte(v.State))
	fresh, err := Create(rand.Reader, NewRoot(private.KeyOf([32]byte{8})), testCluster, "x", testStart, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(fresh.Marshal())
	_ = s
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := UnmarshalState(b); err == nil && !bytes.Equal(s.Marshal(), b) {
			t.Error("a state marshals to something else")
		}
	})
}

func FuzzParseCode(f *testing.F) {
	f.Add("abcd-2345")
	f.Fuzz(func(t *testing.T, in string) {
		code, err := ParseCode(in)
		if err != nil {
			return
		}
		if again, err := ParseCode(code); err != nil || again != code {
			t.Errorf("%q is read as %q, then as %q", in, code, again)
		}
	})
}
