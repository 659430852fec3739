package groups

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

func TestEveryFlippedBitOfCommitAndSlotIsRefused(t *testing.T) {
	b, alice := found(t, 1)
	bob := b.add(t, alice, 2)
	p, err := alice.Propose(rand.Reader, b.now, Change{Kind: KindRekey})
	if err != nil {
		t.Fatal(err)
	}
	at, _, err := bob.Needs(p.Commit)
	if err != nil {
		t.Fatal(err)
	}
	slot := p.Find(at)
	for i := 0; i < len(p.Commit); i += 13 {
		bad := bytes.Clone(p.Commit)
		bad[i] ^= 1
		if err := bob.Apply(b.now, bad, slot); err == nil {
			t.Fatalf("byte %d of the commit flipped: applied", i)
		}
	}
	for i := 0; i < len(slot); i += 13 {
		bad := bytes.Clone(slot)
		bad[i] ^= 1
		if err := bob.Apply(b.now, p.Commit, bad); err == nil {
			t.Fatalf("byte %d of the slot flipped: applied", i)
		}
	}
	if err := bob.Apply(b.now, p.Commit, slot); err != nil {
		t.Fatal(err)
	}
	if err := bob.Apply(b.now, p.Commit, slot); err != nil {
		t.Errorf("the same commit again: got %v, want nothing", err)
	}
}

func TestRemovedMemberOpensNothingAfterwards(t *testing.T) {
	b, alice := found(t, 1)
	bob, carol := b.add(t, alice, 2), b.add(t, alice, 3)
	b.mustSync(t, bob)
	before := say(t, b, alice, "before")
	parting := say(t, b, bob, "bob was here")
	b.commit(t, alice, Change{Kind: KindRemove, Targets: target(alice, bob.id)})
	b.mustSync(t, carol)
	after := say(t, b, alice, "after")
	if _, err := bob.Open(before); err != nil {
		t.Errorf("a message from before the removal: got %v, want it open", err)
	}
	if _, err := bob.Open(after); !errors.Is(err, fault.Denied) {
		t.Errorf("a message from after the removal: got %v, want denied", err)
	}
	if err := b.sync(bob); !errors.Is(err, fault.Denied) {
		t.Errorf("the removal itself: got %v, want denied", err)
	}
	for _, s := range b.slots[len(b.slots)-1].Slots {
		c, err := decodeCommit(b.log[len(b.log)-1])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := bob.openSlot(c, s.Locator, envelope.SlotBody(c.SlotsRoot, s.Sealed),
			bob.leaves); err == nil {
			t.Error("a slot of the generation without him opens for the removed member")
		}
	}
	for _, m := range [][]byte{before, parting, after} {
		if _, err := carol.Open(m); err != nil {
			t.Errorf("for who remains: got %v, want open", err)
		}
	}
	forged, err := bob.Seal(rand.Reader, b.now, ident.MessageID{2}, []byte("still here"))
	if err != nil {
		t.Fatal(err)
	}
	m, err := carol.Open(forged)
	if err != nil || m.Generation == carol.Generation() {
		t.Errorf("a late message of the removed: got %+v, %v, want one that says its old generation", m, err)
	}
}

func TestLoweredAdminLosesTheAdminKey(t *testing.T) {
	b, alice := found(t, 1)
	bob := b.add(t, alice, 2)
	b.commit(t, alice, Change{Kind: KindRole, Targets: target(alice, bob.id), Role: Moderator})
	b.mustSync(t, bob)
	if _, ok := bob.ModerateKey(); !ok || bob.Admin() || !bob.MayDelete(bob.id, alice.id) ||
		bob.MayDelete(accountOf(7), alice.id) {
		t.Error("a moderator may delete what others wrote, and no more")
	}
	b.commit(t, alice, Change{Kind: KindRole, Targets: target(alice, bob.id), Role: Admin})
	b.mustSync(t, bob)
	held, ok := bob.AdminKey()
	if !ok {
		t.Fatal("an admin has no admin key")
	}
	b.commit(t, alice, Change{Kind: KindRole, Targets: target(alice, bob.id), Role: Plain})
	b.mustSync(t, bob)
	now, _ := alice.AdminKey()
	if _, ok := bob.AdminKey(); ok || held.Equal(now) || bob.MayDelete(bob.id, alice.id) {
		t.Error("a lowered admin still has an admin key in force")
	}
}

