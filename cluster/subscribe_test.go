package cluster

import (
	"context"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
)

// subscriber collects what a subscription gets.
type subscriber struct {
	got  chan envelope.Envelope
	done chan error
	stop context.CancelFunc
}

// subscribe starts a subscription to the inbox at a node.
func (m *mailbox) subscribe(t *testing.T, n *Node, cursor uint64) *subscriber {
	t.Helper()
	sub := &envelope.Subscribe{Mailbox: m.id, Authority: publicOf(m.own),
		Namespaces: []envelope.Namespace{envelope.Inbox}, Cursor: cursor}
	s := &subscriber{got: make(chan envelope.Envelope, 1000), done: make(chan error, 1)}
	var ctx context.Context
	ctx, s.stop = context.WithCancel(context.Background())
	t.Cleanup(s.stop)
	signed := m.sign(n.ID(), m.own, envelope.LabelSubscribe, sub.Encode())
	go func() {
		s.done <- n.Subscribe(ctx, m.tag, signed, func(e envelope.Envelope) error {
			s.got <- e
			return nil
		})
	}()
	return s
}

// next wants message i as the next push.
func (s *subscriber) next(t *testing.T, i int) envelope.Envelope {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	select {
	case e := <-s.got:
		if got := int(binary.BigEndian.Uint32(e.Body[len("message "):])); got != i {
			t.Fatalf("got message %d, want %d", got, i)
		}
		return e
	case err := <-s.done:
		t.Fatalf("subscription ended before message %d: %v", i, err)
	case <-ctx.Done():
		t.Fatalf("message %d was not pushed", i)
	}
	return envelope.Envelope{}
}

func TestSubscriptionReplaysThenPushesOnEveryReplica(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, 3)
	m := newMailbox("alice")
	replicas := c.replicasOf(m)
	m.genesis(t, replicas[0].node)
	for i := range 100 { // more than the window of a forwarded subscription
		m.send(t, replicas[0].node, i)
	}
	var subs []*subscriber
	for _, n := range replicas {
		subs = append(subs, m.subscribe(t, n.node, 0))
	}
	for i := range 120 {
		if i >= 100 {
			m.send(t, replicas[i%3].node, i)
		}
		for _, s := range subs {
			s.next(t, i)
		}
	}
}

func TestSubscriptionSurvivesLeaderChangeWithoutGapOrDuplicate(t *testing.T) {
	if testing.Short() {
		t.Skip("waits out elections")
	}
	t.Parallel()
	c := startCluster(t, 3, 3)
	m := newMailbox("alice")
	replicas := c.replicasOf(m)
	m.genesis(t, replicas[0].node)
	a, b := m.subscribe(t, replicas[1].node, 0), m.subscribe(t, replicas[2].node, 0)
	for i := range 10 {
		m.send(t, replicas[1].node, i)
		a.next(t, i)
	}
	replicas[0].crash()
	for i := 10; i < 20; i++ {
		m.sendUntilDone(t, replicas[1].node, i)
	}
	for i := 10; i < 20; i++ {
		a.next(t, i)
	}
	for i := range 20 {
		b.next(t, i)
	}
	if len(a.got)+len(b.got) != 0 {
		t.Errorf("got %d pushes more than were stored", len(a.got)+len(b.got))
	}
}

func TestAuthorityChangeEndsSubscriptionsOfTheOldOne(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, 3)
	m := newMailbox("alice")
	replicas := c.replicasOf(m)
	m.genesis(t, replicas[0].node)
	var subs []*subscriber
	for _, n := range replicas {
		subs = append(subs, m.subscribe(t, n.node, 0))
	}
	m.send(t, replicas[0].node, 0)
	for _, s := range subs {
		s.next(t, 0)
	}
	next, head := keyOf("alice next"), uint64(1)
	resp := m.do(t, replicas[1].node, m.own, 0,
		envelope.Store{Namespace: envelope.Certs, IfHead: &head, Body: []byte("certificate 2")},
		envelope.SetAuthority{Change: envelope.Rotate, Key: publicOf(next)})
	if err := resp.Err(); err != nil {
		t.Fatalf("rotate: %v", err)
	}
	for i, s := range subs {
		err := <-s.done
		var e *fault.Error
		if !errors.As(err, &e) || e.Kind != fault.Stale || e.Head != resp.CertsHead {
			t.Errorf("subscription %d: got %v, want stale with head %d", i, err, resp.CertsHead)
		}
	}
	m.own = next
	again := m.subscribe(t, replicas[1].node, 0)
	again.next(t, 0)
}

func TestSubscriptionIsRefused(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, 3)
	m := newMailbox("alice")
	replicas := c.replicasOf(m)
	m.genesis(t, replicas[0].node)
	for i, n := range replicas {
		stranger := *m
		stranger.own = keyOf("stranger")
		if err := <-stranger.subscribe(t, n.node, 0).done; !errors.Is(err, fault.Denied) {
			t.Errorf("replica %d, foreign key: got %v, want denied", i, err)
		}
		otherCircuit := m.sign(n.node.ID(), m.own, envelope.LabelSubscribe, (&envelope.Subscribe{
			Mailbox: m.id, Authority: publicOf(m.own), Namespaces: []envelope.Namespace{envelope.Inbox},
		}).Encode())
		err := n.node.Subscribe(t.Context(), [32]byte{1}, otherCircuit, nil)
		if !errors.Is(err, fault.Unauthenticated) {
			t.Errorf("replica %d, other circuit: got %v, want unauthenticated", i, err)
		}
	}
}
