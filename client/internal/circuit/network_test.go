package circuit

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// five nodes, two swarms: what the demo has.
func five(t testing.TB) *testCluster { return startCluster(t, 5, []int{0, 1, 2}, []int{2, 3, 4}) }

func TestRequestReachesTheSwarmThroughThreeHops(t *testing.T) {
	c := five(t)
	own, peer := c.mailboxIn(0, 1), c.mailboxIn(1, 2)
	n, _ := c.connect(t.TempDir(), own, nil)
	resp, path, err := n.Do(within(t), "send", peer, storeOf(peer, "hello"), unsigned)
	if err != nil {
		t.Fatal(err)
	}
	if resp.Err() != nil || resp.Results[0].Seq != 1 {
		t.Errorf("got %+v", resp.Results)
	}
	if path[0] == path[1] || path[1] == path[2] || path[0] == path[2] {
		t.Errorf("path %v has a node twice", path)
	}
	for _, i := range []int{0, 1, 2} { // the own swarm's
		if path[0] == c.nodes[i].id {
			t.Errorf("guard %s stores the account's own mailbox", path[0].Short())
		}
	}
	if got := string(c.boxes.logs[peer][0].Body); got != "hello" {
		t.Errorf("stored %q", got)
	}
	s := n.Status()
	if len(s.Circuits) != 1 || s.Nodes != 5 || s.Swarms != 2 || !s.Loopback || s.Circuits[0].Path != path {
		t.Errorf("status %+v", s)
	}
}

func TestSignatureIsBoundToNodeAndCircuit(t *testing.T) {
	c := five(t)
	m := c.mailboxIn(0, 1)
	n, _ := c.connect(t.TempDir(), m, nil)
	pub, key, _ := ed25519.GenerateKey(nil)
	req := &envelope.Request{Mailbox: m, Authority: [32]byte(pub),
		Ops: []envelope.Op{envelope.Store{Namespace: envelope.Sync, Body: []byte("x")}}}
	sign := func(change func(*ident.NodeID, *[32]byte)) SignFunc {
		return func(node ident.NodeID, tag [32]byte, ms int64, label string, b []byte) envelope.Signed {
			change(&node, &tag)
			return envelope.Signed{TimeMS: ms,
				Signature: [64]byte(ed25519.Sign(key, envelope.SignedBytes(label, node, tag,
					ms, b))), Bytes: b}
		}
	}
	for name, row := range map[string]struct {
		change func(*ident.NodeID, *[32]byte)
		want   fault.Kind
	}{
		"this node and circuit": {func(*ident.NodeID, *[32]byte) {}, 0},
		"another node":          {func(n *ident.NodeID, _ *[32]byte) { n[0] ^= 1 }, fault.Unauthenticated},
		"another circuit": {func(_ *ident.NodeID, tag *[32]byte) { tag[0] ^= 1 },
			fault.Unauthenticated},
	} {
		resp, _, err := n.Do(within(t), PurposeInbox, m, req.Encode(), sign(row.change))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var got fault.Kind
		if e := resp.Results[0].Err; e != nil {
			got = e.Kind
		}
		if got != row.want {
			t.Errorf("%s: got %v, want %v", name, got, row.want)
		}
	}
}

