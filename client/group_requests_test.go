package client_test

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// unasked waits until neither the nodes nor an admin's device have requests to join.
func (d *device) unasked(t *testing.T, id ident.GroupID) {
	t.Helper()
	ctx := patient(t)
	for {
		nodes, here := d.Lab().GroupRequests(ctx, t, id)
		if nodes == 0 && here == 0 {
			return
		}
		d.Lab().KickGroup(id)
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("got %d requests at the nodes and %d here, want none", nodes, here)
		}
	}
}

func TestAnsweredRequestsLeaveTheNodes(t *testing.T) {
	cluster := shared(t)
	alice, _ := create(t, cluster, "Alice")
	bob, _ := create(t, cluster, "Bob")
	carol, _ := create(t, cluster, "Carol")
	id := alice.group(t, "open evening").ID
	link, err := alice.Group(id).CreateLink(patient(t), time.Now().Add(time.Hour), 3, 0)
	ok(t, "link", err)
	for _, d := range []*device{bob, carol} {
		_, err := d.JoinGroup(patient(t), link.Link)
		ok(t, "join", err)
		d.in(t, id, "joined", status(client.GroupJoined))
	}
	alice.in(t, id, "three are members", members(3))
	alice.unasked(t, id)
}

func TestRequestsOfNobodyAreDropped(t *testing.T) {
	cluster := shared(t)
	var k clock
	alice, _ := createWith(t, k.config(t, cluster, "alice-1"), "Alice")
	bob, _ := create(t, cluster, "Bob")
	mallory, _ := create(t, cluster, "Mallory")
	id := alice.group(t, "open evening").ID
	link, err := alice.Group(id).CreateLink(patient(t), time.Now().Add(12*time.Hour), 3, 0)
	ok(t, "link", err)
	mallory.Lab().ForgeRequests(patient(t), t, link.Link, 6)
	_, err = bob.JoinGroup(patient(t), link.Link)
	ok(t, "join", err)
	bob.in(t, id, "joined", status(client.GroupJoined))
	if nodes, _ := alice.Lab().GroupRequests(patient(t), t, id); nodes < 6 {
		t.Errorf("got %d requests at the nodes, want those that may still be somebody's", nodes)
	}
	k.pass(2 * time.Hour)
	alice.unasked(t, id)
}

func isSlot(op envelope.Op) bool {
	put, ok := op.(envelope.Store)
	return ok && put.Namespace == envelope.GroupSlots
}

// slowAsks is a network on which the subscription to what is asked of admins comes about only when that is
// read otherwise.
type slowAsks struct {
	client.Network
	read chan struct{}
	once sync.Once
}

func (n *slowAsks) Do(ctx context.Context, purpose string, m ident.MailboxID, b []byte,
	sign client.SignFunc) (*envelope.Response, ident.Path, error) {
	if r, err := envelope.DecodeRequest(b); err == nil {
		for _, op := range r.Ops {
			if get, ok := op.(envelope.Retrieve); ok && slices.Contains(get.Namespaces, envelope.GroupAsk) {
				n.once.Do(func() { close(n.read) })
			}
		}
	}
	return n.Network.Do(ctx, purpose, m, b, sign)
}

