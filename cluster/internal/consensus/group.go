package consensus

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// Group is this node's replica of one Raft group. All methods may be called from any goroutine.
type Group struct {
	cfg    Config
	stream *stream
	trans  *transport
	calls  *founding
	log    *logStore
	snaps  *snapshotStore
	raft   *raft.Raft

	ctx        context.Context // ends when the group closes
	cancel     context.CancelFunc
	background sync.WaitGroup
	wake       chan raft.Observation // from Raft: leader or state changed
	crowded    chan struct{}         // from the log: time for a snapshot

	submit sync.Mutex // orders proposals; see fly

	mu      sync.Mutex
	queue   []*proposal
	queued  int // bytes in queue
	flights int
	closing bool
	changed chan struct{} // closed and replaced at every change of leader
	fatal   error
	gone    raft.ServerID // the leader that was found dead, last; see succession.go

	commands, entries atomic.Uint64
	snapshotting      atomic.Bool
	running           atomic.Bool // Raft has started
	stopOnce          sync.Once
	stopErr           error
}

// Open starts this node's replica of a group from what its directory holds; a replica whose directory is
// empty waits for Bootstrap, or for a leader that has it as a member.
//
// Errors: Invalid (Config), Exists (open already), Corrupt (log, snapshot and state machine do not fit
// together: the replica must be rebuilt under a new incarnation), Internal.
func Open(cfg Config) (*Group, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	g := &Group{cfg: cfg, calls: &founding{ready: make(map[raft.ServerID]bool)},
		wake:    make(chan raft.Observation, 1),
		crowded: make(chan struct{}, 1), changed: make(chan struct{})}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	if err := g.open(); err != nil {
		g.cancel()
		var f *fault.Error
		if errors.As(err, &f) {
			return nil, err
		}
		return nil, fault.Wrap(fault.Internal, g.op("open"), err)
	}
	return g, nil
}

func (g *Group) open() (err error) {
	hlog := newLogger(g.cfg.Logger)
	if g.log, err = openLog(g.cfg, hlog, g.onFatal, func() { signal(g.crowded) }); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = g.log.Close()
		}
	}()
	if g.snaps, err = openSnapshots(filepath.Join(g.cfg.Dir, "snapshots")); err != nil {
		return err
	}
	g.snaps.added = g.log.addPoint
	metas, err := g.snaps.List()
	if err != nil {
		return err
	}
	for _, m := range slices.Backward(metas) {
		g.log.addPoint(m.Index, m.Term)
	}
	if len(metas) > 0 {
		if err := g.log.align(metas[0].Index, metas[0].Term, false); err != nil {
			return err
		}
	}
	conf := g.raftConfig()
	conf.Logger = hlog
	if conf.NoSnapshotRestoreOnStart, err = g.fsmIsAhead(); err != nil {
		return err
	}
	if g.stream, err = g.cfg.Mux.open(g.cfg.Group, g.cfg.Self); err != nil {
		return err
	}
	g.trans = newTransport(g.stream, hlog, !g.cfg.unclamped, g.calls, g.answerHeir)
	g.raft, err = raft.NewRaft(conf, adapter{g.cfg.FSM, g.restored}, g.log, g.log, g.snaps, g.trans)
	if err != nil {
		_ = g.trans.Close()
		return err
	}
	g.log.started()
	g.running.Store(true)
	g.raft.RegisterObserver(raft.NewObserver(g.wake, false, func(o *raft.Observation) bool {
		switch o.Data.(type) {
		case raft.LeaderObservation, raft.RaftState:
			return true
		}
		return false
	}))
	g.calls.opened(g)
	g.background.Go(g.watch)
	g.background.Go(g.watchLeader)
	return nil
}

// restored fits the log to a snapshot that was just installed.
func (g *Group) restored(index, term uint64) error { return g.log.align(index, term, g.running.Load()) }

