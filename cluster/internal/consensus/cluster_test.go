package consensus

import (
	"bytes"
	"context"
	"encoding/gob"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/netfault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var discard = slog.New(slog.DiscardHandler)

const testGroup ident.SwarmID = 7

// patience bounds waits for things that happen soon or never.
const patience = 30 * time.Second

// listFSM is a state machine that remembers its commands. It stands for one with durable state: it outlives
// the groups that a test opens on it.
type listFSM struct {
	mu          sync.Mutex
	changed     *sync.Cond
	state       listState
	snapshots   int
	restores    int
	snapshotted chan struct{} // one per snapshot written, if not nil
}

type listState struct {
	Index, Term uint64
	Commands    []string
}

func newListFSM() *listFSM {
	f := &listFSM{}
	f.changed = sync.NewCond(&f.mu)
	return f
}

// ApplyBatch answers each command with "<command>@<position>". It panics on an entry that is out of order,
// which a group must not let through.
func (f *listFSM) ApplyBatch(batches []Batch) [][]any {
	f.mu.Lock()
	defer f.mu.Unlock()
	results := make([][]any, len(batches))
	for i, b := range batches {
		if b.Index <= f.state.Index {
			panic(fmt.Sprintf("entry %d applied after %d", b.Index, f.state.Index))
		}
		f.state.Index, f.state.Term = b.Index, b.Term
		for _, c := range b.Commands {
			f.state.Commands = append(f.state.Commands, string(c))
			results[i] = append(results[i], fmt.Sprintf("%s@%d", c, len(f.state.Commands)))
		}
	}
	f.changed.Broadcast()
	return results
}

func (f *listFSM) Applied() (uint64, uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.state.Index, f.state.Term
}

func (f *listFSM) Snapshot() (Snapshot, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.snapshots++
	s := f.state
	s.Commands = slices.Clone(s.Commands)
	return listSnapshot{s, f.snapshotted}, nil
}

func (f *listFSM) Restore(r io.Reader) error {
	var s listState
	if err := gob.NewDecoder(r).Decode(&s); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.restores++
	f.state = s
	f.changed.Broadcast()
	return nil
}

type listSnapshot struct {
	state listState
	done  chan struct{}
}

func (s listSnapshot) Persist(w io.Writer) error { return gob.NewEncoder(w).Encode(s.state) }
func (s listSnapshot) Release() {
	if s.done != nil {
		s.done <- struct{}{}
	}
}

func (f *listFSM) commands() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.state.Commands)
}

// wait returns once ok holds for the commands.
func (f *listFSM) wait(t testing.TB, what string, ok func(commands []string) bool) {
	t.Helper()
	expired := false
	timer := time.AfterFunc(patience, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		expired = true
		f.changed.Broadcast()
	})
	defer timer.Stop()
	f.mu.Lock()
	defer f.mu.Unlock()
	for !ok(f.state.Commands) {
		if expired {
			t.Fatalf("state machine never %s: has %d commands at %d", what, len(f.state.Commands),
				f.state.Index)
		}
		f.changed.Wait()
	}
}

func (f *listFSM) waitFor(t testing.TB, command string) {
	t.Helper()
	f.wait(t, "applied "+command, func(c []string) bool { return slices.Contains(c, command) })
}

// member is one node of a test cluster with its replica of testGroup.
type member struct {
	t      testing.TB
	c      *testCluster
	id     ServerID
	dir    string
	fsm    *listFSM
	sw     netfault.Switch
	addr   string
	mux    *Mux
	stop   context.CancelFunc
	ended  chan error
	group  *Group
	fatal  chan error
	config func(*Config)
}

// testCluster is a group of members on loopback.
type testCluster struct {
	t       testing.TB
	members []*member

	mu     sync.Mutex
	refuse func(from, to ServerID) error // dials that fail, if not nil
}

func nodeID(n int) ident.NodeID { return ident.NodeIDOf([]byte{byte(n)}) }

// newCluster makes n members that are not started. config changes their configuration.
func newCluster(t testing.TB, n int, config func(*Config)) *testCluster {
	t.Helper()
	c := &testCluster{t: t}
	for i := range n {
		c.members = append(c.members, &member{
			t: t, c: c, id: ServerID{Node: nodeID(i), Incarnation: 1}, dir: filepath.Join(t.TempDir(),
				fmt.Sprint(i)),
			fsm: newListFSM(), config: config,
		})
	}
	t.Cleanup(func() {
		for _, m := range c.members {
			m.crash()
		}
	})
	return c
}

// startCluster starts a founded cluster of n members.
func startCluster(t testing.TB, n int, config func(*Config)) *testCluster {
	t.Helper()
	c := newCluster(t, n, config)
	for _, m := range c.members {
		m.start()
	}
	c.bootstrap()
	return c
}

func (c *testCluster) servers() []Server {
	var s []Server
	for _, m := range c.members {
		s = append(s, Server{ID: m.id})
	}
	return s
}

func (c *testCluster) bootstrap() {
	c.t.Helper()
	for _, m := range c.members {
		if err := m.group.Bootstrap(c.servers()); err != nil {
			c.t.Fatal(err)
		}
	}
}

