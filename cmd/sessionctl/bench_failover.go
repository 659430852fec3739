package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/node"
	"github.com/starling-swarm/starling/internal/scenario"
)

// What a node can be to two people who talk. Most nodes of a small cluster are several of these at once.
const (
	roleGuard, roleMiddle, roleExit, roleStorage = "guard", "middle", "exit", "storage" // of the sender's circuit
	roleInGuard, roleInMiddle                    = "recipient-guard", "recipient-middle"
	roleInExit, roleInStorage                    = "recipient-exit", "recipient-storage"
	roleLeader                                   = "leader"           // of the swarm with the recipient's mailbox
	roleOwnLeader                                = "sender-leader"    // of the swarm with the sender's
	roleDirectory                                = "directory-leader" // of the directory
)

var failoverRoles = []string{
	roleGuard, roleMiddle, roleExit, roleStorage, roleInGuard, roleInMiddle, roleInExit, roleInStorage, roleLeader, roleOwnLeader, roleDirectory,
}

// A round sends a message every failoverEvery, for failoverBefore until the node dies and for failoverAfter from then on.
const (
	failoverEvery  = 20 * time.Millisecond
	failoverBefore = 300 * time.Millisecond
	failoverAfter  = time.Second
)

func (a *app) benchFailoverCommand() *cobra.Command {
	var roles []string
	var n int
	c := &cobra.Command{
		Use:   "failover [--roles ROLE,ROLE] [-n N]",
		Short: "Longest wait of a sender and of a recipient while a node is killed, by what the node was to them",
		Long: `failover starts a cluster of 5 nodes in this process. In every round two fresh accounts talk, one message every 20 ms,
and a node is killed as kill -9 would: the one that has the role. Counted are the longest time from Send to the
acknowledgement and to the recipient's event, over all messages of the round; none may be lost. Then the node comes
back. Nodes are other things as well: "leads" counts the rounds in which the dead node led a swarm of the two.

Roles: ` + strings.Join(failoverRoles, ", ") + ".",
		Example: `  sessionctl bench failover
  sessionctl bench failover --roles leader,middle -n 10 --json`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, r := range roles {
				if !slices.Contains(failoverRoles, r) {
					return cli.Usage("--roles %s: want some of %s", printable(r), strings.Join(failoverRoles, ", "))
				}
			}
			if n < 1 {
				return cli.Usage("bench failover: want -n of 1 or more")
			}
			if a.flags.cluster != "" {
				return cli.Usage("bench failover kills nodes: it starts a cluster of its own, leave out --cluster")
			}
			return a.benchFailover(cmd, roles, n)
		},
	}
	c.Flags().StringSliceVar(&roles, "roles", failoverRoles, "kill the node with `ROLE`; several, one after the other")
	c.Flags().IntVarP(&n, "number", "n", 3, "`N` rounds for each role")
	_ = c.RegisterFlagCompletionFunc("roles", cobra.FixedCompletions(failoverRoles, cobra.ShellCompDirectiveNoFileComp))
	return c
}

type failoverDoc struct {
	Nodes   int               `json:"nodes"`
	Rounds  int               `json:"rounds"`
	Results []failoverRoleDoc `json:"results"`
}

type failoverRoleDoc struct {
	Role   string       `json:"role"`
	Leads  int          `json:"leads"` // rounds in which the dead node led a swarm of the two
	Stored failoverTime `json:"stored"`
	Pushed failoverTime `json:"pushed"`
}

// failoverTime is over the longest wait of each round.
type failoverTime struct {
	Median float64 `json:"median_ms"`
	Max    float64 `json:"max_ms"`
}

func (a *app) benchFailover(cmd *cobra.Command, roles []string, n int) error {
	ctx, cancel := a.deadline(cmd, benchTimeout)
	defer cancel()
	dir, err := os.MkdirTemp("", "starling-bench-")
	if err != nil {
		return cli.Fail("bench", err)
	}
	defer os.RemoveAll(dir)
	c, err := node.StartEmbedded(ctx, node.EmbeddedConfig{Name: "bench", Nodes: demoNodes, Dir: dir + "/cluster", NoOps: true, Logger: a.logger()})
	if err != nil {
		return cli.Fail("start embedded cluster", err)
	}
	defer c.Close()
	doc := failoverDoc{Nodes: demoNodes, Rounds: n}
	for _, role := range roles {
		stop := a.waiting("killing the " + role)
		r := failoverRoleDoc{Role: role}
		var stored, pushed []time.Duration
		for i := range n {
			f := failover{app: a, ctx: ctx, c: c, dir: fmt.Sprintf("%s/%s-%d", dir, role, i)}
			if err := f.play(role); err != nil {
				stop()
				return cli.Fail("bench failover "+role, err)
			}
			stored, pushed = append(stored, f.stored), append(pushed, f.pushed)
			if f.leads {
				r.Leads++
			}
		}
		stop()
		r.Stored, r.Pushed = failoverTimes(stored), failoverTimes(pushed)
		doc.Results = append(doc.Results, r)
	}
	return a.answer("bench.failover", doc, func(w io.Writer, st style) {
		fmt.Fprintf(w, "failover: longest wait of a round in which a node is killed, embedded cluster of %d nodes, %d rounds each\n", doc.Nodes, n)
		t := newTable("KILLED", "LEADS", "STORED", "WORST", "PUSHED", "WORST")
		at := func(ms float64) string { return seconds(time.Duration(ms * float64(time.Millisecond))) }
		for _, r := range doc.Results {
			t.row(r.Role, fmt.Sprint(r.Leads), at(r.Stored.Median), at(r.Stored.Max), at(r.Pushed.Median), at(r.Pushed.Max))
		}
		t.write(w)
	})
}

func failoverTimes(times []time.Duration) failoverTime {
	d := spread(times)
	return failoverTime{ms(d.p50), ms(d.max)}
}

// failover is one round.
type failover struct {
	app      *app
	ctx      context.Context
	c        *node.Embedded
	dir      string
	from, to *person

	stored, pushed time.Duration // longest waits
	leads          bool
}

func (f *failover) play(role string) (err error) {
	for _, p := range []struct {
		who  **person
		name string
	}{{&f.from, "sender"}, {&f.to, "recipient"}} {
		if *p.who, _, err = f.app.newPerson(f.ctx, f.dir, p.name, p.name, "bench", f.c.ClusterFile()); err != nil {
			return err
		}
		defer (*p.who).leave()
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
func (f *failover) talk(long time.Duration, then func() error) error {
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
		sent, err := f.from.Send(f.ctx, f.to.Account().ID, client.Outgoing{Text: fmt.Sprintf("message %d", len(ids)+1)})
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
		got, err := f.to.arrived.await(f.ctx, id)
		if err != nil {
			return fmt.Errorf("message %s did not arrive: %w", id.Short(), err)
		}
		f.stored, f.pushed = max(f.stored, r.Stored.Sub(r.Queued)), max(f.pushed, got.at.Sub(queued[id]))
	}
	return nil
}

// find returns the node that has a role now.
func (f *failover) find(role string) (int, error) {
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