func (g *Group) raftConfig() *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = raft.ServerID(g.cfg.Self.String())
	c.HeartbeatTimeout, c.ElectionTimeout = g.cfg.HeartbeatTimeout, g.cfg.ElectionTimeout
	c.LeaderLeaseTimeout, c.CommitTimeout = g.cfg.LeaseTimeout, g.cfg.CommitTimeout
	c.BatchApplyCh, c.MaxAppendEntries = true, 64
	c.ShutdownOnRemove = false // a removed replica is closed by its owner
	c.NoLegacyTelemetry = true
	// Raft's own snapshots count entries; ours are asked for in watch, and what they leave of the log is
	// decided in logStore.DeleteRange. One trailing entry keeps the log from running empty.
	c.SnapshotInterval, c.SnapshotThreshold, c.TrailingLogs = 10000*time.Hour, 1<<62, 1
	return c
}

// fsmIsAhead reports whether the FSM has all that the newest snapshot has, so that it need not be restored
// from it.
func (g *Group) fsmIsAhead() (bool, error) {
	op := g.op("open")
	applied, _ := g.cfg.FSM.Applied()
	last, err := g.log.LastIndex()
	if err != nil {
		return false, err
	}
	inSnapshot, meta, err := g.snaps.applied()
	if err != nil {
		return false, err
	}
	if meta != nil {
		last = max(last, meta.Index)
	}
	if applied > last {
		return false, fault.New(fault.Corrupt, op, "state machine is at %d, its log ends at %d", applied,
			last)
	}
	return applied >= inSnapshot, nil
}

// Bootstrap founds the group with the given servers. Every voter of a new group calls it with the same list;
// the first server becomes the leader within milliseconds of a majority having called. On a replica that
// belongs to a group already it does nothing.
func (g *Group) Bootstrap(servers []Server) error {
	op := g.op("bootstrap")
	var conf raft.Configuration
	self, voters := false, 0
	var first ServerID
	for _, s := range servers {
		rs := raft.Server{Suffrage: raft.Voter, ID: raft.ServerID(s.ID.String()),
			Address: raft.ServerAddress(s.ID.String())}
		if s.NonVoter {
			rs.Suffrage = raft.Nonvoter
		} else {
			if voters == 0 {
				first = s.ID
			}
			voters++
			self = self || s.ID == g.cfg.Self
		}
		conf.Servers = append(conf.Servers, rs)
	}
	if !self {
		return fault.New(fault.Invalid, op, "replica %s is not among its voters", g.cfg.Self)
	}
	err := g.raft.BootstrapCluster(conf).Error()
	switch {
	case errors.Is(err, raft.ErrCantBootstrap):
		return nil
	case err != nil:
		return fault.Wrap(fault.Invalid, op, err)
	}
	if first == g.cfg.Self {
		g.calls.founded(voters/2 + 1)
		return nil
	}
	g.spawn(func() { g.call(first) })
	return nil
}

// spawn runs f in the background unless the group is closing.
func (g *Group) spawn(f func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closing {
		g.background.Go(f)
	}
}

// IsLeader reports whether this replica leads. A new leader may not have applied yet what its predecessor
// committed: call Barrier before serving from its state.
func (g *Group) IsLeader() bool { return g.raft.State() == raft.Leader && g.Fatal() == nil }

// Leader returns the node that leads, as far as this replica knows.
func (g *Group) Leader() (ident.NodeID, bool) {
	_, text := g.raft.LeaderWithID()
	id, err := ParseServerID(string(text))
	return id.Node, err == nil
}

// LeaderChanges returns a channel that is closed when the leader, or this replica's role, next changes. Take
// the channel first, then read Leader or IsLeader, then wait.
func (g *Group) LeaderChanges() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.changed
}

// Fatal returns the failed write that stopped this replica, or nil.
func (g *Group) Fatal() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.fatal
}

// onFatal falls silent and reports. It runs inside the failed write, before Raft learns of it.
func (g *Group) onFatal(err error) {
	if g.stream != nil {
		g.stream.silence()
	}
	err = fault.Wrap(fault.Internal, g.op("run"), err)
	g.mu.Lock()
	g.fatal = err
	g.mu.Unlock()
	g.cfg.Logger.Error("raft log failed, replica stopped", "err", err)
	go g.cfg.OnFatal(err)
}

