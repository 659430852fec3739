package consensus

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// The staging of clamp.go's hazard: five entries are common to all; C was the leader of term 3 and has three
// more that nobody else has. A is elected. Its first write is held up while its connections to C fail fast,
// so that its replicator to C has read "last index 5" and sleeps in its back-off. Then the write goes
// through, A and B commit it, and C is reachable again: the replicator wakes and tells C that more than 5 is
// committed, in a message that covers 5 entries.
const (
	commonEntries  = 5
	tailEntries    = 3
	failuresToSkip = 8 // the back-off after so many failures is 640 ms, time enough to commit
)

func stageDivergence(t *testing.T, unclamped bool) (leader, follower []string) {
	t.Helper()
	release := make(chan struct{})
	c := newCluster(t, 3, nil)
	a, b, third := c.members[0], c.members[1], c.members[2]
	for _, m := range c.members {
		m.config = func(cfg *Config) {
			never(cfg)
			cfg.unclamped = unclamped
			if m == a {
				cfg.hooks.store = func(logs []*raft.Log) error {
					if logs[0].Index == commonEntries+1 {
						<-release
					}
					return nil
				}
			}
		}
		writeStagedLog(t, c, m, m == third)
	}
	var mu sync.Mutex
	failures := 0
	c.refuse = func(from, to ServerID) error {
		mu.Lock()
		defer mu.Unlock()
		if from != a.id || to != third.id || failures > failuresToSkip { // one more: the first is the vote
			return nil
		}
		if failures++; failures > failuresToSkip {
			// The replicator reads its last index a commit timeout from now, and then sleeps.
			time.AfterFunc(100*time.Millisecond, func() { close(release) })
		}
		return errors.New("unreachable")
	}
	for _, m := range c.members {
		m.start()
	}
	a.group.stand()
	c.leader(a, b)
	for i := range tailEntries + 1 { // the last one lies behind the tail, so that even a diverged C gets it
		c.propose(fmt.Sprintf("new %d", i), a, b)
	}
	for _, m := range c.members {
		m.fsm.waitFor(t, fmt.Sprintf("new %d", tailEntries))
	}
	return a.fsm.commands(), third.fsm.commands()
}

// writeStagedLog gives a member its log before it starts.
func writeStagedLog(t *testing.T, c *testCluster, m *member, tail bool) {
	t.Helper()
	cfg := Config{Dir: m.dir, WALSegmentBytes: 256 << 10}
	log, err := openLog(cfg, newLogger(discard), func(error) {}, func() {})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	var conf raft.Configuration
	for _, s := range c.servers() {
		conf.Servers = append(conf.Servers, raft.Server{ID: raft.ServerID(s.ID.String()),
			Address: raft.ServerAddress(s.ID.String())})
	}
	logs := []*raft.Log{{Index: 1, Term: 1, Type: raft.LogConfiguration,
		Data: raft.EncodeConfiguration(conf)}}
	add := func(index, term uint64, command string) {
		data, err := encodeEntry([][]byte{[]byte(command)})
		if err != nil {
			t.Fatal(err)
		}
		logs = append(logs, &raft.Log{Index: index, Term: term, Type: raft.LogCommand, Data: data})
	}
	for i := uint64(2); i <= commonEntries; i++ {
		add(i, 2, fmt.Sprintf("common %d", i))
	}
	if tail {
		for i := uint64(commonEntries + 1); i <= commonEntries+tailEntries; i++ {
			add(i, 3, fmt.Sprintf("tail %d", i))
		}
	}
	if err := log.StoreLogs(logs); err != nil {
		t.Fatal(err)
	}
	if err := log.SetUint64([]byte("CurrentTerm"), 3); err != nil {
		t.Fatal(err)
	}
}

func TestFollowerNeverCommitsItsDivergentTail(t *testing.T) {
	leader, follower := stageDivergence(t, false)
	if !slices.Equal(leader, follower) {
		t.Errorf("follower applied %q, leader %q", follower, leader)
	}
}

// The staging is only worth something if it does harm without the remedy.
func TestUnclampedFollowerDiverges(t *testing.T) {
	if testing.Short() {
		t.Skip("stages a back-off of a second")
	}
	for range 3 { // the back-off is raft's: on a busy machine it may end before the commit
		if leader, follower := stageDivergence(t, true); !slices.Equal(leader, follower) {
			if !slices.Contains(follower, fmt.Sprintf("tail %d", commonEntries+1)) {
				t.Errorf("follower applied %q, want an entry of its own tail among it", follower)
			}
			return
		}
	}
	t.Error("replicas never differed without the clamp: the staging is void")
}

func TestClampCoversExactlyTheMessage(t *testing.T) {
	entries := func(n int) []*raft.Log { return make([]*raft.Log, n) }
	tests := []struct {
		name            string
		prev            uint64
		entries         int
		commit, clamped uint64
	}{
		{"empty message with an old index", 5, 0, 9, 5},
		{"entries behind the commit", 5, 2, 9, 7},
		{"entries up to the commit", 5, 4, 9, 9},
		{"entries past the commit", 5, 9, 9, 9},
		{"heartbeat", 0, 0, 0, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			req := &raft.AppendEntriesRequest{PrevLogEntry: test.prev, Entries: entries(test.entries),
				LeaderCommitIndex: test.commit}
			clampCommit(req)
			if req.LeaderCommitIndex != test.clamped {
				t.Errorf("got commit index %d, want %d", req.LeaderCommitIndex, test.clamped)
			}
		})
	}
}

