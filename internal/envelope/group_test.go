package envelope_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

func commit() *envelope.Commit {
	return &envelope.Commit{
		CommitHeader: envelope.CommitHeader{
			Index: 2, Generation: 3, PrevHash: [32]byte{4}, Kind: envelope.CommitRekey,
			Form: envelope.FormOwn, SlotsRoot: [32]byte{5},
			Read: [32]byte{6}, Write: [32]byte{7}, Mod: [32]byte{8}, Admin: [32]byte{9},
		},
		Body: []byte("body"), Signature: [64]byte{10},
	}
}

// TestCommitVector pins the header that nodes read, and what commits are named by.
func TestCommitVector(t *testing.T) {
	zeros := func(n int) string { return strings.Repeat("00", n) }
	key := func(s string) string { return s + zeros(31) }
	want := "0000000000000002" + "00000003" + key("04") + "06" + "01" +
		key("05") + key("06") + key("07") + key("08") + key("09") +
		"000004" + "626f6479" + "0a" + zeros(63)
	p := commit().Encode()
	if got := hex.EncodeToString(p); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got, want := envelope.CommitHash(p), sha256.Sum256(append([]byte("starling/v1/group-commit-hash\x00"),
		p...)); got != want {
		t.Errorf("hash: got %x, want %x", got, want)
	}
	if got, want := len(p), envelope.CommitHeaderSize+3+4+64; got != want {
		t.Errorf("size: got %d, want %d", got, want)
	}
}

func TestCommitRoundTrip(t *testing.T) {
	c := commit()
	p := c.Encode()
	got, err := envelope.DecodeCommit(p)
	if err != nil || !reflect.DeepEqual(got, c) {
		t.Fatalf("got %+v (%v), want %+v", got, err, c)
	}
	for n := range p {
		if _, err := envelope.DecodeCommit(p[:n]); !errors.Is(err, fault.Invalid) {
			t.Errorf("cut to %d bytes: got %v, want invalid", n, err)
		}
	}
	join := func(n int) func(*envelope.Commit) {
		return func(c *envelope.Commit) {
			c.Kind, c.Form, c.SlotsRoot, c.Body = envelope.CommitJoin, envelope.FormPublic,
				[32]byte{}, make([]byte, n)
		}
	}
	largest := commit()
	join(envelope.MaxJoin - envelope.CommitHeaderSize - 3 - 64)(largest)
	if _, err := envelope.DecodeCommit(largest.Encode()); err != nil || len(largest.Encode()) != 4096 {
		t.Errorf("the largest join, of %d bytes: %v", len(largest.Encode()), err)
	}
	c.Body = make([]byte, envelope.MaxCommitBody)
	rules, _ := envelope.RulesOf(envelope.GroupLog)
	if p = c.Encode(); len(p) != rules.MaxBody {
		t.Errorf("the largest commit: got %d bytes, want %d", len(p), rules.MaxBody)
	}
	for name, edit := range map[string]func(*envelope.Commit){
		"kind 0":  func(c *envelope.Commit) { c.Kind = 0 },
		"kind 11": func(c *envelope.Commit) { c.Kind = 11 },
		"form 3":  func(c *envelope.Commit) { c.Form = 3 },
		"join of form 1": func(c *envelope.Commit) {
			c.Kind, c.SlotsRoot = envelope.CommitJoin,
				[32]byte{}
		},
		"join with slots": func(c *envelope.Commit) {
			c.Kind, c.Form = envelope.CommitJoin,
				envelope.FormPublic
		},
		"first is a join": func(c *envelope.Commit) {
			join(0)(c)
			c.Index, c.Generation,
				c.PrevHash = 1, 1, [32]byte{}
		},
		"join too large":      join(envelope.MaxJoin - envelope.CommitHeaderSize - 3 - 64 + 1),
		"index 0":             func(c *envelope.Commit) { c.Index = 0 },
		"first is no create":  func(c *envelope.Commit) { c.Index = 1 },
		"create is not first": func(c *envelope.Commit) { c.Kind = envelope.CommitCreate },
		"create has predecessor": func(c *envelope.Commit) {
			c.Kind, c.Index,
				c.Generation = envelope.CommitCreate, 1, 1
		},
		"body too large": func(c *envelope.Commit) {
			c.Body = make([]byte,
				envelope.MaxCommitBody+1)
		},
	} {
		c := commit()
		edit(c)
		if _, err := envelope.DecodeCommit(c.Encode()); !errors.Is(err, fault.Invalid) {
			t.Errorf("%s: got %v, want invalid", name, err)
		}
	}
}

