package client_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/swarmtest"
)

// refusing is a network whose nodes refuse what a test names.
type refusing struct {
	client.Network
	judge atomic.Pointer[func(*envelope.Request) error]
}

func (n *refusing) Do(ctx context.Context, purpose string, m ident.MailboxID, b []byte,
	sign client.SignFunc) (*envelope.Response, ident.Path, error) {
	if f := n.judge.Load(); f != nil {
		r, err := envelope.DecodeRequest(b)
		if err == nil {
			err = (*f)(r)
		}
		if err != nil {
			return nil, ident.Path{}, err
		}
	}
	return n.Network.Do(ctx, purpose, m, b, sign)
}

func (n *refusing) refuse(f func(*envelope.Request) error) { n.judge.Store(&f) }

// refused makes a device whose nodes refuse what a test names.
func refused(t *testing.T, cluster *swarmtest.Cluster, name string) (*device, *refusing) {
	t.Helper()
	net := new(refusing)
	cfg := config(t, cluster, name)
	cfg.SetNetwork(func(inner client.Network) client.Network { net.Network = inner; return net })
	d, _ := createWith(t, cfg, name)
	return d, net
}

// delegates answers err to requests that give somebody a capability, as an invitation does.
func delegates(err error) func(*envelope.Request) error {
	return func(r *envelope.Request) error {
		for _, op := range r.Ops {
			if _, ok := op.(envelope.Delegate); ok {
				return err
			}
		}
		return nil
	}
}

func limited(d time.Duration) error {
	err := fault.New(fault.Limited, "test", "not now")
	err.RetryAfter = d
	return err
}

func TestRefusedChangeKeepsNoRemovalFromComingAbout(t *testing.T) {
	cluster := shared(t)
	alice, net := refused(t, cluster, "Alice")
	bob, _ := create(t, cluster, "Bob")
	dave, _ := create(t, cluster, "Dave")
	approve(t, alice, bob)
	id := alice.group(t, "walkers").ID
	alice.let(t, id, bob)
	net.refuse(delegates(fault.New(fault.Invalid, "test", "no node takes this")))
	added := make(chan error, 1)
	go func() { added <- alice.Group(id).Add(patient(t), 0, dave.id()) }()
	alice.in(t, id, "the addition is refused", func(g client.Group) bool {
		return len(g.Pending) == 1 &&
			g.Pending[0].Cause != ""
	})
	ok(t, "remove", alice.Group(id).Remove(patient(t), bob.id()))
	if err := <-added; !errors.Is(err, fault.Invalid) {
		t.Errorf("the addition that no node takes: got %v, want invalid", err)
	}
	alice.in(t, id, "nothing waits", func(g client.Group) bool {
		return len(g.Pending) == 0 &&
			len(inside(g)) == 1
	})
}

func TestBanOvertakesAnAdditionThatStandsAside(t *testing.T) {
	cluster := shared(t)
	alice, net := refused(t, cluster, "Alice")
	bob, _ := create(t, cluster, "Bob")
	id := alice.group(t, "walkers").ID
	net.refuse(delegates(limited(time.Hour)))
	added := make(chan error, 1)
	go func() { added <- alice.Group(id).Add(patient(t), 0, bob.id()) }()
	alice.in(t, id, "the addition is refused", func(g client.Group) bool {
		return len(g.Pending) == 1 &&
			g.Pending[0].Cause != ""
	})
	ok(t, "ban", alice.Group(id).Ban(patient(t), bob.id()))
	if err := <-added; !errors.Is(err, fault.Denied) {
		t.Errorf("the addition of who was banned since: got %v, want denied", err)
	}
	got := alice.in(t, id, "nothing waits", func(g client.Group) bool { return len(g.Pending) == 0 })
	if len(got.Members) != 1 || !slices.Contains(got.Banned, bob.id()) {
		t.Errorf("got %+v, want Bob banned and not invited", got)
	}
}

func TestReturnStaysInOrderWhenItsRemovalStandsAside(t *testing.T) {
	cluster := shared(t)
	alice, net := refused(t, cluster, "Alice")
	bob, _ := create(t, cluster, "Bob")
	approve(t, alice, bob)
	id := alice.group(t, "walkers").ID
	alice.let(t, id, bob)
	joined := func(g client.Group) (n uint64) {
		for _, m := range g.Members {
			if m.Account == bob.id() {
				n = m.Joined
			}
		}
		return n
	}
	was := joined(alice.in(t, id, "Bob is in", isMember(bob.id())))
	var times atomic.Int32
	net.refuse(func(r *envelope.Request) error {
		for _, op := range r.Ops {
			put, _ := op.(envelope.Store)
			c, err := envelope.DecodeCommit(put.Body)
			if err == nil && c.Kind == envelope.CommitRemove && times.Add(1) == 1 {
				return limited(100 * time.Millisecond)
			}
		}
		return nil
	})
	ok(t, "return", alice.Lab().WantReturn(id, bob.id()))
	alice.in(t, id, "Bob is in again", func(g client.Group) bool { return joined(g) > was })
}
