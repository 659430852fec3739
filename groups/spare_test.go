package groups

import (
	"bytes"
	"crypto/rand"
	"testing"
	"time"

	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// comeBack makes the commit of an account that has only its spare keys, and what it enters with then.
func (b *mailbox) comeBack(t fataler, spare []byte) (*Comeback, error) {
	t.Helper()
	p, err := DecodeSpare(spare)
	if err != nil {
		t.Fatalf("spare keys: %v", err)
	}
	return p.Comeback(rand.Reader, b.now, testCluster, b.log)
}

func TestOnlyAdminComesBackWithItsSpareKeys(t *testing.T) {
	b, alice := found(t, 1)
	bob := b.add(t, alice, 2)
	b.commit(t, alice, Change{Kind: KindRekey})
	b.now = b.now.Add(48 * time.Hour)
	u, err := alice.NewLeaf(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	b.commit(t, alice, Change{Kind: KindRekey, Leaves: []LeafUpdate{*u}})
	b.commit(t, alice, Change{Kind: KindInfo, Info: Info{Name: "later"}})
	b.mustSync(t, bob)
	before := say(t, b, bob, "before")
	spare := alice.Spare()
	if len(spare) != 167 {
		t.Errorf("got %d bytes, want 167", len(spare))
	}
	lost := alice.State.Clone()

	c, err := b.comeBack(t, spare)
	if err != nil {
		t.Fatal(err)
	}
	ticket, err := DecodeHandover(c.Handover)
	if err != nil {
		t.Fatal(err)
	}
	if ticket.InLog(b.log) {
		t.Error("the log has the commit before it was stored")
	}
	b.store(c.Proposal)
	if i := uint64(len(b.log)); !ticket.InLog(b.log) || c.Index != i {
		t.Errorf("the commit is not number %d of the log, want it there", c.Index)
	}
	back, err := b.device(t, alice.id, c.Handover)
	if err != nil {
		t.Fatal(err)
	}
	b.mustSync(t, bob)
	if !back.Admin() || back.Digest() != bob.Digest() || back.Member(alice.id).LeafNumber != 3 ||
		len(back.leaves) != 1 || len(back.chains) != 1 {
		t.Errorf("got %v with leaf key %d of %d and %d chains, want an admin of the same state with leaf "+
			"key 3 alone and one chain",
			back.Admin(), back.Member(alice.id).LeafNumber, len(back.leaves), len(back.chains))
	}
	if _, err := back.Open(before); fault.KindOf(err) != fault.Denied {
		t.Errorf("a message from before: got %v, want Denied", err)
	}
	for _, said := range [][]byte{say(t, b, bob, "after"), say(t, b, back, "after")} {
		for _, u := range []*user{bob, back} {
			if _, err := u.Open(said); err != nil {
				t.Error(err)
			}
		}
	}
	if err := b.sync(&user{id: alice.id, State: lost}); fault.KindOf(err) != fault.Denied {
		t.Errorf("the lost device takes in the generation: got %v, want Denied", err)
	}
	b.commit(t, back, Change{Kind: KindRemove, Targets: target(back, bob.id)})
}

func TestSpareKeysAreOfTheOnlyAdminAndOneGeneration(t *testing.T) {
	b, alice := found(t, 1)
	bob := b.add(t, alice, 2)
	spare := alice.Spare()
	if bob.Spare() != nil {
		t.Error("a member has spare keys")
	}
	b.commit(t, alice, Change{Kind: KindRole, Targets: target(alice, bob.id), Role: Admin})
	b.mustSync(t, bob)
	if alice.Spare() != nil || bob.Spare() != nil {
		t.Error("one of two admins has spare keys")
	}
	if _, err := b.comeBack(t, spare); fault.KindOf(err) != fault.Denied {
		t.Errorf("besides another admin: got %v, want Denied", err)
	}
	b.commit(t, alice, Change{Kind: KindRole, Targets: target(alice, bob.id), Role: Plain})
	if alice.Spare() == nil || bytes.Equal(alice.Spare(), spare) {
		t.Error("the only admin again has no spare keys, or the old ones")
	}
	if _, err := b.comeBack(t, spare); fault.KindOf(err) != fault.Denied {
		t.Errorf("of a generation that is over: got %v, want Denied", err)
	}
	spare = alice.Spare()
	other, err := DecodeSpare(spare)
	if err != nil {
		t.Fatal(err)
	}
	other.sign.b[0] ^= 1
	if _, err := other.Comeback(rand.Reader, b.now, testCluster, b.log); fault.KindOf(err) != fault.Denied {
		t.Errorf("with keys of another stay: got %v, want Denied", err)
	}
	b.commit(t, alice, Change{Kind: KindDisband})
	if _, err := b.comeBack(t, spare); fault.KindOf(err) != fault.Denied || alice.Spare() != nil {
		t.Errorf("after the end: got %v, want Denied and no spare keys", err)
	}
}

func TestOnlyAdminComesBackInEveryForm(t *testing.T) {
	for _, form := range []Form{FormOwn, FormPublic} {
		b, alice := foundForm(t, 1, form)
		b.commit(t, alice, Change{Kind: KindRekey})
		bob := newUser(t, 2)
		spare := alice.Spare()
		if form == FormPublic { // members come within a generation, without an admin
			b.comeIn(t, bob, b.door(t, alice, 2, 0))
		} else {
			bob = b.add(t, alice, 2)
		}
		b.mustSync(t, alice)
		if !bytes.Equal(alice.Spare(), spare) {
			t.Errorf("form %d: the spare keys changed within a generation", form)
		}
		c, err := b.comeBack(t, spare)
		if err != nil {
			t.Fatalf("form %d: %v", form, err)
		}
		b.store(c.Proposal)
		back, err := b.device(t, alice.id, c.Handover)
		if err != nil {
			t.Fatalf("form %d: %v", form, err)
		}
		b.mustSync(t, bob)
		if m, err := bob.Open(say(t, b, back, "back")); err != nil || m.Sender != alice.id ||
			back.Form() != form || back.Digest() != bob.Digest() {
			t.Errorf("form %d: got %v, %v, want a message and the same state", form, m, err)
		}
	}
}

func TestSpareKeysAreLaidOutAsDescribed(t *testing.T) {
	b := []byte{formatVersion}
	for i, n := range []int{33, 33, 32, 4, 32, 32} {
		b = append(b, bytes.Repeat([]byte{[]byte{3, 5, 0x61, 0, 0x62, 0x63}[i]}, n)...)
	}
	b[1+33] = ident.AccountType
	b[1+33+33+32+3] = 9
	p, err := DecodeSpare(b)
	if err != nil || len(b) != SpareSize {
		t.Fatalf("%d bytes: %v", len(b), err)
	}
	if p.g != 9 || p.sign.b[0] != 0x61 || p.all.b[31] != 0x62 || p.top.b[0] != 0x63 || p.group[1] != 3 ||
		p.self[1] != 5 {
		t.Errorf("got generation %d, group %x, account %x or other keys", p.g, p.group, p.self)
	}
	for n := range len(b) {
		if _, err := DecodeSpare(b[:n]); fault.KindOf(err) != fault.Corrupt {
			t.Errorf("%d of %d bytes: got %v, want Corrupt", n, len(b), err)
		}
	}
}

func FuzzSpare(f *testing.F) {
	b, alice := found(f, 1)
	f.Add(alice.Spare())
	f.Fuzz(func(t *testing.T, in []byte) {
		p, err := DecodeSpare(in)
		if err != nil {
			return
		}
		if c, err := p.Comeback(rand.Reader, start, testCluster, b.log); err == nil && c.Index != 2 {
			t.Errorf("got commit %d, want 2", c.Index)
		}
	})
}
