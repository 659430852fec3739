package cluster

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/starling-swarm/starling/cluster/internal/consensus"
	"github.com/starling-swarm/starling/cluster/internal/mailstore"
	"github.com/starling-swarm/starling/cluster/internal/statemachine"
	"github.com/starling-swarm/starling/internal/directory"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// Timers of a swarm's leader.
const (
	expireEvery = 5 * time.Second // how often a leader looks for what is due
	expireBatch = 1000            // rows that one Expire command removes
	clockChecks = 12              // a leader compares clocks at every 12th of those looks
	clockSlack  = 10 * time.Second
	// membersPause is between two steps of a change of members.
	membersPause = 500 * time.Millisecond
	clockAgree   = 30 * time.Second // how far the clocks of a majority may lie apart for a jump
)

// replica is this node's copy of one swarm.
type replica struct {
	n     *Node
	id    ident.SwarmID
	store *mailstore.Store
	fsm   *swarmFSM
	group *consensus.Group

	mu      sync.Mutex
	reign   chan struct{} // not nil while this replica leads and may serve; closed when it no longer does
	changed chan struct{} // closed and replaced when reign or the leader changes
	watches map[*leaderWatch]struct{}
	done    chan struct{} // closed when run ends
}

// openReplica starts a replica, and founds the swarm if it is a new one.
func (n *Node) openReplica(d *directory.Directory, w *directory.Swarm) (*replica, error) {
	dir := filepath.Join(n.cfg.Dir, "swarms", w.ID.String())
	if err := os.MkdirAll(filepath.Join(dir, "mail"), 0o700); err != nil {
		return nil, fault.Wrap(fault.Internal, "open replica of swarm "+w.ID.String(), err)
	}
	store, err := mailstore.Open(filepath.Join(dir, "mail"), mailstore.Options{OnFatal: n.fail})
	if err != nil {
		return nil, err
	}
	r := &replica{n: n, id: w.ID, store: store, fsm: newSwarmFSM(store), changed: make(chan struct{}),
		watches: make(map[*leaderWatch]struct{}), done: make(chan struct{})}
	r.group, err = consensus.Open(consensus.Config{
		Group: w.ID, Self: consensus.ServerID{Node: n.id,
			Incarnation: n.cfg.Incarnation}, Dir: filepath.Join(dir, "raft"), FSM: r.fsm,
		Mux: n.mux, WALSegmentBytes: n.cfg.WALSegmentBytes, Logger: n.cfg.Logger, OnFatal: n.fail,
	})
	if err == nil && w.Config == 1 && n.cfg.Incarnation == 0 {
		// A node that lost its data must not found the swarm again: it waits until the leader adds its new
		// name.
		err = r.group.Bootstrap(founders(d, w))
		if err != nil {
			r.group.Crash()
		}
	}
	if err != nil {
		_ = store.Close()
		return nil, err
	}
	return r, nil
}

// founders lists the servers of a new swarm, its first leader first: leaders are dealt out so that no node
// has more than its share.
func founders(d *directory.Directory, w *directory.Swarm) []consensus.Server {
	leads := make(map[ident.NodeID]int)
	var first ident.NodeID
	for i := range d.Swarms {
		s := &d.Swarms[i]
		best := s.Replicas[0]
		for _, id := range s.Replicas {
			if leads[id] < leads[best] {
				best = id
			}
		}
		leads[best]++
		if s.ID == w.ID {
			first = best
		}
	}
	var servers []consensus.Server
	for _, id := range w.Replicas {
		e, _ := d.Node(id) // the directory lists every replica
		s := consensus.Server{ID: consensus.ServerID{Node: id, Incarnation: e.Incarnation}}
		if id == first {
			servers = append([]consensus.Server{s}, servers...)
		} else {
			servers = append(servers, s)
		}
	}
	return servers
}

// run does the leader's duties whenever this replica leads. It ends with ctx.
func (r *replica) run(ctx context.Context) {
	defer close(r.done)
	defer r.setReign(nil)
	for ctx.Err() == nil {
		changes := r.group.LeaderChanges()
		if r.group.IsLeader() {
			r.lead(ctx, changes)
			r.setReign(nil)
		} else {
			r.setReign(nil) // wakes those who wait to learn who leads
		}
		select {
		case <-changes:
		case <-ctx.Done():
		}
	}
}