func TestLeafKeysRotateAndAreErased(t *testing.T) {
	b, alice := found(t, 1)
	bob := b.add(t, alice, 2)
	u, err := bob.NewLeaf(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if u, err = DecodeLeafUpdate(u.Encode()); err != nil {
		t.Fatal(err)
	}
	sealed, err := bob.SealLeaf(rand.Reader, u)
	if err != nil {
		t.Fatal(err)
	}
	word, err := alice.ReadToAdmins(sealed)
	if err != nil || word.Account != bob.id || word.Leaf == nil || word.Urgent {
		t.Fatalf("got %+v, %v, want bob's leaf key", word, err)
	}
	urgent, err := bob.SealUrgentLeaf(rand.Reader, u)
	if err != nil || len(urgent) != len(sealed) {
		t.Fatalf("urgent: got %d bytes, %v, want %d", len(urgent), err, len(sealed))
	}
	if word, err := alice.ReadToAdmins(urgent); err != nil || word.Leaf == nil || !word.Urgent {
		t.Fatalf("urgent: got %+v, %v, want bob's leaf key", word, err)
	}
	b.commit(t, alice, Change{Kind: KindRekey, Leaves: []LeafUpdate{*word.Leaf}})
	b.mustSync(t, bob)
	if _, err := alice.ReadToAdmins(sealed); !errors.Is(err, fault.Exists) {
		t.Errorf("the same leaf key again: got %v, want exists", err)
	}
	if got := bob.Member(bob.id).LeafNumber; got != 2 {
		t.Errorf("leaf number: got %d, want 2", got)
	}
	for _, c := range []struct {
		after time.Duration
		want  int
	}{{15 * 24 * time.Hour, 2}, {17 * 24 * time.Hour, 1}} {
		bob.Erase(Day(b.now), b.now.Add(c.after))
		if len(bob.leaves) != c.want {
			t.Errorf("after %v: got %d leaf keys, want %d", c.after, len(bob.leaves), c.want)
		}
	}
	b.commit(t, alice, Change{Kind: KindRekey, Leaves: []LeafUpdate{*u}})
	b.mustSync(t, bob)
}

func TestErasedDaysDoNotOpen(t *testing.T) {
	b, alice := found(t, 1)
	bob := b.add(t, alice, 2)
	first := say(t, b, alice, "day one")
	b.now = b.now.Add(24 * time.Hour)
	second := say(t, b, alice, "day two")
	bob.Erase(Day(b.now), b.now)
	if _, err := bob.Open(first); !errors.Is(err, fault.Denied) {
		t.Errorf("an erased day: got %v, want denied", err)
	}
	if _, err := bob.Open(second); err != nil {
		t.Errorf("a kept day: got %v, want open", err)
	}
	b.commit(t, alice, Change{Kind: KindRekey})
	b.mustSync(t, bob)
	if _, err := bob.Open(second); err != nil {
		t.Errorf("a kept day of the generation before: got %v, want open", err)
	}
	if _, err := bob.dayKey(1, Day(b.now)+2); !errors.Is(err, fault.Denied) {
		t.Errorf("a later day of a superseded generation: got %v, want denied", err)
	}
}

func TestMessagesShowForksAndForgeries(t *testing.T) {
	b, alice := found(t, 1)
	bob, carol := b.add(t, alice, 2), b.add(t, alice, 3)
	b.mustSync(t, bob)
	blob := say(t, b, bob, "hello")
	m, err := carol.Open(blob)
	if err != nil || m.Sender != bob.id || string(m.Body) != "hello" || m.Behind {
		t.Fatalf("got %+v, %v, want hello from bob", m, err)
	}
	for i := 0; i < len(blob); i += 3 {
		bad := bytes.Clone(blob)
		bad[i] ^= 0x80
		if _, err := carol.Open(bad); err == nil {
			t.Fatalf("byte %d flipped: opened", i)
		}
	}
	impostor, err := Unmarshal(carol.Marshal())
	if err != nil {
		t.Fatal(err)
	}
	impostor.self = bob.id
	blob, err = impostor.Seal(rand.Reader, b.now, ident.MessageID{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := alice.Open(blob); !errors.Is(err, fault.Unauthenticated) {
		t.Errorf("a member in another's name: got %v, want unauthenticated", err)
	}
	b.commit(t, alice, Change{Kind: KindInfo, Info: Info{Name: "one"}})
	if m, err := bob.Open(say(t, b, alice, "ahead")); err != nil || !m.Behind {
		t.Errorf("a sender that is ahead: got %+v, %v, want behind", m, err)
	}
	fork, err := Unmarshal(bob.Marshal())
	if err != nil {
		t.Fatal(err)
	}
	fork.heads[len(fork.heads)-1][0] ^= 1
	if blob, err = fork.Seal(rand.Reader, b.now, ident.MessageID{}, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := carol.Open(blob); !errors.Is(err, fault.Stale) {
		t.Errorf("a sender with another log: got %v, want stale", err)
	}
}

func TestSizesTellBucketsOnly(t *testing.T) {
	for n, want := range map[int]int{1: 16, 16: 16, 17: 32, 500: 512, 1000: 1024} {
		if got := bucketOf(n); got != want {
			t.Errorf("slots for %d members: got %d, want %d", n, got, want)
		}
	}
	b, alice := found(t, 1)
	sizes := map[int]int{0: 256, 1: 256, 1024: 1280, 4000: 5120, 90_000: 98_304}
	for n, want := range sizes {
		if got := len(say(t, b, alice, string(make([]byte, n)))); got != want {
			t.Errorf("a body of %d: got %d bytes, want %d", n, got, want)
		}
	}
	if _, err := alice.Seal(rand.Reader, b.now, ident.MessageID{}, make([]byte, MaxBlob)); !errors.Is(err,
		fault.Invalid) {
		t.Errorf("a body too large: got %v, want invalid", err)
	}
}

func TestSecretsPrintNothing(t *testing.T) {
	_, alice := found(t, 1)
	for name, v := range map[string]any{"state": alice.State, "keys": alice.keys, "grant": alice.grant,
		"secret": alice.sign, "chain": alice.chains[0]} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%x"} {
			if got := fmt.Sprintf(verb, v); got != "[redacted]" {
				t.Errorf("%s with %s: got %d bytes, want none of it", name, verb, len(got))
			}
		}
	}
}

func TestDecodedStateKeepsNothingOfItsBytes(t *testing.T) {
	_, alice := found(t, 1)
	b := alice.Marshal()
	want := bytes.Clone(b)
	s, err := Unmarshal(b)
	if err != nil {
		t.Fatal(err)
	}
	clear(b)
	if !bytes.Equal(s.Marshal(), want) {
		t.Error("a state changes when the bytes that it was read from are wiped")
	}
}

func TestChainsSurviveClocksAndLongAbsence(t *testing.T) {
	c := chain{g: 1, day: 100, live: true}
	c.retire(7)
	if _, err := c.key(101); err != nil {
		t.Errorf("the day after the chain's first, retired by a clock that is behind: got %v, want a key",
			err)
	}
	c = chain{g: 1, day: 100, live: true}
	c.erase(1000)
	if _, err := c.key(100); !errors.Is(err, fault.Denied) || c.day != 1000 {
		t.Errorf("after 900 days: got %v and day %d, want the old days erased", err, c.day)
	}
}

func TestMemberThatIsNamedTwiceIsRemoved(t *testing.T) {
	b, alice := found(t, 1)
	bob := b.add(t, alice, 2)
	b.mustSync(t, bob)
	b.commit(t, alice, Change{Kind: KindRemove, Targets: append(target(alice, bob.id),
		target(alice, bob.id)...)})
	if alice.Member(bob.id) != nil {
		t.Error("the member is there still")
	}
}