func (n *slowAsks) Subscribe(ctx context.Context, m ident.MailboxID, build func() []byte,
	sign client.SignFunc, handle func(envelope.Envelope) error) error {
	if sub, err := envelope.DecodeSubscribe(build()); err == nil && slices.Contains(sub.Namespaces,
		envelope.GroupAsk) {
		select {
		case <-n.read:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return n.Network.Subscribe(ctx, m, build, sign, handle)
}

// TestSyncSeesWhatIsAskedOfAdmins: who is online for a moment must not miss those who wait to be let in.
func TestSyncSeesWhatIsAskedOfAdmins(t *testing.T) {
	cluster := shared(t)
	net := &slowAsks{read: make(chan struct{})}
	cfg := config(t, cluster, "Alice")
	cfg.SetNetwork(func(inner client.Network) client.Network { net.Network = inner; return net })
	alice, _ := createWith(t, cfg, "Alice")
	bob, _ := create(t, cluster, "Bob")
	id := alice.group(t, "open evening").ID
	link, err := alice.Group(id).CreateLink(patient(t), time.Now().Add(time.Hour), 3, 0)
	ok(t, "link", err)
	_, err = bob.JoinGroup(patient(t), link.Link)
	ok(t, "join", err)
	ok(t, "idle", bob.Idle(patient(t))) // the request is stored
	ok(t, "sync", alice.SyncToHeads(patient(t)))
	g, err := alice.Group(id).Get(patient(t))
	ok(t, "look", err)
	if !members(2)(g) && len(g.Pending) == 0 {
		t.Errorf("nobody waits to be let in, and nobody was: %+v", g)
	}
}

// TestSlotThatAReplicaLacksIsLookedForAgain: the commit may come from a replica that is ahead of the one that
// is asked for the slot.
func TestSlotThatAReplicaLacksIsLookedForAgain(t *testing.T) {
	cluster := shared(t)
	alice, _ := create(t, cluster, "Alice")
	bob, net := refused(t, cluster, "Bob")
	id := alice.group(t, "open evening").ID
	link, err := alice.Group(id).CreateLink(patient(t), time.Now().Add(time.Hour), 3, 0)
	ok(t, "link", err)
	var looks atomic.Int32
	net.refuse(func(r *envelope.Request) error {
		for _, op := range r.Ops {
			if get, ok := op.(envelope.RetrieveKey); ok && get.Namespace == envelope.GroupSlots &&
				looks.Add(1) == 1 {
				return fault.New(fault.NotFound, "test", "not applied yet")
			}
		}
		return nil
	})
	_, err = bob.JoinGroup(patient(t), link.Link)
	ok(t, "join", err)
	bob.in(t, id, "joined", status(client.GroupJoined))
	if looks.Load() < 2 {
		t.Error("the slot was not looked for twice: this shows nothing")
	}
}

// TestRefusedRequestsAreGrantedOneByOne: one of them may be why the nodes refuse to let several in.
func TestRefusedRequestsAreGrantedOneByOne(t *testing.T) {
	cluster := shared(t)
	alice, net := refused(t, cluster, "Alice")
	id := alice.group(t, "open evening").ID
	link, err := alice.Group(id).CreateLink(patient(t), time.Now().Add(time.Hour), 3, 0)
	ok(t, "link", err)
	alice.stop()
	var all []*device
	for _, name := range []string{"Bob", "Carol", "Dave"} {
		d, _ := create(t, cluster, name)
		_, err := d.JoinGroup(patient(t), link.Link)
		ok(t, "join", err)
		ok(t, "idle", d.Idle(patient(t))) // the request is stored
		all = append(all, d)
	}
	net.refuse(func(r *envelope.Request) error {
		slots := 0
		for _, op := range r.Ops {
			if isSlot(op) {
				slots++
			}
		}
		if slots > 1 {
			return fault.New(fault.Invalid, "test", "one of them is no good")
		}
		return nil
	})
	alice.reopen(t)
	for _, d := range all {
		d.in(t, id, "joined", status(client.GroupJoined))
	}
}

// TestRequestsThatNodesRefuseKeepNobodyOut: whoever has a link can ask with keys that the nodes take from
// nobody.
func TestRequestsThatNodesRefuseKeepNobodyOut(t *testing.T) {
	cluster := shared(t)
	alice, net := refused(t, cluster, "Alice")
	bob, _ := create(t, cluster, "Bob")
	mallory, _ := create(t, cluster, "Mallory")
	id := alice.groupOf(t, "open evening", client.GroupOwnKeys).ID
	link, err := alice.Group(id).CreateLink(patient(t), time.Now().Add(time.Hour), 3, 0)
	ok(t, "link", err)
	alice.stop()
	mallory.Lab().AskWithUsedKeys(patient(t), t, link.Link, 6)
	_, err = bob.JoinGroup(patient(t), link.Link)
	ok(t, "join", err)
	ok(t, "idle", bob.Idle(patient(t))) // the request is stored
	opened := make(chan struct{})
	var tries atomic.Int32                       // of letting somebody in, until Bob is
	net.refuse(func(r *envelope.Request) error { // nothing
		if slices.ContainsFunc(r.Ops, isSlot) {
			<-opened
			if g, err := alice.Group(id).Get(t.Context()); err == nil && !members(2)(g) {
				tries.Add(1)
			}
		}
		return nil
	})
	alice = alice.reopen(t)
	close(opened)
	bob.in(t, id, "joined", status(client.GroupJoined))
	alice.in(t, id, "Mallory is not in", members(2))
	if got := tries.Load(); got > 4 { // all seven, three, one of Mallory, Bob
		t.Errorf("Bob was let in at the %d. try: the requests that nodes refuse came first", got)
	}
	alice.unasked(t, id)
}
