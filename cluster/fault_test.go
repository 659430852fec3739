package cluster

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/starling-swarm/starling/cluster/internal/consensus"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/wire"
)

func TestLeaderCrashKeepsAcknowledgedEnvelopes(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 5, 5)
	m := newMailbox("alice")
	replicas := c.replicasOf(m)
	m.genesis(t, replicas[0].node)
	follower := replicas[1]
	seqs := make(map[int]uint64)
	for i := range 10 {
		seqs[i] = m.send(t, follower.node, i)
	}
	leader := replicas[0]
	leader.crash()
	for i := 10; i < 20; i++ { // the first of them waits for the next leader
		seqs[i] = m.sendUntilDone(t, follower.node, i)
	}
	leader.start()
	c.waitReady()
	for _, n := range replicas {
		got := m.fetch(t, n.node, seqs[19])
		checkAll(t, got, seqs)
	}
}

// sendUntilDone stores like a client: an unknown outcome is tried again with the same bytes.
func (m *mailbox) sendUntilDone(t *testing.T, n *Node, i int) uint64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		resp := m.do(t, n, nil, 0, envelope.Store{Namespace: envelope.Inbox, TTL: 3600, Body: body(i)})
		err := resp.Err()
		if err == nil {
			return resp.Results[0].Seq
		}
		if !errors.Is(err, fault.Unavailable) || ctx.Err() != nil {
			t.Fatalf("store %d: %v", i, err)
		}
	}
}

// checkAll wants each message of seqs exactly once, at its sequence number.
func checkAll(t *testing.T, got []envelope.Envelope, seqs map[int]uint64) {
	t.Helper()
	seen := make(map[int]bool)
	for _, e := range got {
		i := int(binary.BigEndian.Uint32(e.Body[len("message "):]))
		if seen[i] {
			t.Errorf("message %d is there twice", i)
		}
		seen[i] = true
		if want, acked := seqs[i]; acked && e.Seq != want {
			t.Errorf("message %d: got seq %d, want %d", i, e.Seq, want)
		}
	}
	for i := range seqs {
		if !seen[i] {
			t.Errorf("message %d was acknowledged and is gone", i)
		}
	}
}

func TestCutNodeCatchesUpAfterHealing(t *testing.T) {
	if testing.Short() {
		t.Skip("waits out elections")
	}
	t.Parallel()
	c := startCluster(t, 5, 5)
	m := newMailbox("alice")
	replicas := c.replicasOf(m)
	m.genesis(t, replicas[0].node)
	cut, other := replicas[0], replicas[1] // the leader itself
	cut.faults.Cut(true)
	seqs := make(map[int]uint64)
	for i := range 10 {
		seqs[i] = m.sendUntilDone(t, other.node, i)
	}
	cut.faults.Cut(false)
	checkAll(t, m.fetch(t, cut.node, seqs[9]), seqs) // waits until it is no longer behind
}

func TestWholeClusterCrashComesBack(t *testing.T) {
	if testing.Short() {
		t.Skip("waits out elections")
	}
	t.Parallel()
	c := startCluster(t, 3, 3)
	m := newMailbox("alice")
	m.genesis(t, c.nodes[0].node)
	seqs := make(map[int]uint64)
	for i := range 10 {
		seqs[i] = m.send(t, c.nodes[i%3].node, i)
	}
	for _, n := range c.nodes {
		n.crash()
	}
	for _, n := range c.nodes {
		n.start()
	}
	c.waitReady()
	checkAll(t, m.fetch(t, c.nodes[1].node, seqs[9]), seqs)
}

func TestStoresGoOnWithoutTheDirectory(t *testing.T) {
	t.Parallel()
	c := prepareCluster(t, 4, 1, nil) // node 0 is the whole directory
	for _, n := range c.nodes {
		n.start()
	}
	c.waitReady()
	var m *mailbox
	for i := 0; ; i++ { // a mailbox whose swarm does not need node 0 for its majority
		m = newMailbox(fmt.Sprint("alice", i))
		if replicas := c.replicasOf(m); replicas[0] != c.nodes[0] {
			break
		}
	}
	c.nodes[0].crash()
	n := c.replicasOf(m)[0].node
	m.genesis(t, n)
	m.send(t, n, 1)
	if got := m.fetch(t, n, 0); len(got) != 1 {
		t.Errorf("got %d messages, want 1", len(got))
	}
}

func TestNodesThatDisagreeAboutTheirNumberSaySo(t *testing.T) {
	t.Parallel()
	c := prepareCluster(t, 3, 3, func(i int, c *Config) {
		if i == 2 {
			c.BootstrapExpect = 5
		}
	})
	for _, n := range c.nodes {
		n.start()
	}
	err := <-c.nodes[2].done
	c.nodes[2].node.Crash() // has ended
	if err == nil {
		t.Fatal("got no error, want one that names both")
	}
	for _, want := range []string{"bootstrap_expect 5", "bootstrap_expect 3", c.nodes[2].node.ID().Short()} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %q, want it to name %q", err, want)
		}
	}
	if !errors.Is(err, fault.Invalid) {
		t.Errorf("got kind %v, want invalid", fault.KindOf(err))
	}
}

