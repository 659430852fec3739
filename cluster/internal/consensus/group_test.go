package consensus

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/starling-swarm/starling/internal/fault"
)

// never keeps followers from elections of their own.
func never(c *Config) {
	c.HeartbeatTimeout, c.ElectionTimeout, c.LeaseTimeout = time.Hour, time.Hour, time.Hour
}

func TestFreshGroupElectsItsFirstServerWithoutTimeout(t *testing.T) {
	for _, n := range []int{1, 3, 5} {
		t.Run(fmt.Sprint(n, " servers"), func(t *testing.T) {
			c := startCluster(t, n, never)
			if got := c.leader(); got != c.members[0] {
				t.Errorf("got leader %s, want the first server %s", got.id, c.members[0].id)
			}
			c.propose("first")
			c.converge("first")
		})
	}
}

func TestFreshGroupWaitsForAMajorityOfCalls(t *testing.T) {
	c := newCluster(t, 3, never)
	for _, m := range c.members {
		m.start()
	}
	// The first server is founded last: the others' calls come before it can vote.
	for _, m := range []*member{c.members[2], c.members[1], c.members[0]} {
		if err := m.group.Bootstrap(c.servers()); err != nil {
			t.Fatal(err)
		}
	}
	if got := c.leader(); got != c.members[0] {
		t.Errorf("got leader %s, want the first server", got.id)
	}
	if err := c.members[1].group.Bootstrap(c.servers()); err != nil {
		t.Errorf("second bootstrap: got %v, want no error", err)
	}
}

func TestBootstrapNeedsTheReplicaItself(t *testing.T) {
	c := newCluster(t, 2, never)
	c.members[0].start()
	err := c.members[0].group.Bootstrap([]Server{{ID: c.members[1].id}})
	if !errors.Is(err, fault.Invalid) {
		t.Errorf("got %v, want %v", err, fault.Invalid)
	}
}

func TestCoalescedCommandsKeepOrderAndResults(t *testing.T) {
	const n = 2000
	release := make(chan struct{})
	var stalled bool
	c := newCluster(t, 1, func(cfg *Config) {
		never(cfg)
		cfg.hooks.store = func(logs []*raft.Log) error {
			if logs[0].Type == raft.LogCommand && !stalled {
				stalled = true
				<-release
			}
			return nil
		}
	})
	c.members[0].start()
	c.bootstrap()
	g := c.leader().group
	var waiting []*proposal
	for i := range n {
		p, err := g.enqueue(testCommand(i))
		if err != nil {
			t.Fatal(err)
		}
		waiting = append(waiting, p)
	}
	close(release)
	for i, p := range waiting {
		o := <-p.done
		if want := fmt.Sprintf("c%d@%d", i, i+1); o.err != nil || o.result != want {
			t.Fatalf("command %d: got %v, %v, want %s", i, o.result, o.err, want)
		}
	}
	if s := g.Stats(); s.Commands != n || s.Entries > n/10 {
		t.Errorf("got %d commands in %d entries, want %d in few", s.Commands, s.Entries, n)
	}
}

func TestProposeRefusesWhatDoesNotFit(t *testing.T) {
	c := startCluster(t, 1, func(cfg *Config) { never(cfg); cfg.QueueBytes = MaxCommand })
	g := c.leader().group
	for name, size := range map[string]int{"empty": 0, "too long": MaxCommand + 1} {
		if _, err := g.Propose(t.Context(), make([]byte, size)); !errors.Is(err, fault.Invalid) {
			t.Errorf("%s command: got %v, want %v", name, err, fault.Invalid)
		}
	}
	if _, err := g.Propose(t.Context(), bigCommand(0, MaxCommand)); err != nil {
		t.Errorf("largest command: got %v, want it committed", err)
	}
	g.mu.Lock()
	g.queued += MaxCommand
	g.mu.Unlock()
	if _, err := g.Propose(t.Context(), []byte("one more")); !errors.Is(err, fault.Limited) {
		t.Errorf("full queue: got %v, want %v", err, fault.Limited)
	}
}

func TestFollowerRefusesAndNamesTheLeader(t *testing.T) {
	c := startCluster(t, 3, never)
	lead := c.leader()
	for _, m := range others(c, lead) {
		_, err := m.group.Propose(t.Context(), []byte("x"))
		if !errors.Is(err, fault.Unavailable) || !errors.Is(err, ErrNotLeader) {
			t.Errorf("got %v, want unavailable: %v", err, ErrNotLeader)
		}
		if id, ok := m.group.Leader(); !ok || id != lead.id.Node {
			t.Errorf("got leader %s, want %s", id.Short(), lead.id.Node.Short())
		}
	}
}