// Barrier returns once this replica, which must lead, has applied everything committed before the call.
func (g *Group) Barrier(ctx context.Context) error {
	return g.await(ctx, "wait for barrier in", g.raft.Barrier(0))
}

// TransferLeadership hands leadership to the most up-to-date follower.
func (g *Group) TransferLeadership(ctx context.Context) error {
	return g.await(ctx, "transfer leadership of", g.raft.LeadershipTransfer())
}

// TakeSnapshot takes a snapshot now and shortens the log. With nothing new since the last one it does
// nothing.
func (g *Group) TakeSnapshot(ctx context.Context) error {
	g.log.snapshotBegins()
	err := g.await(ctx, "snapshot", g.raft.Snapshot())
	if errors.Is(err, raft.ErrNothingNewToSnapshot) {
		return nil
	}
	return err
}

// await waits for a future of Raft, or for ctx.
func (g *Group) await(ctx context.Context, verb string, f raft.Future) error {
	done := make(chan error, 1)
	go func() { done <- f.Error() }()
	select {
	case err := <-done:
		if errors.Is(err, raft.ErrNothingNewToSnapshot) {
			return err
		}
		return g.classify(verb, err)
	case <-ctx.Done():
		return &fault.Error{Kind: fault.Unavailable, Op: g.op(verb), Detail: ctx.Err().Error(),
			Cause: ErrOutcomeUnknown}
	}
}

// watch turns Raft's observations into LeaderChanges and takes snapshots when the log has grown.
func (g *Group) watch() {
	age := time.NewTicker(g.cfg.SnapshotAge)
	defer age.Stop()
	for {
		select {
		case <-g.ctx.Done():
			return
		case <-g.wake:
			g.mu.Lock()
			close(g.changed)
			g.changed = make(chan struct{})
			g.mu.Unlock()
			continue
		case <-g.crowded:
		case <-age.C:
		}
		if g.log.grown() == 0 {
			continue
		}
		g.spawn(g.snapshot)
	}
}

// snapshot takes a snapshot on behalf of watch; one at a time.
func (g *Group) snapshot() {
	if !g.snapshotting.CompareAndSwap(false, true) {
		return
	}
	defer g.snapshotting.Store(false)
	if err := g.TakeSnapshot(g.ctx); err != nil && g.ctx.Err() == nil {
		g.cfg.Logger.Warn("snapshot failed", "err", err)
	}
}

// Stats describes a replica at one moment. The indexes are for operators and tests.
type Stats struct {
	Role                                  string // follower, candidate, leader, shutdown
	Leader                                ident.NodeID
	Term, LastIndex, CommitIndex, Applied uint64
	FirstIndex, SnapshotIndex             uint64
	Queued                                int    // bytes of commands that wait
	Commands, Entries                     uint64 // committed by this replica as leader
	Servers                               []Server
}

// Stats returns the replica's figures.
func (g *Group) Stats() Stats {
	s := Stats{
		Role: roleNames[g.raft.State()], Term: g.raft.CurrentTerm(), LastIndex: g.raft.LastIndex(),
		CommitIndex: g.raft.CommitIndex(), Commands: g.commands.Load(), Entries: g.entries.Load(),
	}
	s.Leader, _ = g.Leader()
	s.Applied, _ = g.cfg.FSM.Applied()
	s.FirstIndex, _ = g.log.FirstIndex()
	if metas, err := g.snaps.List(); err == nil && len(metas) > 0 {
		s.SnapshotIndex = metas[0].Index
	}
	g.mu.Lock()
	s.Queued = g.queued
	g.mu.Unlock()
	s.Servers, _, _ = g.Servers()
	return s
}

var roleNames = map[raft.RaftState]string{
	raft.Follower: "follower", raft.Candidate: "candidate", raft.Leader: "leader", raft.Shutdown: "shutdown",
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