// A peer without the remedy must not harm a replica that has it.
func TestClampOnReceipt(t *testing.T) {
	c := newCluster(t, 1, never)
	m := c.members[0]
	m.start()
	id := raft.ServerID(m.id.String())
	out := NewMux(MuxConfig{Dial: m.mux.cfg.Dial})
	s, err := out.open(testGroup, ServerID{Node: nodeID(9), Incarnation: 1})
	if err != nil {
		t.Fatal(err)
	}
	sender := newTransport(s, newLogger(discard), false, &founding{ready: map[raft.ServerID]bool{}}, nil)
	defer sender.Close()
	header := raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(s.self.String()),
		Addr: []byte(s.self.String())}
	data, err := encodeEntry([][]byte{[]byte("x")})
	if err != nil {
		t.Fatal(err)
	}
	send := func(req *raft.AppendEntriesRequest) {
		t.Helper()
		var resp raft.AppendEntriesResponse
		if err := sender.AppendEntries(id, raft.ServerAddress(id), req, &resp); err != nil || !resp.Success {
			t.Fatalf("append entries: got %+v, %v", resp, err)
		}
	}
	logs := []*raft.Log{
		{Index: 1, Term: 2, Type: raft.LogCommand, Data: data},
		{Index: 2, Term: 2, Type: raft.LogCommand, Data: data},
	}
	send(&raft.AppendEntriesRequest{RPCHeader: header, Term: 2, Entries: logs})
	send(&raft.AppendEntriesRequest{RPCHeader: header, Term: 3, PrevLogEntry: 1, PrevLogTerm: 2,
		LeaderCommitIndex: 2})
	if got := m.group.Stats().CommitIndex; got != 1 {
		t.Errorf("got commit index %d after a message that covers 1 entry, want 1", got)
	}
	send(&raft.AppendEntriesRequest{RPCHeader: header, Term: 3, PrevLogEntry: 2, PrevLogTerm: 2,
		LeaderCommitIndex: 2})
	if got := m.group.Stats().CommitIndex; got != 2 {
		t.Errorf("got commit index %d after a message that covers 2 entries, want 2", got)
	}
}

// A follower whose log diverges where a snapshot ends must take the snapshot once, and then follow.
func TestDivergentLogMeetsASnapshot(t *testing.T) {
	tests := map[string]int{ // distance of the divergent log's end from the snapshot's last entry
		"ends before the snapshot": -2,
		"ends with the snapshot":   0,
		"ends after the snapshot":  3,
	}
	for name, distance := range tests {
		t.Run(name, func(t *testing.T) {
			c := startCluster(t, 3, func(cfg *Config) { cfg.RetainBytes = 1 })
			c.propose("common")
			c.converge("common")
			for _, m := range c.members {
				m.crash()
			}
			odd, rest := c.members[2], c.members[:2]
			for _, m := range rest { // the odd one led term 50, which the others have seen
				editLog(t, m, func(log *logStore) error { return log.SetUint64([]byte("CurrentTerm"), 50) })
				m.start()
			}
			for i := range 20 {
				c.propose(string(bigCommand(i, 32<<10)), rest...)
			}
			lead := c.leader(rest...)
			if err := lead.group.TakeSnapshot(t.Context()); err != nil {
				t.Fatal(err)
			}
			end := int(lead.group.Stats().SnapshotIndex) + distance
			editLog(t, odd, func(log *logStore) error {
				last, err := log.LastIndex()
				if err != nil {
					return err
				}
				for i := last + 1; i <= uint64(end); i++ {
					data, err := encodeEntry([][]byte{fmt.Appendf(nil, "odd %d", i)})
					if err != nil {
						return err
					}
					if err := log.StoreLog(&raft.Log{Index: i, Term: 50, Type: raft.LogCommand,
						Data: data}); err != nil {
						return err
					}
				}
				return log.SetUint64([]byte("CurrentTerm"), 50)
			})
			odd.start()
			if distance == 0 {
				<-odd.fatal
				odd.crash()
				odd.start()
			}
			c.propose("after", rest...)
			got := c.converge("after")
			if slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, "odd") }) {
				t.Errorf("an entry of the divergent log was applied: %.200q", got)
			}
			want := 1
			if distance == 0 {
				want = 2 // the leader never heard of the first, which ended in the stop
			}
			if odd.fsm.restores > want {
				t.Errorf("got %d snapshots installed, want %d", odd.fsm.restores, want)
			}
		})
	}
}

// editLog opens the log of a member that is down.
func editLog(t *testing.T, m *member, edit func(*logStore) error) {
	t.Helper()
	log, err := openLog(Config{Dir: m.dir, WALSegmentBytes: 256 << 10}, newLogger(discard),
		func(error) {}, func() {})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	log.started()
	if err := edit(log); err != nil {
		t.Fatal(err)
	}
}
