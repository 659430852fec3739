package bench

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/testuser"
	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/node"
	"github.com/starling-swarm/starling/internal/scenario"
	"github.com/starling-swarm/starling/internal/sessionapi"
)

// What a node can be to two people who talk. Most nodes of a small cluster are several of these at once.
const (
	// of the circuit on which the sender stores
	roleGuard, roleMiddle, roleExit, roleStorage = "guard", "middle", "exit", "storage"

	// of the circuit by which the recipient is told
	roleInGuard, roleInMiddle = "recipient-guard", "recipient-middle"
	roleInExit, roleInStorage = "recipient-exit", "recipient-storage"

	roleLeader    = "leader"           // of the swarm with the recipient's mailbox
	roleOwnLeader = "sender-leader"    // of the swarm with the sender's
	roleDirectory = "directory-leader" // of the directory
)

// Roles are those that Failover knows.
var Roles = []string{
	roleGuard, roleMiddle, roleExit, roleStorage, roleInGuard, roleInMiddle, roleInExit, roleInStorage,
	roleLeader, roleOwnLeader, roleDirectory,
}

// A round sends a message every failoverEvery, for failoverBefore until the node dies and for failoverAfter
// from then on.
const (
	failoverEvery  = 20 * time.Millisecond
	failoverBefore = 300 * time.Millisecond
	failoverAfter  = time.Second
)

// Failover plays n rounds for each role on the nodes of c: a node that has the role is killed while two
// people talk, and comes back.
func (r *Run) Failover(ctx context.Context, c *node.Embedded, roles []string,
	n int) (sessionapi.BenchFailover, error) {
	doc := sessionapi.BenchFailover{Nodes: len(c.Nodes()), Rounds: n}
	for _, role := range roles {
		one, err := r.failoverRole(ctx, c, role, n)
		if err != nil {
			return doc, cli.Fail("bench failover "+role, err)
		}
		doc.Results = append(doc.Results, one)
	}
	return doc, nil
}

func (r *Run) failoverRole(ctx context.Context, c *node.Embedded, role string,
	n int) (sessionapi.BenchFailoverRole, error) {
	stop := r.Waiting("killing the " + role)
	defer stop()
	doc := sessionapi.BenchFailoverRole{Role: role}
	var stored, pushed []time.Duration
	for i := range n {
		f := round{run: r, ctx: ctx, c: c, dir: fmt.Sprintf("%s-%d", role, i)}
		if err := f.play(role); err != nil {
			return doc, err
		}
		stored, pushed = append(stored, f.stored), append(pushed, f.pushed)
		if f.leads {
			doc.Leads++
		}
	}
	doc.Stored, doc.Pushed = failoverTimes(stored), failoverTimes(pushed)
	return doc, nil
}

func failoverTimes(times []time.Duration) sessionapi.BenchFailoverWait {
	d := spread(times)
	return sessionapi.BenchFailoverWait{Median: ms(d.p50), Max: ms(d.max)}
}

// round is one round of Failover: two new accounts talk while a node dies.
type round struct {
	run      *Run
	ctx      context.Context
	c        *node.Embedded
	dir      string // below that of the run
	from, to *testuser.User

	stored, pushed time.Duration // longest waits
	leads          bool
}

func (f *round) play(role string) (err error) {
	for _, p := range []struct {
		who  **testuser.User
		name string
	}{{&f.from, "sender"}, {&f.to, "recipient"}} {
		if *p.who, _, err = testuser.New(f.ctx, p.name, p.name,
			f.run.config(filepath.Join(f.dir, p.name))); err != nil {
			return err
		}
		defer (*p.who).Leave()
	}
	if err := f.talk(failoverBefore, nil); err != nil { // circuits and keys are there from now on
		return err
	}
	f.stored, f.pushed = 0, 0
	victim, err := f.find(role)
	if err != nil {
		return err
	}
	if err := f.talk(failoverBefore+failoverAfter, func() error { return f.c.Crash(victim) }); err != nil {
		return err
	}
	if err := f.c.Restart(f.ctx, victim); err != nil {
		return err
	}
	return f.c.WaitReady(f.ctx)
}

// talk sends for a while, does what it is given after failoverBefore, and waits until everything has arrived.
func (f *round) talk(long time.Duration, then func() error) error {
	var ids []ident.MessageID
	queued := map[ident.MessageID]time.Time{}
	killed := make(chan error, 1)
	if then == nil {
		killed <- nil
	}
	tick := time.NewTicker(failoverEvery)
	defer tick.Stop()
	for start := time.Now(); time.Since(start) < long; <-tick.C {
		t := time.Now()
		sent, err := f.from.Send(f.ctx, f.to.Account().ID,
			client.Outgoing{Text: fmt.Sprintf("message %d", len(ids)+1)})
		if err != nil {
			return err
		}
		ids = append(ids, sent.ID)
		queued[sent.ID] = t
		if then != nil && time.Since(start) >= failoverBefore {
			kill := then
			then = nil
			go func() { killed <- kill() }() // the sender goes on meanwhile
		}
	}
	if err := <-killed; err != nil {
		return err
	}
	for _, id := range ids {
		r, err := f.from.Wait(f.ctx, id, client.StateStored)
		if err != nil {
			return fmt.Errorf("message %s was not stored: %w", id.Short(), err)
		}
		got, err := f.to.Arrived.Await(f.ctx, id)
		if err != nil {
			return fmt.Errorf("message %s did not arrive: %w", id.Short(), err)
		}
		f.stored, f.pushed = max(f.stored, r.Stored.Sub(r.Queued)), max(f.pushed, got.Sub(queued[id]))
	}
	return nil
}

// find returns the node that has a role now.
func (f *round) find(role string) (int, error) {
	leader, err := scenario.LeaderOf(f.ctx, f.c, f.to.Account().ID)
	if err != nil {
		return 0, err
	}
	own, err := scenario.LeaderOf(f.ctx, f.c, f.from.Account().ID)
	if err != nil {
		return 0, err
	}
	roles := map[string]int{roleLeader: leader, roleOwnLeader: own}
	put := func(role string, id ident.NodeID) {
		if i, ok := f.c.Index(id); ok {
			roles[role] = i
		}
	}
	for _, c := range f.from.Net().Circuits {
		if c.Purpose == string(client.PurposeSend) {
			put(roleGuard, c.Path[0])
			put(roleMiddle, c.Path[1])
			put(roleExit, c.Path[2])
			put(roleStorage, c.Storage)
		}
	}
	for _, c := range f.to.Net().Circuits {
		if c.Purpose == string(client.PurposeInbox) {
			put(roleInGuard, c.Path[0])
			put(roleInMiddle, c.Path[1])
			put(roleInExit, c.Path[2])
			put(roleInStorage, c.Storage)
		}
	}
	status, err := f.c.Status(f.ctx, leader)
	if err != nil {
		return 0, err
	}
	for _, s := range status.Swarms {
		if id, err := ident.ParseNodeID(s.Leader); err == nil && s.ID == uint32(ident.DirectoryGroup) {
			put(roleDirectory, id)
		}
	}
	victim, ok := roles[role]
	if !ok {
		return 0, fmt.Errorf("no node is the %s", role)
	}
	f.leads = victim == leader || victim == own
	return victim, nil
}