func TestCircuitsAreSharedWithinAndNeverBetweenDestinations(t *testing.T) {
	c := five(t)
	own := c.mailboxIn(0, 1)
	n, _ := c.connect(t.TempDir(), own, nil)
	var wg sync.WaitGroup
	for i := range 40 {
		m := c.mailboxIn(i%2, byte(10+i%4))
		wg.Go(func() {
			if _, _, err := n.Do(within(t), "send", m, storeOf(m, fmt.Sprint("text ", i)),
				unsigned); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := len(n.Status().Circuits); got != 4 {
		t.Errorf("%d circuits to 4 mailboxes, want 4", got)
	}
	total := 0
	for _, log := range c.boxes.logs {
		total += len(log)
	}
	if total != 40 {
		t.Errorf("%d envelopes stored, want 40", total)
	}
}

func TestLargeRequestAndLongAnswer(t *testing.T) {
	c := five(t)
	m := c.mailboxIn(1, 1)
	n, _ := c.connect(t.TempDir(), c.mailboxIn(0, 9), nil)
	const count = 12
	for i := range count {
		body := string(bytes.Repeat([]byte{byte('a' + i)}, 80_000))
		if _, _, err := n.Do(within(t), "send", m, storeOf(m, body), unsigned); err != nil {
			t.Fatal(err)
		}
	}
	// 960,000 bytes: eight messages on one stream, beyond what may be sent without credit when asked for
	// twice.
	ask := (&envelope.Request{Mailbox: m,
		Ops: []envelope.Op{envelope.Retrieve{Namespaces: []envelope.Namespace{envelope.Inbox}}}}).Encode()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			resp, _, err := n.Do(within(t), "send", m, ask, unsigned)
			if err != nil {
				t.Error(err)
				return
			}
			if got := resp.Results[0].Envelopes; len(got) != count || len(got[3].Body) != 80_000 ||
				got[3].Body[79_999] != 'd' {
				t.Errorf("got %d envelopes, want %d", len(got), count)
			}
		})
	}
	wg.Wait()
	_, _, err := n.Do(within(t), "send", m, make([]byte, envelope.MaxClientBatch+20_000), unsigned)
	if !errors.Is(err, fault.Invalid) {
		t.Errorf("request over the limit: got %v, want invalid", err)
	}
}

// subscribe runs a subscription and returns its envelopes and its end.
func subscribe(ctx context.Context, n *Network, m ident.MailboxID,
	cursor uint64) (<-chan envelope.Envelope, <-chan error) {
	got, end := make(chan envelope.Envelope, 1000), make(chan error, 1)
	go func() {
		end <- n.Subscribe(ctx, m, func() []byte {
			return (&envelope.Subscribe{Mailbox: m, Namespaces: []envelope.Namespace{envelope.Inbox},
				Cursor: cursor}).Encode()
		}, unsigned, func(e envelope.Envelope) error {
			got <- e
			return nil
		})
	}()
	return got, end
}

func TestSubscriptionReplaysThenPushesInOrder(t *testing.T) {
	c := five(t)
	m := c.mailboxIn(0, 1)
	receiver, _ := c.connect(t.TempDir(), m, nil)
	sender, _ := c.connect(t.TempDir(), c.mailboxIn(1, 7), nil)
	store := func(i int) {
		if _, _, err := sender.Do(within(t), "send", m, storeOf(m, fmt.Sprint("text ", i)),
			unsigned); err != nil {
			t.Error(err)
		}
	}
	for i := range 50 { // more than one window
		store(i)
	}
	ctx, cancel := context.WithCancel(within(t))
	got, end := subscribe(ctx, receiver, m, 10)
	for i := 10; i < 50; i++ {
		if e := <-got; e.Seq != uint64(i+1) || string(e.Body) != fmt.Sprint("text ", i) {
			t.Fatalf("got %d %q, want %d", e.Seq, e.Body, i+1)
		}
	}
	for i := 50; i < 60; i++ {
		store(i)
		if e := <-got; e.Seq != uint64(i+1) {
			t.Fatalf("pushed %d, want %d", e.Seq, i+1)
		}
	}
	cancel()
	if err := <-end; !errors.Is(err, fault.Unavailable) || !errors.Is(err, context.Canceled) {
		t.Errorf("end of the subscription: %v", err)
	}
}