// setReign records whether this replica serves as leader, and tells everyone who waits.
func (r *replica) setReign(reign chan struct{}) {
	defer r.n.noteChange()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.reign != nil && r.reign != reign {
		close(r.reign)
	}
	r.reign = reign
	close(r.changed)
	r.changed = make(chan struct{})
	leader, known := r.group.Leader()
	for w := range r.watches {
		if known && leader != w.leader {
			close(w.moved)
			delete(r.watches, w)
		}
	}
}

// role returns who serves as leader: this replica (reign is not nil, and closed when it ends), or another
// node. changed is closed when the answer may be different.
func (r *replica) role() (reign <-chan struct{}, leader ident.NodeID, known bool, changed <-chan struct{}) {
	r.mu.Lock()
	changed = r.changed
	if r.reign != nil {
		reign = r.reign
	}
	r.mu.Unlock()
	if reign != nil {
		return reign, r.n.id, true, changed
	}
	leader, known = r.group.Leader()
	return nil, leader, known && leader != r.n.id, changed
}

// whenMoved returns a channel that is closed when another node than leader serves as the swarm's leader.
func (r *replica) whenMoved(leader ident.NodeID) (moved <-chan struct{}, stop context.CancelFunc) {
	r.mu.Lock()
	defer r.mu.Unlock()
	w := &leaderWatch{leader: leader, moved: make(chan struct{})}
	r.watches[w] = struct{}{}
	return w.moved, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.watches, w)
	}
}

// leaderWatch waits for a leader other than the one it knows.
type leaderWatch struct {
	leader ident.NodeID
	moved  chan struct{}
}

// lead serves until leadership changes: first it brings the state machine up to date, then it opens for
// requests.
func (r *replica) lead(ctx context.Context, changes <-chan struct{}) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // Proposals below must not outlive the leadership that they were made in.
		select {
		case <-changes:
			cancel()
		case <-ctx.Done():
		}
	}()
	if err := r.group.Barrier(ctx); err != nil {
		return
	}
	if r.store.Clock() == 0 && !r.mayFound(ctx) {
		return
	}
	if err := r.configure(ctx); err != nil {
		r.n.cfg.Logger.Warn("swarm is not configured", "swarm", r.id, "err", err)
		return
	}
	if !r.group.IsLeader() {
		return
	}
	r.setReign(make(chan struct{}))
	if err := r.jump(ctx); err != nil && ctx.Err() == nil {
		r.n.cfg.Logger.Warn("swarm clock is not set forward", "swarm", r.id, "err", err)
	}
	tick := time.NewTicker(expireEvery)
	defer tick.Stop()
	for ticks := 0; ; ticks++ {
		if ticks%clockChecks == 0 && r.clockIsOff(ctx) {
			r.n.cfg.Logger.Warn("this node's clock is off, leadership goes to another", "swarm", r.id)
			if err := r.group.TransferLeadership(ctx); err == nil {
				return
			}
		}
		viewed := r.n.view.changes()
		if err := r.configure(ctx); err != nil && ctx.Err() == nil {
			r.n.cfg.Logger.Warn("swarm is not configured", "swarm", r.id, "err", err)
		}
		if err := r.expire(ctx); err != nil && ctx.Err() == nil {
			r.n.cfg.Logger.Warn("expired mail is not removed", "swarm", r.id, "err", err)
		}
		more, err := r.n.reconfigure(ctx, r.id, r.group, r.members())
		if err != nil && ctx.Err() == nil {
			r.n.cfg.Logger.Warn("members of the swarm are not changed", "swarm", r.id, "err", err)
		}
		soon := (<-chan time.Time)(nil)
		if more {
			soon = time.After(membersPause)
		}
		select {
		case <-viewed:
		case <-tick.C:
		case <-soon:
		case <-ctx.Done():
			return
		}
	}
}

// members are the servers that the directory gives the swarm.
func (r *replica) members() (out []consensus.ServerID) {
	d, _ := r.n.view.current()
	w, ok := d.Swarm(r.id)
	if !ok {
		return nil
	}
	for _, id := range w.Replicas {
		e, _ := d.Node(id) // the directory lists every replica
		out = append(out, consensus.ServerID{Node: id, Incarnation: e.Incarnation})
	}
	return out
}