func TestEveryFlippedBitBreaksACommit(t *testing.T) {
	key := ed25519.NewKeyFromSeed(make([]byte, 32))
	pub := [32]byte(key.Public().(ed25519.PublicKey))
	m := ident.MailboxID{1}
	c := commit()
	copy(c.Signature[:], ed25519.Sign(key, c.SignedBytes(m)))
	if !c.Verify(m, pub) || c.Verify(ident.MailboxID{2}, pub) {
		t.Error("a commit does not verify, or verifies in another mailbox")
	}
	p := c.Encode()
	for i := range p {
		p[i] ^= 1
		if got, err := envelope.DecodeCommit(p); err == nil && got.Verify(m, pub) {
			t.Errorf("byte %d flipped: the commit still verifies", i)
		}
		p[i] ^= 1
	}
}

func TestSlotsRootDependsOnEverySlot(t *testing.T) {
	slots := []envelope.Slot{{Locator: [16]byte{1}, Sealed: []byte("a")}, {Locator: [16]byte{2},
		Sealed: []byte("b")}}
	base := envelope.SlotsRoot(slots)
	if got, want := hex.EncodeToString(base[:]), slotsRootByHand(); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for name, other := range map[string][]envelope.Slot{
		"none": nil, "fewer": slots[:1], "order": {slots[1], slots[0]},
		"locator": {slots[0], {Locator: [16]byte{3}, Sealed: []byte("b")}},
		"content": {slots[0], {Locator: [16]byte{2}, Sealed: []byte("c")}},
	} {
		if envelope.SlotsRoot(other) == base {
			t.Errorf("%s: got the same root", name)
		}
	}
	if envelope.SlotsRoot(nil) != [32]byte{} {
		t.Error("the root of no slots is not zero")
	}
}

func slotsRootByHand() string {
	one := func(locator byte, sealed string) []byte {
		h := sha256.Sum256([]byte("starling/v1/group-slot\x00" + string(locator) + strings.Repeat("\x00",
			15) + sealed))
		return h[:]
	}
	h := sha256.Sum256(bytes.Join([][]byte{[]byte("starling/v1/group-slots-root\x00"), one(1, "a"),
		one(2, "b")}, nil))
	return hex.EncodeToString(h[:])
}

func capabilities() *envelope.Request {
	return &envelope.Request{Ops: []envelope.Op{
		envelope.Delegate{Serial: 1, Key: [32]byte{2}, Rights: envelope.MayWrite, NotAfter: 3, Generation: 4,
			Namespaces: []envelope.Namespace{envelope.GroupAsk}},
		envelope.Revoke{Serial: 5}, envelope.Revoke{ByGeneration: true, Generation: 6},
		envelope.RevokeKeys{Keys: [][32]byte{{8}, {9}}},
		envelope.SetAuthority{Change: envelope.Genesis, Key: [32]byte{7}, Flags: envelope.NoRecover},
	}}
}

func TestCapabilityVector(t *testing.T) {
	zeros := func(n int) string { return strings.Repeat("00", n) }
	r := capabilities()
	want := "01" + zeros(32+32+8+1) + "05" +
		"0a" + "000039" + "01" + "0000000000000001" + "02" + zeros(31) + "02" + "0000000000000003" +
		"00000004" + "01" + "0015" +
		"0a" + "000009" + "02" + "0000000000000005" + "0a" + "000005" + "03" + "00000006" +
		"0a" + "000043" + "04" + "0002" + "08" + zeros(31) + "09" + zeros(31) + "06" + "000022" + "01" +
		"07" + zeros(31) + "02"
	if got := hex.EncodeToString(r.Encode()); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	got, err := envelope.DecodeRequest(r.Encode())
	if err != nil || !reflect.DeepEqual(got, r) {
		t.Errorf("got %+v (%v), want %+v", got, err, r)
	}
	if got, want := envelope.Serial(3, 255), uint64(0x3ff); got != want {
		t.Errorf("serial: got %#x, want %#x", got, want)
	}
	if r.ReadOnly() {
		t.Error("a delegation counts as reading only")
	}
}

