package cluster

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
)

// stored is one acknowledged store of a history.
type stored struct {
	i           int
	seq         uint64
	began, done time.Time
}

// TestHistoryUnderFaultsIsLinear runs clients against several mailboxes while nodes crash and are cut off,
// one at a time, and then looks at the history: nothing acknowledged is lost or doubled, every subscriber got
// everything once and in order, and sequence numbers respect real time: what was acknowledged before another
// store began lies before it.
func TestHistoryUnderFaultsIsLinear(t *testing.T) {
	if testing.Short() {
		t.Skip("waits out elections")
	}
	c := startCluster(t, 5, 5)
	stable := c.nodes[:2] // these serve the clients; any node may lead
	var boxes []*mailbox
	for i := 0; len(boxes) < 4; i++ {
		m := newMailbox(fmt.Sprint("box ", i))
		if host(c, m, stable) != nil {
			boxes = append(boxes, m)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	histories := make([][]stored, len(boxes))
	subs := make([]*subscriber, len(boxes))
	for b, m := range boxes {
		n := host(c, m, stable).node
		m.genesis(t, n)
		subs[b] = m.subscribe(t, n, 0)
		var mu sync.Mutex
		next := 0
		for range 3 {
			wg.Go(func() {
				for ctx.Err() == nil {
					mu.Lock()
					i := next
					next++
					mu.Unlock()
					began := time.Now()
					seq, err := m.try(ctx, n, i)
					if err != nil {
						return // the run is over
					}
					mu.Lock()
					histories[b] = append(histories[b], stored{i, seq, began, time.Now()})
					mu.Unlock()
				}
			})
		}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for round := range 4 { // one victim at a time: a majority of each swarm is always there
		victim := c.nodes[2+rng.IntN(3)]
		if round%2 == 0 {
			victim.crash()
			progress(t, ctx, boxes, stable, c, 1_000_000+round)
			victim.start()
		} else {
			victim.faults.Cut(true)
			progress(t, ctx, boxes, stable, c, 1_000_000+round)
			victim.faults.Cut(false)
		}
		c.waitReady()
	}
	cancel()
	wg.Wait()
	total := 0
	for b, m := range boxes {
		n := host(c, m, stable).node
		checkHistory(t, histories[b])
		seqs := make(map[int]uint64)
		last := uint64(0)
		for _, s := range histories[b] {
			seqs[s.i] = s.seq
			last = max(last, s.seq)
		}
		total += len(seqs)
		var all []envelope.Envelope
		for after, more := uint64(0), true; more; {
			resp := m.do(t, n, m.own, last,
				envelope.Retrieve{Namespaces: []envelope.Namespace{envelope.Inbox}, After: after})
			if err := resp.Err(); err != nil {
				t.Fatalf("retrieve: %v", err)
			}
			all = append(all, resp.Results[0].Envelopes...)
			after, more = resp.Results[0].Seq, resp.Results[0].More
		}
		checkAll(t, all, seqs)
		for _, want := range all {
			select {
			case got := <-subs[b].got:
				if got.Seq != want.Seq {
					t.Fatalf("box %d: pushed seq %d, want %d", b, got.Seq, want.Seq)
				}
			case <-time.After(patience):
				t.Fatalf("box %d: seq %d was not pushed", b, want.Seq)
			}
		}
	}
	t.Logf("%d acknowledged stores", total)
}

// host returns a stable node with a replica of the mailbox.
func host(c *testCluster, m *mailbox, stable []*testNode) *testNode {
	for _, n := range c.replicasOf(m) {
		for _, s := range stable {
			if n == s {
				return n
			}
		}
	}
	return nil
}

// progress waits until every mailbox has taken another store: the fault has been lived through.
func progress(t *testing.T, ctx context.Context, boxes []*mailbox, stable []*testNode,
	c *testCluster, i int) {
	t.Helper()
	for _, m := range boxes {
		if _, err := m.try(ctx, host(c, m, stable).node, i); err != nil {
			t.Fatalf("no progress: %v", err)
		}
	}
}

// try stores message i like a client, the same bytes again while the outcome is unknown, until ctx ends.
func (m *mailbox) try(ctx context.Context, n *Node, i int) (uint64, error) {
	for {
		r := &envelope.Request{Mailbox: m.id, Ops: []envelope.Op{envelope.Store{Namespace: envelope.Inbox,
			TTL: 3600, Body: body(i)}}}
		resp, err := envelope.DecodeResponse(n.Do(ctx, m.tag, m.sign(n.ID(), nil, envelope.LabelRequest,
			r.Encode())))
		if err != nil {
			return 0, err
		}
		if err = resp.Err(); err == nil {
			return resp.Results[0].Seq, nil
		}
		if !errors.Is(err, fault.Unavailable) || ctx.Err() != nil {
			return 0, err
		}
	}
}

// checkHistory wants sequence numbers that are unique and respect real time.
func checkHistory(t *testing.T, h []stored) {
	t.Helper()
	seen := make(map[uint64]int)
	for _, a := range h {
		if other, twice := seen[a.seq]; twice {
			t.Errorf("messages %d and %d have seq %d", other, a.i, a.seq)
		}
		seen[a.seq] = a.i
		for _, b := range h {
			if a.done.Before(b.began) && a.seq >= b.seq {
				t.Errorf("message %d (seq %d) was acknowledged before %d (seq %d) began", a.i,
					a.seq, b.i, b.seq)
			}
		}
	}
}
