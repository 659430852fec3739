package circuit

import (
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/starling-swarm/starling/internal/cellstream"
	"github.com/starling-swarm/starling/internal/directory"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/onionrouter/onion"
	"github.com/starling-swarm/starling/onionrouter/paths"
)

const (
	createTimeout = 2 * time.Second
	lifetime      = 24 * time.Hour
	avoidFailed   = 30 * time.Second // a node that its neighbour did not reach
	avoidSilent   = 5 * time.Second  // the nodes of a path that gave no answer at all
)

// plan is what a circuit will be.
type plan struct {
	view  *view
	guard *guard
	path  paths.Path
}

// follow makes the circuit that is planned.
func (n *Network) follow(ctx context.Context, k key, p *plan) (*live, error) {
	var hops [onion.Hops]onion.HopKey
	var err error
	now := n.Now()
	for i, id := range p.path.Hops() {
		if hops[i], err = p.view.hopKey(id, directory.Period(now)); err != nil {
			return nil, err
		}
	}
	pending, packet, err := onion.Build(rand.Reader, onion.Params{
		Class: onion.MSG, Bucket: onion.BucketOf(now), Lifetime: uint32(lifetime.Seconds()), Hops: hops,
	})
	if err != nil {
		return nil, err
	}
	c, err := n.create(ctx, k, p, pending, packet)
	if err != nil {
		return nil, fault.Wrap(fault.Unavailable, "build circuit", err)
	}
	return c, nil
}

// plan waits for a directory with the mailbox's swarm and chooses a path, through another guard than the one
// to skip if there is one.
func (n *Network) plan(ctx context.Context, mailbox ident.MailboxID, skip ident.NodeID) (*plan, error) {
	v, err := n.current(ctx)
	if err != nil {
		return nil, err
	}
	swarm, ok := v.dir.SwarmOf(mailbox)
	if !ok {
		n.refetch()
		return nil, fault.New(fault.Unavailable, "choose path", "the cluster has no swarms yet")
	}
	var own []ident.NodeID
	if s, ok := v.dir.SwarmOf(n.cfg.Mailbox); ok {
		own = s.Replicas
	}
	period := directory.Period(n.Now())
	g, err := n.pickGuard(v, own, period, skip)
	if err != nil {
		return nil, err
	}
	middles := n.state.middles()
	n.mu.Lock()
	defer n.mu.Unlock()
	q := paths.Query{Directory: v.dir, Period: period, Guard: g.id, Swarm: swarm.Replicas, Own: own,
		Middles: middles}
	path, err := n.choose(q, skip)
	if err != nil {
		n.refetch()
		return nil, err
	}
	return &plan{v, g, path}, nil
}

// choose chooses a path without the nodes that failed lately. Where there is none, better a node that failed
// than no path: those are given a chance first that failed longest ago, since in a small cluster one of them
// may have been blamed for a neighbour's death, while the one that is dead fails again and again. The guard
// to skip is no middle or exit of a path that is begun because that guard is slow.
func (n *Network) choose(q paths.Query, skip ident.NodeID) (path paths.Path, err error) {
	avoided := append(n.avoidedNow(), skip)
	for {
		q.Avoid = func(id ident.NodeID) bool { return slices.Contains(avoided, id) }
		if path, err = paths.Choose(n.rng, q); err == nil || len(avoided) == 0 {
			return path, err
		}
		avoided = avoided[1:]
	}
}

// avoidedNow returns the nodes that are kept off new paths, those first whose time is over first.
func (n *Network) avoidedNow() []ident.NodeID {
	now := time.Now()
	maps.DeleteFunc(n.avoided, func(_ ident.NodeID, until time.Time) bool { return now.After(until) })
	return slices.SortedFunc(maps.Keys(n.avoided),
		func(a, b ident.NodeID) int { return n.avoided[a].Compare(n.avoided[b]) })
}

// create sends the packet and waits for the answer.
func (n *Network) create(ctx context.Context, k key, p *plan, pending *onion.Pending,
	packet []byte) (*live, error) {
	life, cancel := context.WithCancel(n.ctx) // of the circuit, not of the caller
	slow := time.AfterFunc(createTimeout, cancel)
	stop := context.AfterFunc(ctx, cancel)
	stream, err := cellstream.Open(life, p.guard.conn)
	var created cellstream.Frame
	if err == nil {
		f := cellstream.Get(onion.CreateSize)
		copy(*f, packet)
		err = stream.Send(f)
	}
	if stream != nil { // also after a failed Send: what came back says more
		created, err = stream.Recv()
	}
	if timely := slow.Stop(); !stop() || !timely || err != nil {
		cancel()
		cellstream.Put(created)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err == nil || !timely {
			err = errors.New("no answer in time")
		}
		n.silent(p)
		return nil, err
	}
	circ, answers, err := pending.Finish(*created)
	cellstream.Put(created)
	n.checkDigests(p.view, answers)
	if err != nil {
		cancel()
		n.blame(p, err)
		return nil, err
	}
	n.clock.fromHops(answers)
	n.hear(p.path, answers)
	n.guardWorked(p.guard)
	return n.newLive(life, cancel, k, p.path, stream, circ)
}

// silent spreads the blame for a circuit that ended without a word. That is also how nodes refuse keys of a
// directory that is out of date, so it asks for a newer one.
func (n *Network) silent(p *plan) {
	n.refetch()
	if p.guard.up() {
		n.avoid(p.path.Middle, avoidSilent)
		n.avoid(p.path.Exit, avoidSilent)
	}
	n.guardFailed(p.guard, p.path.Middle)
}

// blame takes note of a hop's own word that it did not reach the next one.
func (n *Network) blame(p *plan, err error) {
	var e *onion.ExtendError
	if !errors.As(err, &e) { // tampered with
		n.silent(p)
		return
	}
	n.avoidAfter(p.path, e.Hop, e.Status)
	if e.Hop == 1 {
		n.guardFailed(p.guard, p.path.Middle)
	}
}

// avoidAfter keeps the node off new paths that hop could not reach, or that refused its part.
func (n *Network) avoidAfter(p paths.Path, hop int, status onion.Status) {
	if status == onion.StatusExtendFail {
		hop++
	}
	if hop >= 2 && hop <= onion.Hops {
		n.avoid(p.Hops()[hop-1], avoidFailed)
	}
}

// checkDigests asks for a directory when a hop goes by another one.
func (n *Network) checkDigests(v *view, answers []onion.Answer) {
	for _, a := range answers {
		if a.Digest != v.digest && a.Digest != [32]byte{} {
			n.refetch()
			return
		}
	}
}