func TestSubscriptionStopsAtTheWindow(t *testing.T) {
	c := five(t)
	m := c.mailboxIn(0, 1)
	n, _ := c.connect(t.TempDir(), m, nil)
	for i := range 100 {
		c.boxes.logs[m] = append(c.boxes.logs[m], envelope.Envelope{Seq: uint64(i + 1),
			Namespace: envelope.Inbox, Body: []byte{byte(i)}})
	}
	entered, resume := make(chan struct{}), make(chan struct{})
	seen := 0
	ctx, cancel := context.WithCancel(within(t))
	end := make(chan error, 1)
	go func() {
		end <- n.Subscribe(ctx, m, func() []byte {
			return (&envelope.Subscribe{Mailbox: m,
				Namespaces: []envelope.Namespace{envelope.Inbox}}).Encode()
		}, unsigned, func(e envelope.Envelope) error {
			if seen++; seen == 1 {
				close(entered)
				<-resume
			}
			if seen == 101 {
				cancel()
			}
			return nil
		})
	}()
	<-entered
	// Another request on the same circuit is answered although the subscriber is stuck.
	if _, _, err := n.Do(within(t), PurposeInbox, m, storeOf(m, "meanwhile"), unsigned); err != nil {
		t.Fatal(err)
	}
	c.boxes.mu.Lock()
	pushed := c.boxes.pushed
	c.boxes.mu.Unlock()
	if pushed > 32 {
		t.Errorf("%d pushes without an acknowledgement, want at most 32", pushed)
	}
	close(resume)
	<-end
	if seen != 101 {
		t.Errorf("handled %d, want 101", seen)
	}
}

func TestEndOfASubscriptionSaysWhy(t *testing.T) {
	c := five(t)
	m := c.mailboxIn(0, 1)
	n, _ := c.connect(t.TempDir(), m, nil)
	c.boxes.stopAt = &fault.Error{Kind: fault.Denied, Op: "not for the wire", Detail: "the authority changed"}
	_, end := subscribe(within(t), n, m, 0)
	err := <-end
	if !errors.Is(err, fault.Denied) || !strings.Contains(err.Error(), "the authority changed") ||
		strings.Contains(err.Error(), "wire") {
		t.Errorf("got %v, want denied with the detail only", err)
	}
	// The circuit is free for more.
	if _, _, err := n.Do(within(t), PurposeInbox, m, storeOf(m, "x"), unsigned); err != nil {
		t.Error(err)
	}
}

func TestHandlerErrorEndsTheSubscriptionOnly(t *testing.T) {
	c := five(t)
	m := c.mailboxIn(0, 1)
	n, _ := c.connect(t.TempDir(), m, nil)
	c.boxes.logs[m] = []envelope.Envelope{{Seq: 1, Namespace: envelope.Inbox}}
	broken := errors.New("disk full")
	for range 20 { // more than the streams that may be open
		err := n.Subscribe(within(t), m, func() []byte {
			return (&envelope.Subscribe{Mailbox: m,
				Namespaces: []envelope.Namespace{envelope.Inbox}}).Encode()
		}, unsigned, func(envelope.Envelope) error { return broken })
		if !errors.Is(err, broken) {
			t.Fatalf("got %v, want the handler's error", err)
		}
	}
	if got := len(n.Status().Circuits); got != 1 {
		t.Errorf("%d circuits, want the one", got)
	}
}

func TestWithdrawnRequestsFreeTheirStreams(t *testing.T) {
	c := five(t)
	m := c.mailboxIn(0, 1)
	n, _ := c.connect(t.TempDir(), m, nil)
	if err := n.Prepare(within(t), "send", m); err != nil {
		t.Fatal(err)
	}
	hold := make(chan struct{})
	c.boxes.mu.Lock()
	c.boxes.hold = hold
	c.boxes.mu.Unlock()
	ctx, cancel := context.WithCancel(within(t))
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if _, _, err := n.Do(ctx, "send", m, storeOf(m, fmt.Sprint(i)), unsigned); !errors.Is(err,
				fault.Unavailable) {
				t.Errorf("withdrawn request: %v", err)
			}
		})
	}
	for served := 0; served < 8; { // all eight are at work
		c.boxes.mu.Lock()
		served = 0
		for _, k := range c.boxes.served {
			served += k
		}
		c.boxes.mu.Unlock()
	}
	cancel()
	wg.Wait()
	c.boxes.mu.Lock()
	c.boxes.hold = nil
	c.boxes.mu.Unlock()
	for i := range 8 {
		if _, _, err := n.Do(within(t), "send", m, storeOf(m, fmt.Sprint("again ", i)),
			unsigned); err != nil {
			t.Fatal(err)
		}
	}
	if got := n.Status().Circuits; len(got) != 1 {
		t.Errorf("%d circuits, want the one", len(got))
	}
}
