package cluster

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/starling-swarm/starling/cluster/internal/mailstore/storetest"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
)

// appended is what an attempt to append a commit met.
type appended struct {
	ok  bool
	seq uint64 // of the commit, or of the head that was there instead
}

// logModel is a group's log: a register that is set on the condition of its value. Input is the head that a
// commit was made upon.
var logModel = porcupine.Model{
	Init: func() any { return uint64(0) },
	Step: func(state, input, output any) (bool, any) {
		head, after, out := state.(uint64), input.(uint64), output.(appended)
		if out.ok {
			return head == after && out.seq > head, out.seq
		}
		return out.seq == head && head != after, head
	},
	DescribeOperation: func(input, output any) string {
		return fmt.Sprintf("append after %d: %+v",
			input, output)
	},
}

// logHistory gathers what several racers did.
type logHistory struct {
	mu     sync.Mutex
	grew   sync.Cond
	failed bool
	ops    []porcupine.Operation
}

func newLogHistory() *logHistory {
	h := new(logHistory)
	h.grew.L = &h.mu
	return h
}

// await returns when n more attempts were answered, or a racer failed.
func (h *logHistory) await(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for n += len(h.ops); len(h.ops) < n && !h.failed; {
		h.grew.Wait()
	}
}

func (h *logHistory) fail() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failed = true
	h.grew.Broadcast()
}

func (h *logHistory) add(client int, after uint64, began time.Time, out appended) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, porcupine.Operation{ClientId: client, Input: after, Call: began.UnixNano(),
		Output: out, Return: time.Now().UnixNano()})
	h.grew.Broadcast()
}

// racer is a device that appends commits as fast as it can: an admin's, or of people who let themselves in.
type racer struct {
	*mailbox
	joins bool
	node  *Node
	group storetest.Group
	head  uint64
}

// request tries operations until their outcome is known, or ctx ends.
func (r *racer) request(ctx context.Context, key ed25519.PrivateKey, minSeq uint64,
	ops ...envelope.Op) (*envelope.Response, error) {
	req := (&envelope.Request{Mailbox: r.id, Authority: publicOf(key), MinSeq: minSeq, Ops: ops}).Encode()
	for {
		resp, err := envelope.DecodeResponse(r.node.Do(ctx, r.tag, r.sign(r.node.ID(), key,
			envelope.LabelRequest, req)))
		if err != nil {
			return nil, err
		}
		if err := resp.Err(); err == nil || !errors.Is(err, fault.Unavailable) || ctx.Err() != nil {
			return resp, err
		}
	}
}

// learn takes in the commits up to one that is known to exist.
func (r *racer) learn(ctx context.Context, head uint64) error {
	resp, err := r.request(ctx, r.group.Read(1), head,
		envelope.Retrieve{Namespaces: []envelope.Namespace{envelope.GroupLog}, After: r.head})
	if err != nil {
		return err
	}
	for _, e := range resp.Results[0].Envelopes {
		r.group.Accept(envelope.Store{Body: e.Body})
		r.head = e.Seq
	}
	return nil
}

// race appends until ctx ends.
func (r *racer) race(ctx context.Context, client int, h *logHistory) error {
	for n := 0; ctx.Err() == nil; n++ {
		key, ops := r.group.Write(1), r.group.Join(r.head, uint32(client*1_000_000+n))
		if !r.joins {
			key, ops = r.group.Admin(1), []envelope.Op{r.group.Sign(r.group.Next(envelope.CommitInfo,
				fmt.Sprint("client ", client, ", commit ", n)), r.head)}
		}
		put := ops[0].(envelope.Store)
		after, began := r.head, time.Now()
		resp, err := r.request(context.WithoutCancel(ctx), key, 0, ops...)
		var f *fault.Error
		switch {
		case err == nil:
			r.head = resp.Results[0].Seq
			r.group.Accept(put)
			h.add(client, after, began, appended{true, r.head})
		case errors.As(err, &f) && f.Kind == fault.Stale:
			h.add(client, after, began, appended{false, f.Head})
			if err := r.learn(context.WithoutCancel(ctx), f.Head); err != nil {
				return err
			}
		case errors.As(err, &f) && f.Kind == fault.Limited && r.joins:
			return nil // the generation has all the joins that it may have
		default:
			return err
		}
	}
	return nil
}

// TestRacingCommitsAreLinear lets two admins and two joiners append to one log while its nodes crash and are
// cut off, and looks for an order of all that they were answered that respects real time.
func TestRacingCommitsAreLinear(t *testing.T) {
	if testing.Short() {
		t.Skip("waits out elections")
	}
	c := startCluster(t, 5, 5)
	stable := c.nodes[:2] // these serve the racers; any node may lead
	var g *storetest.Group
	var m *mailbox
	for i := 0; m == nil || host(c, m, stable) == nil; i++ {
		g = storetest.NewGroupOf(fmt.Sprint("group ", i), envelope.FormPublic)
		m = &mailbox{id: g.Mailbox(), tag: liveTag}
	}
	n := host(c, m, stable).node
	genesis := g.Genesis()
	resp := m.do(t, n, g.MailboxKey(), 0, genesis.Ops...)
	if err := resp.Err(); err != nil {
		t.Fatalf("genesis: %v", err)
	}
	head := resp.CertsHead
	g.Accept(genesis.Ops[1].(envelope.Store))

	h := newLogHistory()
	h.add(0, 0, time.Now(), appended{true, head})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	for client := range 4 {
		r := &racer{mailbox: m, joins: client%2 == 1, node: n, group: *g, head: head}
		wg.Go(func() {
			if err := r.race(ctx, client+1, h); err != nil {
				h.fail()
				t.Errorf("client %d: %v", client+1, err)
			}
		})
	}
	for round := range 3 {
		h.await(20)
		for _, victim := range c.replicasOf(m) {
			if victim.node == n {
				continue // it serves the racers
			}
			if round%2 == 0 {
				victim.crash()
				h.await(20)
				victim.start()
			} else {
				victim.faults.Cut(true)
				h.await(20)
				victim.faults.Cut(false)
			}
			c.waitReady()
			break
		}
	}
	h.await(20)
	cancel()
	wg.Wait()
	won := 0
	for _, op := range h.ops {
		if op.Output.(appended).ok {
			won++
		}
	}
	t.Logf("%d attempts, %d commits", len(h.ops), won)
	if got := porcupine.CheckOperationsTimeout(logModel, h.ops, time.Minute); got != porcupine.Ok {
		t.Errorf("history of %d attempts: %v, want an order that explains it", len(h.ops), got)
	}
}

func TestLogModelFindsTwoCommitsUponOneHead(t *testing.T) {
	h := []porcupine.Operation{
		{ClientId: 1, Input: uint64(0), Output: appended{true, 1}, Call: 1, Return: 2},
		{ClientId: 1, Input: uint64(1), Output: appended{true, 2}, Call: 3, Return: 5},
		{ClientId: 2, Input: uint64(1), Output: appended{true, 3}, Call: 4, Return: 6},
	}
	if porcupine.CheckOperations(logModel, h) {
		t.Error("two commits upon one head pass for a log")
	}
}