func TestRestartReplaysFromTheAppliedIndex(t *testing.T) {
	c := startCluster(t, 1, never)
	m := c.members[0]
	for i := range 10 {
		c.propose(string(testCommand(i)))
	}
	half := listState{}
	m.fsm.mu.Lock()
	half.Term, half.Commands = m.fsm.state.Term, slices.Clone(m.fsm.state.Commands[:5])
	half.Index = m.fsm.state.Index - 5 // commands were proposed one by one: one entry each
	full := slices.Clone(m.fsm.state.Commands)
	m.fsm.mu.Unlock()

	for name, state := range map[string]listState{"empty": {}, "half": half, "full": {Index: half.Index + 5,
		Term: half.Term, Commands: full}} {
		t.Run(name, func(t *testing.T) {
			m.crash()
			m.fsm.mu.Lock()
			m.fsm.state = state
			m.fsm.state.Commands = slices.Clone(state.Commands)
			m.fsm.mu.Unlock()
			m.config = nil // a lone voter elects itself
			m.start()
			g := c.leader().group
			if err := g.Barrier(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := m.fsm.commands(); !slices.Equal(got, full) {
				t.Errorf("got %v, want %v", got, full)
			}
		})
	}
}

func TestStateAheadOfItsLogIsCorrupt(t *testing.T) {
	c := newCluster(t, 1, never)
	m := c.members[0]
	m.fsm.state.Index = 5
	m.mux = NewMux(MuxConfig{})
	_, err := Open(Config{Group: testGroup, Self: m.id, Dir: m.dir, FSM: m.fsm, Mux: m.mux})
	if !errors.Is(err, fault.Corrupt) {
		t.Errorf("got %v, want %v", err, fault.Corrupt)
	}
}

func TestGroupOpensOnce(t *testing.T) {
	c := startCluster(t, 1, never)
	m := c.members[0]
	_, err := Open(Config{Group: testGroup, Self: m.id, Dir: t.TempDir(), FSM: newListFSM(), Mux: m.mux})
	if !errors.Is(err, fault.Exists) {
		t.Errorf("got %v, want %v", err, fault.Exists)
	}
}

func TestLaggingFollowerInstallsASnapshot(t *testing.T) {
	c := startCluster(t, 3, func(cfg *Config) { never(cfg); cfg.RetainBytes = 1 })
	lead := c.leader()
	c.propose("before")
	c.converge("before")
	lag := c.members[2]
	lag.crash()
	rest := others(c, lag)
	for i := range 30 {
		if _, err := lead.group.Propose(t.Context(), bigCommand(i, 64<<10)); err != nil {
			t.Fatal(err)
		}
	}
	if err := lead.group.TakeSnapshot(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := lead.group.Stats(); s.FirstIndex < 10 {
		t.Fatalf("log begins at %d after a snapshot at %d, want it shortened", s.FirstIndex, s.SnapshotIndex)
	}
	lag.start()
	if _, err := lead.group.Propose(t.Context(), []byte("after")); err != nil {
		t.Fatal(err)
	}
	c.converge("after", append(rest, lag)...)
	if lag.fsm.restores != 1 {
		t.Errorf("follower restored %d snapshots, want 1", lag.fsm.restores)
	}

	// The installed snapshot is also what the follower restarts from when its state is gone.
	lag.crash()
	lag.fsm.state = listState{}
	lag.start()
	if _, err := lead.group.Propose(t.Context(), []byte("again")); err != nil {
		t.Fatal(err)
	}
	c.converge("again")
}

func TestLogGrowthTakesASnapshot(t *testing.T) {
	c := newCluster(t, 1, func(cfg *Config) {
		never(
			cfg)
		cfg.SnapshotBytes = 200 << 10
		cfg.RetainBytes = 64 << 10
	})
	m := c.members[0]
	m.fsm.snapshotted = make(chan struct{}, 100)
	m.start()
	c.bootstrap()
	for i := range 8 {
		if _, err := c.leader().group.Propose(t.Context(), bigCommand(i, 50<<10)); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-m.fsm.snapshotted:
	case <-time.After(patience):
		t.Fatal("no snapshot after twice its bytes")
	}
}

func TestCloseHandsLeadershipOver(t *testing.T) {
	c := startCluster(t, 3, func(cfg *Config) { never(cfg); cfg.ElectionTimeout = 2 * time.Hour })
	lead := c.leader()
	c.propose("before")
	lead.shut(func() {
		if err := lead.group.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	rest := others(c, lead)
	c.propose("after", rest...) // no election timeout can have helped
	c.converge("after", rest...)
}

func TestClosedGroupRefuses(t *testing.T) {
	c := startCluster(t, 1, never)
	g := c.leader().group
	c.members[0].crash()
	if _, err := g.Propose(t.Context(), []byte("x")); !errors.Is(err, fault.Unavailable) {
		t.Errorf("got %v, want %v", err, fault.Unavailable)
	}
	if err := g.Close(); err != nil {
		t.Errorf("close after crash: got %v, want no error", err)
	}
}

func TestMemberJoinsAndLeaves(t *testing.T) {
	c := newCluster(t, 4, never)
	for _, m := range c.members {
		m.start()
	}
	founders := c.members[:3]
	for _, m := range founders {
		if err := m.group.Bootstrap(c.servers()[:3]); err != nil {
			t.Fatal(err)
		}
	}
	lead := c.leader(founders...)
	c.propose("before", founders...)
	_, version, err := lead.group.Servers()
	if err != nil {
		t.Fatal(err)
	}
	joiner := c.members[3]
	if err := lead.group.AddServer(t.Context(), Server{ID: joiner.id, NonVoter: true}, version); err != nil {
		t.Fatal(err)
	}
	joiner.fsm.waitFor(t, "before")
	if err := lead.group.AddServer(t.Context(), Server{ID: joiner.id}, version); err == nil {
		t.Error("a change against an old version of the list succeeded")
	}
	if err := lead.group.AddServer(t.Context(), Server{ID: joiner.id}, 0); err != nil {
		t.Fatal(err)
	}
	if err := lead.group.RemoveServer(t.Context(), c.members[1].id, 0); err != nil {
		t.Fatal(err)
	}
	servers, _, err := lead.group.Servers()
	if err != nil {
		t.Fatal(err)
	}
	want := []Server{{ID: c.members[0].id}, {ID: c.members[2].id}, {ID: joiner.id}}
	if !slices.Equal(servers, want) {
		t.Errorf("got servers %v, want %v", servers, want)
	}
	c.propose("after", c.members[0], c.members[2], joiner)
	c.converge("after", c.members[0], c.members[2], joiner)
}
