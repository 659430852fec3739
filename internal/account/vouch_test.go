package account

import (
	"bytes"
	"encoding/hex"
	"testing"
	"time"

	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/private"
)

// chainOf verifies certificates that a forge made.
func (f *forge) chainOf(certs ...*Cert) *Chain {
	f.t.Helper()
	c, err := VerifyChain(f.id, certs)
	if err != nil {
		f.t.Fatal(err)
	}
	return c
}

func (f *forge) vouch(g uint32, statement []byte) []byte {
	x := f.gen(g)
	return x.vouch(statement)
}

// P8: an account answers for what one of its generations signed and for nothing else.
func TestOnlyTheAccountVouches(t *testing.T) {
	f := newForge(t, 1)
	c1 := f.genesis()
	c2 := f.rotate(c1)
	r3 := f.recover(c2)
	c4 := f.rotate(r3)
	statement, other := []byte("a key is mine"), []byte("a key is mine!")
	change := func(b []byte, at int) []byte {
		b = bytes.Clone(b)
		b[at] ^= 1
		return b
	}
	for name, c := range map[string]struct {
		chain     *Chain
		statement []byte
		vouch     []byte
		want      fault.Kind
	}{
		"its first generation":  {f.chainOf(c1, c2), statement, f.vouch(1, statement), 0},
		"its newest generation": {f.chainOf(c1, c2), statement, f.vouch(2, statement), 0},
		"after a recovery":      {f.chainOf(r3, c4), statement, f.vouch(3, statement), 0},
		"another statement":     {f.chainOf(c1, c2), other, f.vouch(2, statement), fault.Unauthenticated},
		"a longer statement": {f.chainOf(c1, c2), append(bytes.Clone(statement), 0), f.vouch(2, statement),
			fault.Unauthenticated},
		// 1 becomes 0
		"another generation's name": {f.chainOf(c1, c2), statement, change(f.vouch(1, statement), 4),
			fault.Corrupt},
		"the next generation's name": {f.chainOf(c1, c2), statement, append([]byte{1, 0, 0, 0, 2},
			f.vouch(1, statement)[5:]...), fault.Unauthenticated},
		"another account": {f.chainOf(c1, c2), statement, newForge(t, 2).vouchOf(2, statement),
			fault.Unauthenticated},
		"a generation to come": {f.chainOf(c1), statement, f.vouch(2, statement), fault.NotFound},
		"a generation before":  {f.chainOf(r3, c4), statement, f.vouch(2, statement), fault.Stale},
		"a changed signature": {f.chainOf(c1), statement, change(f.vouch(1, statement), VouchSize-1),
			fault.Unauthenticated},
		"a later version": {f.chainOf(c1), statement, change(f.vouch(1, statement), 0),
			fault.Corrupt},
		"bytes at the end": {f.chainOf(c1), statement, append(f.vouch(1, statement), 0),
			fault.Corrupt},
		"nothing": {f.chainOf(c1), statement, nil, fault.Corrupt},
		"a certificate as statement": {f.chainOf(c1, c2), c2.raw[:c2.body], append([]byte{1, 0, 0, 0, 1},
			c2.sigPrev...), fault.Unauthenticated},
		"a signature under no label": {f.chainOf(c1), statement, f.bare(1, statement),
			fault.Unauthenticated},
		"a signature without its top": {f.chainOf(c1), statement, f.topless(1, statement),
			fault.Unauthenticated},
	} {
		if got := fault.KindOf(c.chain.CheckVouch(c.statement, c.vouch)); got != c.want {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}

// vouchOf has the shape of a vouch but is by this forge's account.
func (f *forge) vouchOf(g uint32, statement []byte) []byte {
	x := expand([32]byte{99}, f.id, g, 21_000)
	return x.vouch(statement)
}

func (f *forge) bare(g uint32, statement []byte) []byte {
	x := f.gen(g)
	head := f.vouch(g, statement)[:5]
	sig := x.ask.sign("", head, statement)
	return append(bytes.Clone(head), sig[:]...)
}

func (f *forge) topless(g uint32, statement []byte) []byte {
	x := f.gen(g)
	head := f.vouch(g, statement)[:5]
	sig := x.ask.sign(labelVouch, statement)
	return append(bytes.Clone(head), sig[:]...)
}

func TestAllDevicesVouchAlikeAndARevokedOneDoesNot(t *testing.T) {
	alice := newPerson(t, 1, testStart)
	first := alice.devices[0]
	second := alice.link("second", testStart.Add(time.Hour))
	statement := []byte("mine")
	a, err := first.Vouch(statement)
	if err != nil {
		t.Fatal(err)
	}
	b, err := second.Vouch(statement)
	if err != nil || !bytes.Equal(a, b) {
		t.Fatalf("got %x and %x, %v, want the same", a, b, err)
	}
	chain, _ := first.Chain()
	if err := chain.CheckVouch(statement, a); err != nil {
		t.Error(err)
	}
	later := testStart.Add(2 * time.Hour)
	alice.rotate(first, Rotation{Remove: []ident.DeviceID{second.Device()}}, later)
	if _, err := alice.catchUp(second, later); err == nil && !second.Revoked() {
		t.Fatal("the second device was not revoked")
	}
	if _, err := second.Vouch(statement); fault.KindOf(err) != fault.Denied {
		t.Errorf("a revoked device: got %v, want Denied", err)
	}
	chain, _ = first.Chain()
	if err := chain.CheckVouch(statement, a); err != nil {
		t.Errorf("what was vouched before: %v", err)
	}
	fresh, err := NewDevice(testRandom(3), alice.id, testCluster, "x", later)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fresh.Vouch(statement); fault.KindOf(err) != fault.Denied {
		t.Errorf("a device that waits: got %v, want Denied", err)
	}
}

// TestFrozenVouch holds the bytes of docs/formats.md, section 5.13, and of a group copy of section 7.1.
func TestFrozenVouch(t *testing.T) {
	gen := expand([32]byte(bytes.Repeat([]byte{7}, 32)), NewRoot(private.KeyOf([32]byte{1})).ID(), 5, 21_000)
	got := hex.EncodeToString(gen.vouch([]byte("statement")))
	if want := frozenVouch; got != want {
		t.Errorf("vouch: got %s, want %s", got, want)
	}
	c := GroupCopy{Kind: GroupHandover, From: ident.DeviceID{9}, Group: ident.GroupID{ident.GroupType, 8},
		Body: []byte("keys")}
	if got := hex.EncodeToString(c.Encode()); got != frozenGroupCopy {
		t.Errorf("group copy: got %s, want %s", got, frozenGroupCopy)
	}
}

func TestMalformedGroupCopiesAreRefused(t *testing.T) {
	group := ident.GroupID{ident.GroupType, 8}
	hand := (&GroupCopy{Kind: GroupHandover, Group: group, Body: []byte("keys")}).Encode()
	ask := (&GroupCopy{Kind: GroupAsk, Group: group}).Encode()
	for _, b := range [][]byte{hand, ask} {
		c, err := DecodeGroupCopy(b)
		if err != nil || !bytes.Equal(c.Encode(), b) {
			t.Fatalf("got %v, want the same bytes back", err)
		}
	}
	swap := func(b []byte, at int, v byte) []byte {
		b = bytes.Clone(b)
		b[at] = v
		return b
	}
	for name, b := range map[string][]byte{
		"nothing":              nil,
		"cut":                  hand[:len(hand)-1],
		"bytes at the end":     append(bytes.Clone(ask), 0),
		"a later version":      swap(hand, 0, 2),
		"an unknown kind":      swap(hand, 1, 3),
		"an account for group": swap(hand, 18, ident.AccountType),
		"an ask with a body":   swap(hand, 1, byte(GroupAsk)),
		"a handover of none":   swap(ask, 1, byte(GroupHandover)),
		"too long": (&GroupCopy{Kind: GroupHandover, Group: group,
			Body: make([]byte, MaxGroupCopy+1)}).Encode(),
	} {
		if _, err := DecodeGroupCopy(b); fault.KindOf(err) != fault.Corrupt {
			t.Errorf("%s: got %v, want Corrupt", name, err)
		}
	}
}

func FuzzVouch(f *testing.F) {
	x := newForge(f, 1)
	c1 := x.genesis()
	chain, err := VerifyChain(x.id, []*Cert{c1, x.rotate(c1)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte("statement"), x.vouch(2, []byte("statement")))
	f.Add([]byte("other"), x.vouch(1, []byte("statement")))
	f.Fuzz(func(t *testing.T, statement, vouch []byte) {
		if chain.CheckVouch(statement, vouch) != nil {
			return
		}
		g, err := VouchGeneration(vouch)
		if err != nil || !bytes.Equal(vouch, x.vouch(g, statement)) {
			t.Errorf("a vouch that the account did not make verifies: %x", vouch)
		}
	})
}

func FuzzDecodeGroupCopy(f *testing.F) {
	group := ident.GroupID{ident.GroupType, 8}
	f.Add((&GroupCopy{Kind: GroupHandover, Group: group, Body: []byte("keys")}).Encode())
	f.Add((&GroupCopy{Kind: GroupAsk, Group: group}).Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := DecodeGroupCopy(b); err == nil && !bytes.Equal(c.Encode(), b) {
			t.Error("a group copy encodes to something else")
		}
	})
}

const (
	frozenVouch     = "010000000529409f344eaa19e47a1cadfdbaa292bfd68cd7e36bbf192527dcbbb63b813039e15b1f65b9dafe5b5c6701604aef8cd0b118a7becf9eb684ebc3b879aaaa0005"
	frozenGroupCopy = "01010900000000000000000000000000000003080000000000000000000000000000000000000000000000000000000000000000046b657973"
)