// configure proposes what the directory says of this swarm, if the state machine has something else.
func (r *replica) configure(ctx context.Context) error {
	d, _ := r.n.view.current()
	w, ok := d.Swarm(r.id)
	if !ok {
		return fault.New(fault.Internal, "configure swarm "+r.id.String(), "directory does not list it")
	}
	want := statemachine.Config{
		DirectoryVersion: d.Version, QuotaBytes: d.Params.QuotaBytes,
		StampDifficulty: d.Params.StampDifficulty, Replicas: uint8(len(w.Replicas)),
	}
	for _, s := range d.Slots {
		if s.Swarm != r.id {
			continue
		}
		for slot := int(s.First); slot <= int(s.Last); slot++ {
			want.Slots.Add(ident.Slot(slot))
		}
	}
	have := r.store.Config()
	want.Number = have.Number + 1
	if have.Number > 0 && have.Slots == want.Slots && have.QuotaBytes == want.QuotaBytes &&
		have.StampDifficulty == want.StampDifficulty && have.Replicas == want.Replicas ||
		have.DirectoryVersion > d.Version {
		return nil
	}
	_, err := r.propose(ctx, func(s statemachine.Stamp) statemachine.Command { want.Stamp = s; return &want })
	return err
}

// expire removes what is due, in portions, so that no entry of the log holds up the requests behind it for
// long.
func (r *replica) expire(ctx context.Context) error {
	for ctx.Err() == nil {
		now := r.n.now().UnixMilli()
		due, any := r.store.NextExpiry()
		if !any || due > now {
			return nil
		}
		res, err := r.propose(ctx, func(s statemachine.Stamp) statemachine.Command {
			return &statemachine.Expire{Stamp: s, UpTo: now, Max: expireBatch}
		})
		if err != nil || !res.More {
			return err
		}
	}
	return nil
}

// jump sets the swarm's clock forward after downtime: stamps move it only by what this replica measured
// itself, so it takes the median clock of a majority to say how long nobody was there.
func (r *replica) jump(ctx context.Context) error {
	clock := r.store.Clock()
	if clock == 0 || r.n.now().Sub(time.UnixMilli(clock)) < time.Since(*r.fsm.applied.Load())+clockSlack {
		return nil
	}
	to, err := r.n.medianClock(ctx, r.id)
	if err != nil {
		return err
	}
	_, err = r.propose(ctx, func(s statemachine.Stamp) statemachine.Command {
		return &statemachine.Clock{Stamp: s, To: to.UnixMilli()}
	})
	return err
}

// mayFound waits until a majority of the replicas agrees about the time and this node with them: the first
// command of a swarm sets its clock, which never goes back. A node that is off hands over.
func (r *replica) mayFound(ctx context.Context) bool {
	for {
		median, err := r.n.medianClock(ctx, r.id)
		if err == nil {
			if median.Sub(r.n.now()).Abs() <= clockAgree {
				return true
			}
			r.n.cfg.Logger.Warn("this node's clock is off, leadership goes to another", "swarm", r.id)
			if r.group.TransferLeadership(ctx) == nil {
				return false
			}
		}
		wait(ctx, nil, retryPause)
		if ctx.Err() != nil {
			r.n.cfg.Logger.Warn("swarm is not founded", "swarm", r.id, "err", err)
			return false
		}
	}
}

// clockIsOff reports whether this node's clock lies too far from the median of the swarm's replicas to stamp
// commands.
func (r *replica) clockIsOff(ctx context.Context) bool {
	median, err := r.n.medianClock(ctx, r.id)
	return err == nil && median.Sub(r.n.now()).Abs() > clockAgree
}

// propose stamps and replicates a command; this replica must lead.
func (r *replica) propose(ctx context.Context,
	make func(statemachine.Stamp) statemachine.Command) (statemachine.Result, error) {
	out, err := r.group.Propose(ctx, statemachine.EncodeCommand(make(r.fsm.stamp(r.n.now()))))
	if err != nil {
		return statemachine.Result{}, err
	}
	res, ok := out.(statemachine.Result)
	if !ok {
		return res, fault.New(fault.Internal, "propose to swarm "+r.id.String(), "result is a %T", out)
	}
	if res.Err != nil {
		return res, res.Err
	}
	return res, nil
}

// close stops the replica: gracefully, or as a kill would.
func (r *replica) close(crash bool) error {
	if crash {
		r.group.Crash()
		_ = r.store.Crash() // frees the file for whoever opens it next
		return nil
	}
	err := r.group.Close()
	if e := r.store.Close(); err == nil {
		err = e
	}
	return err
}