func TestGroupOperationsAreChecked(t *testing.T) {
	good := envelope.Delegate{Serial: 1, Rights: envelope.MayRead | envelope.MayWrite | envelope.MayDelete,
		Namespaces: []envelope.Namespace{envelope.GroupMail}}
	edit := func(fn func(*envelope.Delegate)) envelope.Delegate {
		d := good
		fn(&d)
		return d
	}
	log := envelope.Store{Namespace: envelope.GroupLog, IfHead: new(uint64), Body: commit().Encode()}
	genesis := envelope.SetAuthority{Change: envelope.Genesis, Flags: envelope.NoRecover}
	for _, c := range []struct {
		name string
		ok   bool
		ops  []envelope.Op
	}{
		{"delegation", true, []envelope.Op{good}},
		{"no rights", false, []envelope.Op{edit(func(d *envelope.Delegate) { d.Rights = 0 })}},
		{"unknown rights", false, []envelope.Op{edit(func(d *envelope.Delegate) { d.Rights = 8 })}},
		{"serial 0", false, []envelope.Op{edit(func(d *envelope.Delegate) { d.Serial = 0 })}},
		{"account's namespace", false,
			[]envelope.Op{edit(func(d *envelope.Delegate) { d.Namespaces = []envelope.Namespace{envelope.Inbox} })}},
		{"writes to the log", false,
			[]envelope.Op{edit(func(d *envelope.Delegate) { d.Namespaces = []envelope.Namespace{envelope.GroupLog} })}},
		{"commit", true, []envelope.Op{log}},
		{"keys to revoke", true, []envelope.Op{envelope.RevokeKeys{Keys: make([][32]byte, 1000)}}},
		{"too many keys to revoke", false, []envelope.Op{envelope.RevokeKeys{Keys: make([][32]byte, 1001)}}},
		{"no key to revoke", false, []envelope.Op{envelope.RevokeKeys{}}},
		{"store of a generation", true, []envelope.Op{envelope.Store{Namespace: envelope.GroupMail, TTL: 3600,
			IfGeneration: new(uint32(1))}}},
		{"generation of an account", false, []envelope.Op{envelope.Store{Namespace: envelope.Inbox, TTL: 3600,
			IfGeneration: new(uint32(1))}}},
		{"two commits", false, []envelope.Op{log, log}},
		{"no commit", false, []envelope.Op{envelope.Store{Namespace: envelope.GroupLog, IfHead: new(uint64),
			Body: []byte("x")}}},
		{"genesis", true, []envelope.Op{genesis, log}},
		{"genesis without a commit", false, []envelope.Op{genesis}},
		{"rotation without recovery", false, []envelope.Op{envelope.SetAuthority{Change: envelope.Rotate,
			Flags: envelope.NoRecover}, log}},
		{"slot", true, []envelope.Op{envelope.Store{Namespace: envelope.GroupSlots, TTL: 86400,
			Body: envelope.SlotBody([32]byte{1}, []byte("x"))}}},
		{"slot without its root", false, []envelope.Op{envelope.Store{Namespace: envelope.GroupSlots,
			TTL: 86400, Body: []byte("x")}}},
		{"slot for two days", false, []envelope.Op{envelope.Store{Namespace: envelope.GroupSlots,
			TTL: 2 * 86400, Body: make([]byte, 40)}}},
	} {
		if err := (&envelope.Request{Ops: c.ops}).Check(); (err == nil) != c.ok {
			t.Errorf("%s: got %v, want ok %v", c.name, err, c.ok)
		}
	}
}

func TestRunningHashTravels(t *testing.T) {
	r := &envelope.Response{Failed: -1,
		Results: []envelope.Result{{Seq: 1, Running: envelope.Running([32]byte{}, 1, envelope.Hash{2})}}}
	got, err := envelope.DecodeResponse(r.Encode())
	if err != nil || !reflect.DeepEqual(got, r) {
		t.Errorf("got %+v (%v), want %+v", got, err, r)
	}
	if envelope.Running(r.Results[0].Running, 2, envelope.Hash{2}) == envelope.Running(r.Results[0].Running,
		3, envelope.Hash{2}) {
		t.Error("the running hash does not depend on the sequence number")
	}
}

func FuzzDecodeCommit(f *testing.F) {
	f.Add(commit().Encode())
	f.Fuzz(func(t *testing.T, p []byte) {
		c, err := envelope.DecodeCommit(p)
		if err == nil && !bytes.Equal(c.Encode(), p) {
			t.Errorf("commit %x decodes but does not encode to itself", p)
		}
	})
}

func FuzzDecodeCapability(f *testing.F) {
	f.Add(capabilities().Encode())
	f.Fuzz(func(t *testing.T, p []byte) {
		r, err := envelope.DecodeRequest(p)
		if err == nil && !bytes.Equal(r.Encode(), p) {
			t.Errorf("request %x decodes but does not encode to itself", p)
		}
		if err == nil {
			_ = r.Check()
		}
	})
}
