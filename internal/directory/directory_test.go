package directory

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/private"
)

func keyOf(seed string) private.SigningKey {
	h := sha256.Sum256([]byte(seed))
	return private.KeyOf(h).Signing()
}

func publicOf(k private.SigningKey) [32]byte { return k.Public() }

func testFile(t testing.TB, signers int) *ClusterFile {
	t.Helper()
	var keys [][32]byte
	for i := range signers {
		keys = append(keys, publicOf(keyOf(fmt.Sprint("signer", i))))
	}
	f, err := NewClusterFile("test", publicOf(keyOf("admin")), keys, 0, sha256.Sum256([]byte("salt")),
		[]Bootstrap{
			{NodeID: ident.NodeIDOf(keys[0][:]), ClientAddrs: []string{"127.0.0.1:7700", "node-1:7700"}},
		})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func testDirectory(f *ClusterFile, version uint64) *Directory {
	d := &Directory{
		Cluster: f.ID, Version: version, IssuedAt: 1_000_000, ValidUntil: 1_000_000 + Validity.Milliseconds(),
		Params: Params{StampDifficulty: 8, QuotaBytes: 1 << 20, CircuitsPerConn: 64, MaxFileBytes: 5},
	}
	for i := range 3 {
		n := Node{
			Key: publicOf(keyOf(fmt.Sprint("signer", i))), Roles: RoleStorage | RoleRelay, State: Alive,
			Incarnation: 1, Weight: 100,
			PeerAddr: fmt.Sprintf("node-%d:7701", i), ClientAddrs: []string{fmt.Sprintf("node-%d:7700",
				i)}, Zone: "z", Operator: "o",
			OnionKeys: []OnionKey{{Period: 4, Key: [OnionKeySize]byte{1}}, {Period: 5}},
		}
		n.ID = ident.NodeIDOf(n.Key[:])
		d.Nodes = append(d.Nodes, n)
	}
	slices.SortFunc(d.Nodes, func(a, b Node) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	d.Swarms = []Swarm{{ID: 1, Config: 1, Replicas: []ident.NodeID{d.Nodes[0].ID, d.Nodes[1].ID}},
		{ID: 4, Config: 2, Replicas: []ident.NodeID{d.Nodes[2].ID}}}
	d.Slots = []SlotRange{{First: 0, Last: 99, Swarm: 4, Config: 1}, {First: 100, Last: 4095,
		Swarm: 1, Config: 3}}
	return d
}

func signedBy(t testing.TB, d *Directory, signers ...int) *Signed {
	t.Helper()
	body, err := d.Encode()
	if err != nil {
		t.Fatal(err)
	}
	s := &Signed{Body: body}
	for _, i := range signers {
		s.Signatures = append(s.Signatures, Signature{Signer: uint8(i),
			Sig: Sign(keyOf(fmt.Sprint("signer", i)), body)})
	}
	return s
}

func TestDirectoryRoundTrip(t *testing.T) {
	f := testFile(t, 3)
	want := testDirectory(f, 7)
	body, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode(body)
	if err != nil {
		t.Fatal(err)
	}
	again, err := got.Encode()
	if err != nil || !bytes.Equal(again, body) {
		t.Errorf("encoding a decoded directory: got %d bytes (%v), want the %d it came from",
			len(again), err, len(body))
	}
	if w, ok := got.SwarmOf(ident.MailboxID{}); !ok || w.ID != 1 {
		t.Errorf("swarm of the zero mailbox: got %v, want 1", w)
	}
	if k, ok := got.Nodes[0].OnionKey(9); !ok || k.Period != 5 {
		t.Errorf("onion key of a later period: got %v, want the newest", k)
	}
}

func TestDirectoryIsFrozen(t *testing.T) {
	f := testFile(t, 3)
	body, err := testDirectory(f, 7).Encode()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{"cluster id": f.ID.String(), "digest": hex.EncodeToString(digestOf(body)),
		"link": f.Link().String()[:40]}
	for name, want := range frozen {
		if got[name] != want {
			t.Errorf("%s: got %s, want %s: the format changed, which needs a new version", name,
				got[name], want)
		}
	}
}

func digestOf(body []byte) []byte { d := Digest(body); return d[:] }

func TestDecodeRejects(t *testing.T) {
	f := testFile(t, 3)
	good, err := testDirectory(f, 7).Encode()
	if err != nil {
		t.Fatal(err)
	}
	for n := range good {
		if _, err := Decode(good[:n]); !errors.Is(err, fault.Invalid) {
			t.Fatalf("cut to %d bytes: got %v, want invalid", n, err)
		}
	}
	if _, err := Decode(append(slices.Clone(good), 0)); !errors.Is(err, fault.Invalid) {
		t.Errorf("a byte too many: got %v, want invalid", err)
	}
	if _, err := Decode(append([]byte{2}, good[1:]...)); !errors.Is(err, fault.Invalid) {
		t.Errorf("version 2: got %v, want invalid", err)
	}
	for name, change := range map[string]func(*Directory){
		"nodes out of order":      func(d *Directory) { d.Nodes[0], d.Nodes[1] = d.Nodes[1], d.Nodes[0] },
		"node twice":              func(d *Directory) { d.Nodes[1] = d.Nodes[0] },
		"unknown state":           func(d *Directory) { d.Nodes[0].State = 9 },
		"no roles":                func(d *Directory) { d.Nodes[0].Roles = 0 },
		"no peer address":         func(d *Directory) { d.Nodes[0].PeerAddr = "" },
		"periods fall":            func(d *Directory) { d.Nodes[0].OnionKeys[1].Period = 1 },
		"swarm 0":                 func(d *Directory) { d.Swarms[0].ID = 0 },
		"swarm without replicas":  func(d *Directory) { d.Swarms[0].Replicas = nil },
		"replica is no node":      func(d *Directory) { d.Swarms[1].Replicas[0] = ident.NodeID{1} },
		"slots with a gap":        func(d *Directory) { d.Slots[1].First = 101 },
		"slots that overlap":      func(d *Directory) { d.Slots[1].First = 99 },
		"slots that end early":    func(d *Directory) { d.Slots[1].Last = 4000 },
		"slots of no swarm":       func(d *Directory) { d.Slots[0].Swarm = 9 },
		"valid before it is made": func(d *Directory) { d.ValidUntil = d.IssuedAt - 1 },
	} {
		d := testDirectory(f, 7)
		change(d)
		if _, err := d.Encode(); !errors.Is(err, fault.Invalid) {
			t.Errorf("%s: got %v, want invalid", name, err)
		}
	}
}

func TestVerifyWantsEnoughSignaturesOfPinnedSigners(t *testing.T) {
	f := testFile(t, 5)
	d := testDirectory(f, 7)
	if _, err := f.Verify(signedBy(t, d, 0, 1, 3, 4)); err != nil {
		t.Fatalf("4 of 5: %v", err)
	}
	other := testFile(t, 3)
	other.Name = "other"
	other.ID = other.computeID()
	cases := map[string]*Signed{
		"3 of 5":            signedBy(t, d, 0, 1, 3),
		"none":              signedBy(t, d),
		"of a stranger":     signedBy(t, d, 0, 1, 3),
		"of no signer":      signedBy(t, d, 0, 1, 3, 6),
		"other cluster":     signedBy(t, testDirectory(other, 7), 0, 1, 2, 3),
		"changed afterward": signedBy(t, d, 0, 1, 2, 3),
	}
	forged := cases["of a stranger"]
	forged.Signatures = append(forged.Signatures,
		Signature{Signer: 4, Sig: Sign(keyOf("stranger"), forged.Body)})
	changed := cases["changed afterward"]
	changed.Body[60]++
	for name, s := range cases {
		if _, err := f.Verify(s); !errors.Is(err, fault.Denied) {
			t.Errorf("%s: got %v, want denied", name, err)
		}
	}
	twice := signedBy(t, d, 0, 0, 0, 0)
	if _, err := f.Verify(twice); !errors.Is(err, fault.Invalid) {
		t.Errorf("one signer four times: got %v, want invalid", err)
	}
}

func TestSignedRoundTripAndRejects(t *testing.T) {
	s := signedBy(t, testDirectory(testFile(t, 3), 7), 0, 2)
	b := s.Encode()
	got, err := DecodeSigned(b)
	if err != nil || !bytes.Equal(got.Encode(), b) {
		t.Fatalf("round trip: %v", err)
	}
	for n := range b {
		if _, err := DecodeSigned(b[:n]); !errors.Is(err, fault.Invalid) {
			t.Fatalf("cut to %d bytes: got %v, want invalid", n, err)
		}
	}
	swapped := signedBy(t, testDirectory(testFile(t, 3), 7), 2, 0)
	if _, err := DecodeSigned(swapped.Encode()); !errors.Is(err, fault.Invalid) {
		t.Errorf("signers out of order: got %v, want invalid", err)
	}
}

func TestRolledBackAndOutdatedDirectoriesAreRefused(t *testing.T) {
	d := testDirectory(testFile(t, 3), 7)
	if err := d.CheckNewer(7); err != nil {
		t.Errorf("same version: %v", err)
	}
	if err := d.CheckNewer(8); !errors.Is(err, fault.Stale) {
		t.Errorf("older version: got %v, want stale", err)
	}
	until := time.UnixMilli(d.ValidUntil)
	for _, c := range []struct {
		name  string
		now   time.Time
		stale bool
		kind  fault.Kind
	}{
		{"fresh", time.UnixMilli(d.IssuedAt), false, 0},
		{"in grace", until.Add(time.Hour), true, 0},
		{"too old", until.Add(25 * time.Hour), true, fault.Unavailable},
		{"from the future", time.UnixMilli(d.IssuedAt).Add(-25 * time.Hour), false, fault.Unavailable},
	} {
		stale, err := d.CheckTime(c.now)
		if stale != c.stale || fault.KindOf(err) != c.kind {
			t.Errorf("%s: got stale %v, %v; want stale %v, kind %v", c.name, stale, err, c.stale, c.kind)
		}
	}
}

func TestThresholds(t *testing.T) {
	for n, want := range map[int]int{1: 1, 2: 2, 3: 2, 4: 3, 5: 4, 6: 4, 7: 5} {
		if got := Threshold(n); got != want {
			t.Errorf("of %d: got %d, want %d", n, got, want)
		}
	}
}

func TestClusterFileIsNamedByItsContents(t *testing.T) {
	f := testFile(t, 3)
	b, err := f.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseClusterFile(b)
	if err != nil || got.ID != f.ID || len(got.Signers) != 3 ||
		got.Bootstrap[0].ClientAddrs[1] != "node-1:7700" {
		t.Fatalf("round trip: got %+v, %v", got, err)
	}
	if strings.Contains(string(b), "directory_digest") {
		t.Errorf("an absent digest is written: %s", b)
	}
	for name, change := range map[string]func(*ClusterFile){
		"name":      func(f *ClusterFile) { f.Name = "other" },
		"signers":   func(f *ClusterFile) { f.Signers[0][0]++ },
		"admin key": func(f *ClusterFile) { f.AdminKey[0]++ }, "t": func(f *ClusterFile) { f.T = 3 },
		"salt": func(f *ClusterFile) { f.Salt[0]++ },
	} {
		f := testFile(t, 3)
		change(f)
		if err := f.Check(); !errors.Is(err, fault.Corrupt) {
			t.Errorf("%s changed: got %v, want corrupt", name, err)
		}
	}
	for name, text := range map[string]string{
		"empty": "", "version 2": `{"v":2}`, "not JSON": "{", "unknown field": strings.Replace(string(b),
			`"v"`, `"more": 1, "v"`, 1),
		"two documents": string(b) + string(b), "short key": strings.Replace(string(b), f.ID.String(),
			f.ID.String()[2:], 1),
	} {
		if _, err := ParseClusterFile([]byte(text)); !errors.Is(err, fault.Invalid) {
			t.Errorf("%s: got %v, want invalid", name, err)
		}
	}
	for _, low := range []int{-1, 1} {
		if _, err := NewClusterFile("x", [32]byte{}, [][32]byte{{1}, {2}, {3}}, low, [32]byte{},
			nil); !errors.Is(err, fault.Invalid) {
			t.Errorf("threshold %d of 3: got %v, want invalid", low, err)
		}
	}
}

func TestLinkFindsItsClusterFile(t *testing.T) {
	f := testFile(t, 3)
	text := f.Link().String()
	if !IsLink(text) || IsLink("cluster.json") {
		t.Errorf("IsLink does not tell %q from a file name", text)
	}
	l, err := ParseLink(text)
	if err != nil || l.ID != f.ID || l.Bootstrap[0].NodeID != f.Bootstrap[0].NodeID {
		t.Fatalf("got %+v, %v", l, err)
	}
	if err := l.Accept(f); err != nil {
		t.Errorf("its own file: %v", err)
	}
	g, err := NewClusterFile("evil", f.AdminKey, [][32]byte{{1}}, 0, f.Salt, f.Bootstrap)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Accept(g); !errors.Is(err, fault.Denied) {
		t.Errorf("another file: got %v, want denied", err)
	}
	for n := range text {
		if _, err := ParseLink(text[:n]); !errors.Is(err, fault.Invalid) {
			t.Fatalf("cut to %d characters: got %v, want invalid", n, err)
		}
	}
	if _, err := ParseLink(text[:40] + "\r\n" + text[40:]); !errors.Is(err, fault.Invalid) {
		t.Errorf("with a line break: got %v, want invalid", err)
	}
}

func FuzzDecode(f *testing.F) {
	body, _ := testDirectory(testFile(f, 3), 7).Encode()
	f.Add(body)
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := Decode(b)
		if err != nil {
			return
		}
		again, err := d.Encode()
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("what decodes must encode to the same bytes: %v", err)
		}
	})
}