func (c *testCluster) dial(ctx context.Context, from *member, node ident.NodeID) (net.Conn, error) {
	for _, m := range c.members {
		if m.id.Node != node {
			continue
		}
		c.mu.Lock()
		addr, refuse := m.addr, c.refuse
		c.mu.Unlock()
		if refuse != nil {
			if err := refuse(from.id, m.id); err != nil {
				return nil, err
			}
		}
		if addr == "" {
			return nil, fmt.Errorf("node is down: %w", syscall.ECONNREFUSED)
		}
		return from.sw.Dial(ctx, "tcp", addr)
	}
	return nil, fmt.Errorf("no node %s", node.Short())
}

// start opens the member's group on its directory and its state machine.
func (m *member) start() {
	m.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		m.t.Fatal(err)
	}
	m.mux = NewMux(MuxConfig{Self: m.id.Node, Listener: m.sw.Listen(l), Dial: func(ctx context.Context,
		node ident.NodeID) (net.Conn, error) {
		return m.c.dial(ctx, m, node)
	}})
	ctx, stop := context.WithCancel(context.Background())
	m.stop, m.ended = stop, make(chan error, 1)
	go func() { m.ended <- m.mux.Run(ctx) }()
	m.c.mu.Lock()
	m.addr = l.Addr().String()
	m.c.mu.Unlock()
	m.fatal = make(chan error, 1)
	cfg := Config{
		Group: testGroup, Self: m.id, Dir: m.dir, FSM: m.fsm, Mux: m.mux, WALSegmentBytes: 256 << 10,
		HeartbeatTimeout: 150 * time.Millisecond, ElectionTimeout: 150 * time.Millisecond,
		LeaseTimeout:  120 * time.Millisecond,
		CommitTimeout: 5 * time.Millisecond, OnFatal: func(err error) { m.fatal <- err },
	}
	if m.config != nil {
		m.config(&cfg)
	}
	if m.group, err = Open(cfg); err != nil {
		m.t.Fatal(err)
	}
}

func (m *member) shut(end func()) {
	if m.group == nil {
		return
	}
	m.c.mu.Lock()
	m.addr = ""
	m.c.mu.Unlock()
	end()
	m.stop()
	if err := <-m.ended; err != nil {
		m.t.Errorf("mux ended: %v", err)
	}
	m.group = nil
}

func (m *member) crash() { m.shut(func() { m.group.Crash() }) }

// leader returns the member of live that leads, once all of live agree.
func (c *testCluster) leader(live ...*member) *member {
	c.t.Helper()
	if len(live) == 0 {
		live = c.members
	}
	deadline := time.After(patience)
	for {
		var changes []<-chan struct{}
		for _, m := range live {
			changes = append(changes, m.group.LeaderChanges())
		}
		var leads *member
		agree := 0
		for _, m := range live {
			if m.group.IsLeader() {
				leads = m
			}
		}
		for _, m := range live {
			if id, ok := m.group.Leader(); ok && leads != nil && id == leads.id.Node {
				agree++
			}
		}
		if agree == len(live) {
			return leads
		}
		any := make(chan struct{}, len(live))
		done := make(chan struct{})
		for _, ch := range changes {
			go func() {
				select {
				case <-ch:
					any <- struct{}{}
				case <-done:
				}
			}()
		}
		select {
		case <-any:
			close(done)
		case <-deadline:
			close(done)
			c.t.Fatalf("members never agreed on a leader: %+v", live[0].group.Stats())
		}
	}
}

// propose proposes on whoever leads among live, until it is acknowledged.
func (c *testCluster) propose(command string, live ...*member) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	for {
		_, err := c.leader(live...).group.Propose(ctx, []byte(command))
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			c.t.Fatalf("command %s was never acknowledged: %v", command, err)
		}
	}
}

// converge waits until every live member has the command, and checks that all have the same list.
func (c *testCluster) converge(command string, live ...*member) []string {
	c.t.Helper()
	if len(live) == 0 {
		live = c.members
	}
	for _, m := range live {
		m.fsm.waitFor(c.t, command)
	}
	want := live[0].fsm.commands()
	for _, m := range live[1:] {
		if got := m.fsm.commands(); !slices.Equal(got, want) {
			c.t.Fatalf("replicas differ:\n%s\n%s", strings.Join(got, " "), strings.Join(want, " "))
		}
	}
	return want
}

func others(c *testCluster, not *member) []*member {
	return slices.DeleteFunc(slices.Clone(c.members), func(m *member) bool { return m == not })
}

// mustContain fails unless every acknowledged command is in list exactly once.
func mustContain(t testing.TB, list, acknowledged []string) {
	t.Helper()
	count := make(map[string]int)
	for _, c := range list {
		count[c]++
	}
	for _, c := range acknowledged {
		if count[c] != 1 {
			t.Errorf("acknowledged command %s: got it %d times, want once", c, count[c])
		}
	}
}

func testCommand(i int) []byte { return fmt.Appendf(nil, "c%d", i) }

func bigCommand(i, size int) []byte {
	c := fmt.Appendf(nil, "big%d-", i)
	return append(c, bytes.Repeat([]byte{'x'}, size-len(c))...)
}
