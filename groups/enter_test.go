package groups

import (
	"bytes"
	"crypto/rand"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// device enters with a handover and takes in the rest.
func (b *mailbox) device(t testing.TB, id ident.AccountID, handover []byte) (*user, error) {
	t.Helper()
	ticket, err := DecodeHandover(handover)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Enter(b.now, testCluster, ticket, nil, b.log, b.slotFor(ticket))
	if err != nil {
		return nil, err
	}
	u := &user{id: id, State: s}
	return u, b.sync(u)
}

func TestHandoverOpensTheGroupForAnotherDevice(t *testing.T) {
	b, alice := found(t, 1)
	bob := b.add(t, alice, 2)
	fresh := bob.Handover()
	b.commit(t, alice, Change{Kind: KindRole, Targets: target(alice, bob.id), Role: Moderator})
	b.mustSync(t, bob)
	raised := bob.Handover()
	b.commit(t, alice, Change{Kind: KindRekey})
	b.commit(t, alice, Change{Kind: KindInfo, Info: Info{Name: "later"}})
	b.mustSync(t, bob)
	for name, h := range map[string][]byte{"of an added member": fresh, "of a raised one": raised,
		"of the newest generation": bob.Handover(), "of the creator": alice.Handover()} {
		id := bob.id
		if name == "of the creator" {
			id = alice.id
		}
		u, err := b.device(t, id, h)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if u.Digest() != bob.Digest() || u.Member(id).Role != u.grant.role {
			t.Errorf("%s: another state", name)
		}
		said := say(t, b, u, "from the second device")
		for _, o := range []*user{alice, bob} {
			if m, err := o.Open(said); err != nil || m.Sender != id {
				t.Errorf("%s: got %v, want its message open", name, err)
			}
		}
	}
	if len(bob.Handover()) > 4096 {
		t.Errorf("a handover has %d bytes, want at most 4,096", len(bob.Handover()))
	}
}

func TestLargestHandoverFitsItsCopy(t *testing.T) {
	_, alice := found(t, 1)
	for range maxOwnLeaves + 3 {
		if _, err := alice.NewLeaf(rand.Reader); err != nil {
			t.Fatal(err)
		}
	}
	h := alice.Handover()
	if len(alice.leaves) != maxOwnLeaves || alice.leaves[0].number != 1 || len(h) > 4096 {
		t.Errorf("got %d leaf keys from %d on in %d bytes, want 64 with the one in force, in 4,096 at most",
			len(alice.leaves), alice.leaves[0].number, len(h))
	}
	if _, err := DecodeHandover(h); err != nil {
		t.Error(err)
	}
}

func TestHandoverAndStateSurviveALeafRotation(t *testing.T) {
	b, alice := found(t, 1)
	bob := b.add(t, alice, 2)
	phone, err := b.device(t, bob.id, bob.Handover())
	if err != nil {
		t.Fatal(err)
	}
	u, err := bob.NewLeaf(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if err := phone.TakeHandover(bob.Handover()); err != nil {
		t.Fatal(err)
	}
	b.commit(t, alice, Change{Kind: KindRekey, Leaves: []LeafUpdate{*u}})
	b.commit(t, alice, Change{Kind: KindRekey}) // is sealed to the new leaf key only
	b.mustSync(t, bob, phone)
	if phone.Digest() != bob.Digest() {
		t.Error("the other device has another state")
	}
}

func TestLogIsComparedWithWhatOthersKnew(t *testing.T) {
	b, alice := found(t, 1)
	u := newUser(t, 2)
	in := b.invite(t, alice)
	b.commit(t, alice, request(t, alice, in, u))
	ticket := u.keys.Ticket(b.group, u.id)
	slot := b.slotFor(ticket)
	later := *in
	later.HeadIndex = uint64(len(b.log)) + 1
	forked := *in
	forked.HeadHash[0] ^= 1
	foreign := *in
	foreign.Group[3] ^= 1
	ahead, err := DecodeHandover(alice.Handover())
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		ticket *Ticket
		in     *Invitation
		log    [][]byte
		want   error
	}{
		"the invitation's":                   {ticket, in, b.log, nil},
		"a log that is too short":            {ticket, &later, b.log, fault.Stale},
		"a fork":                             {ticket, &forked, b.log, fault.Corrupt},
		"another group's":                    {ticket, &foreign, b.log, fault.Invalid},
		"a log without the addition":         {ticket, in, b.log[:2], fault.Denied},
		"a log with a hole":                  {ticket, in, [][]byte{b.log[0], b.log[2]}, fault.Corrupt},
		"shorter than the other device knew": {ahead, nil, b.log[:1], fault.Stale},
	} {
		if _, err := Enter(b.now, testCluster, c.ticket, c.in, c.log, slot); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
	if _, err := Enter(b.now, ident.ClusterID{8}, ticket, in, b.log, slot); !errors.Is(err,
		fault.Unauthenticated) {
		t.Errorf("in another cluster: got %v, want unauthenticated", err)
	}
	if _, err := Enter(b.now, testCluster, newUser(t, 2).keys.Ticket(b.group, u.id), in, b.log,
		slot); !errors.Is(err, fault.Denied) {
		t.Errorf("with other keys: got %v, want denied", err)
	}
}

func TestReturnRenewsAMemberAndNeverReadmits(t *testing.T) {
	b, alice := found(t, 1)
	bob := b.add(t, alice, 2)
	b.commit(t, alice, Change{Kind: KindRole, Targets: target(alice, bob.id), Role: Admin})
	b.mustSync(t, bob)
	lost := bob.State
	again := newUser(t, 2)
	word := NewReturn(b.group, again.id, again.keys, []byte("word"))
	if _, _, err := alice.OpenReturn(accountOf(9), word); !errors.Is(err, fault.Unauthenticated) {
		t.Errorf("from another account: got %v, want unauthenticated", err)
	}
	remove, add, err := alice.OpenReturn(again.id, word)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := alice.Propose(rand.Reader, b.now, add); !errors.Is(err, fault.Exists) {
		t.Errorf("the addition before the removal: got %v, want exists", err)
	}
	b.commit(t, alice, remove)
	b.commit(t, alice, add)
	w, err := DecodeWelcome(alice.Welcome())
	if err != nil || w.Group != b.group || !w.ReadKey().Equal(alice.ReadKey()) {
		t.Fatalf("welcome: got %+v, %v", w, err)
	}
	b.enter(t, again)
	if again.Digest() != alice.Digest() || again.Member(again.id).Role != Plain {
		t.Error("want the same state, and a member without a role")
	}
	if _, _, err := alice.OpenReturn(again.id, word); !errors.Is(err, fault.Exists) {
		t.Errorf("the return again: got %v, want exists", err)
	}
	if err := lost.Apply(b.now, b.log[len(b.log)-2], nil); !errors.Is(err, fault.Denied) {
		t.Errorf("the keys before: got %v, want denied", err)
	}
	b.commit(t, alice, Change{Kind: KindRemove, Targets: target(alice, again.id)})
	for name, ch := range map[string]Change{"the removal": remove, "the addition": add} {
		if _, err := alice.Propose(rand.Reader, b.now, ch); !errors.Is(err, fault.Exists) {
			t.Errorf("%s of an old return, after a kick: got %v, want exists", name, err)
		}
	}
	if _, _, err := alice.OpenReturn(again.id, word); !errors.Is(err, fault.Denied) {
		t.Errorf("an old return after a kick: got %v, want denied", err)
	}
}

func TestStatesOfOneProcessShareWhatAllHave(t *testing.T) {
	b, alice := found(t, 1)
	sh := &Shared{Locker: new(sync.Mutex)}
	alice.Share(sh)
	var all []*user
	for n := range 5 {
		u := newUser(t, 2+n)
		b.commit(t, alice, request(t, alice, b.invite(t, alice), u))
		ticket := u.keys.Ticket(b.group, u.id)
		var err error
		if u.State, err = sh.Enter(b.now, testCluster, ticket, nil, b.log, b.slotFor(ticket)); err != nil {
			t.Fatal(err)
		}
		all = append(all, u)
	}
	b.now = b.now.Add(time.Hour)
	b.commit(t, alice, Change{Kind: KindRemove, Targets: target(alice, all[4].id)})
	out, all := all[4], all[:4]
	b.mustSync(t, all...)
	alone, err := b.device(t, all[0].id, all[0].Handover())
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range all {
		back, err := sh.Unmarshal(u.Marshal())
		if err != nil {
			t.Fatal(err)
		}
		if u.core != alice.core || back.core != alice.core || u.Digest() != alone.Digest() ||
			!bytes.Equal(back.Marshal(), u.Marshal()) {
			t.Errorf("%x does not share what all have, or something else", u.id[1:3])
		}
		if _, err := back.Open(say(t, b, alice, "hello")); err != nil {
			t.Errorf("%x: %v", u.id[1:3], err)
		}
	}
	if err := b.sync(out); !errors.Is(err, fault.Denied) {
		t.Errorf("who was removed and shares: got %v, want denied", err)
	}
}