func TestLeavingNodeHandsOverAndComesBack(t *testing.T) {
	if testing.Short() {
		t.Skip("waits out elections")
	}
	t.Parallel()
	c := startCluster(t, 3, 3)
	m := newMailbox("alice")
	replicas := c.replicasOf(m)
	m.genesis(t, replicas[0].node)
	if err := replicas[0].leave(); err != nil {
		t.Errorf("leave: %v", err)
	}
	seq := m.sendUntilDone(t, replicas[1].node, 1)
	replicas[0].start()
	c.waitReady()
	if got := m.fetch(t, replicas[0].node, seq); len(got) != 1 {
		t.Errorf("got %d messages, want 1", len(got))
	}
}

func TestNodeThatLostItsDataComesBackUnderItsNextIncarnation(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for changes of members")
	}
	t.Parallel()
	c := startCluster(t, 3, 3)
	m := newMailbox("alice")
	replicas := c.replicasOf(m)
	m.genesis(t, replicas[0].node)
	seqs := make(map[int]uint64)
	for i := range 5 {
		seqs[i] = m.send(t, replicas[0].node, i)
	}
	lost := replicas[2]
	lost.crash()
	if err := os.RemoveAll(lost.cfg.Dir); err != nil {
		t.Fatal(err)
	}
	lost.cfg.Incarnation = 1
	lost.start()
	c.waitReady()
	checkAll(t, m.fetch(t, lost.node, seqs[4]), seqs)
	waitVoters(t, replicas[0].node, lost.node.ID())
	// It counts again: with another node gone it is half of the majority.
	replicas[1].crash()
	seqs[5] = m.sendUntilDone(t, lost.node, 5)
	checkAll(t, m.fetch(t, lost.node, seqs[5]), seqs)
}

// waitVoters waits until every group that n hosts has the node as a voter under its first new incarnation,
// and nobody else beyond the three.
func waitVoters(t *testing.T, n *Node, id ident.NodeID) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	n.mu.Lock()
	groups := []*consensus.Group{n.dirGroup.group}
	for _, r := range n.replicas {
		groups = append(groups, r.group)
	}
	n.mu.Unlock()
	for _, g := range groups {
		for {
			servers, _, err := g.Servers()
			want := consensus.Server{ID: consensus.ServerID{Node: id, Incarnation: 1}}
			if err == nil && len(servers) == 3 && slices.Contains(servers, want) {
				break
			}
			if ctx.Err() != nil {
				t.Fatalf("got members %v, %v; want %v among three", servers, err, want.ID)
			}
			wait(ctx, nil, 10*time.Millisecond)
		}
	}
}

func TestNodeWithAWrongClockLeadsNothing(t *testing.T) {
	t.Parallel()
	c := prepareCluster(t, 3, 3, func(i int, c *Config) {
		if i == 0 {
			c.ClockOffset = time.Hour
		}
	})
	for _, n := range c.nodes {
		n.start()
	}
	c.waitReady()
	wrong, right := c.nodes[0].node, c.nodes[1].node
	d, _ := right.Directory()
	for i := range d.Swarms {
		r := right.replica(d.Swarms[i].ID)
		for {
			_, leader, known, changed := r.role()
			if known && leader != wrong.ID() {
				break
			}
			<-changed
		}
	}
	m := newMailbox("alice")
	m.genesis(t, right)
	m.send(t, right, 1)
	got := m.fetch(t, right, 2)
	if len(got) != 1 || time.Since(time.UnixMilli(got[0].StoredAt)).Abs() > 5*time.Minute {
		t.Errorf("got %d messages, stored at %v, want one of about now", len(got), got)
	}
	if err := m.do(t, wrong, m.own, 0, envelope.Info{}).Err(); !errors.Is(err, fault.Unauthenticated) {
		t.Errorf("request at the node whose clock is wrong: got %v, want unauthenticated", err)
	}
}

func TestOnlyReplicasSpeakInASwarm(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 5, 1)
	m := newMailbox("alice")
	replicas := c.replicasOf(m)
	n := replicas[0].node
	d, _ := n.Directory()
	w, _ := d.SwarmOf(m.id)
	for _, other := range c.nodes {
		id := other.node.ID()
		want := contains(w.Replicas, id)
		if id != n.ID() {
			err := n.admitRaft(namedConn{id: id}, w.ID)
			if (err == nil) != want {
				t.Errorf("raft connection of node %s: got %v, want allowed %v", id.Short(), err, want)
			}
		}
		a := n.handleForwarded(t.Context(), id, &wire.Request{Swarm: w.ID})
		if denied := a.Fault != nil && a.Fault.Kind == fault.Denied; denied == want {
			t.Errorf("request forwarded by node %s: got %v, want allowed %v", id.Short(), a.Fault, want)
		}
	}
}

// namedConn is a connection of a peer.
type namedConn struct {
	net.Conn
	id ident.NodeID
}

func (c namedConn) Peer() ident.NodeID { return c.id }