func FuzzDecodeSigned(f *testing.F) {
	f.Add(signedBy(f, testDirectory(testFile(f, 3), 7), 0, 2).Encode())
	file := testFile(f, 3)
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := DecodeSigned(b)
		if err != nil {
			return
		}
		if !bytes.Equal(s.Encode(), b) {
			t.Error("what decodes must encode to the same bytes")
		}
		_, _ = file.Verify(s)
	})
}

func FuzzParseLink(f *testing.F) {
	f.Add(testFile(f, 3).Link().String())
	f.Fuzz(func(t *testing.T, s string) {
		l, err := ParseLink(s)
		if err == nil && l.String() != s {
			t.Errorf("got %q for %q", l.String(), s)
		}
	})
}

func FuzzParseClusterFile(f *testing.F) {
	b, _ := testFile(f, 3).Encode()
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := ParseClusterFile(b)
		if err == nil && file.Check() != nil {
			t.Error("what parses must check")
		}
	})
}

// frozen pins the formats: digests and the beginning of a link.
var frozen = map[string]string{
	"cluster id": "b2349962b3aa331e0c0da3294b38caad1590fb4f3ad270e4131df16a27884349",
	"digest":     "5ece1efcdd28f62fccbdc0e9f996e299ae6c66493a2ccb4bc97975b1d66fa30c",
	"link":       "starling:cluster/AbI0mWKzqjMeDA2jKUs4yq0",
}
