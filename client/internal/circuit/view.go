package circuit

import (
	"context"
	"errors"
	"math"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/starling-swarm/starling/internal/directory"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/rpc"
	"github.com/starling-swarm/starling/onionrouter/onion"
)

// view is one verified directory, with the onion keys parsed that were used.
type view struct {
	dir    *directory.Directory
	digest [32]byte
	signed *directory.Signed

	mu   sync.Mutex
	keys map[keyID]*onion.PublicKey
}

type keyID struct {
	node   ident.NodeID
	period uint32
}

// verify checks a directory against the cluster file and against what this profile has seen.
func (n *Network) verify(s *directory.Signed) (*view, error) {
	d, err := n.cfg.Cluster.Verify(s)
	if err != nil {
		return nil, err
	}
	if err := d.CheckNewer(n.state.seen()); err != nil {
		return nil, err
	}
	return &view{dir: d, digest: directory.Digest(s.Body), signed: s, keys: map[keyID]*onion.PublicKey{}}, nil
}

// hopKey returns the node's onion key for the period.
func (v *view) hopKey(id ident.NodeID, period uint32) (onion.HopKey, error) {
	node, ok := v.dir.Node(id)
	if !ok {
		return onion.HopKey{}, fault.New(fault.Unavailable, "find onion key",
			"node %s is not in the directory", id.Short())
	}
	k, ok := node.OnionKey(period)
	if !ok {
		return onion.HopKey{}, fault.New(fault.Unavailable, "find onion key",
			"node %s has none for period %d", id.Short(), period)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	kid := keyID{id, k.Period}
	pub := v.keys[kid]
	if pub == nil {
		var err error
		if pub, err = onion.ParsePublic(k.Key[:]); err != nil {
			return onion.HopKey{}, err
		}
		v.keys[kid] = pub
	}
	return onion.HopKey{Node: id, Period: k.Period, Key: pub}, nil
}

// accept makes a verified directory the current one, unless a newer one came meanwhile, and keeps it on disk
// first: a profile that was restarted must not fall back behind it.
func (n *Network) accept(v *view) error {
	err := n.state.update(func(k *kept) bool {
		if v.dir.Version <= k.Version && len(k.Directory) > 0 {
			return false
		}
		k.Version, k.Directory = v.dir.Version, v.signed.Encode()
		return true
	})
	if err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.view == nil || n.view.dir.Version < v.dir.Version {
		n.view = v
		n.announce(nil)
	}
	return nil
}

// announce wakes who waits for a directory. mu is held.
func (n *Network) announce(err error) {
	n.missed = err
	close(n.fresh)
	n.fresh = make(chan struct{})
}

// Times of the directory loop.
const (
	fetchTimeout  = 5 * time.Second
	fetchStagger  = 300 * time.Millisecond // between two nodes asked in one fetch
	fetchRetryMin = 100 * time.Millisecond
	fetchRetryMax = 5 * time.Second
	fetchEvery    = 10 * time.Minute
	fetchGap      = 200 * time.Millisecond // least time between two fetches; after failures up to fetchGapMax
	fetchGapMax   = time.Second
)

// followDirectory fetches the directory at the start, now and then, and when somebody finds the current one
// wanting.
func (n *Network) followDirectory(ctx context.Context) error {
	retry := fetchRetryMin
	for {
		next, gap := fetchEvery+n.jitter(fetchEvery/2), fetchGap
		if err := n.fetch(ctx); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			if fault.KindOf(err) == fault.Internal { // the disk
				return err
			}
			n.note(err)
			n.mu.Lock()
			n.announce(err)
			n.mu.Unlock()
			n.log.Debug("directory not fetched", "error", err)
			next, gap, retry = retry/2+n.jitter(retry/2), min(retry, fetchGapMax), min(2*retry, fetchRetryMax)
		} else {
			retry = fetchRetryMin
		}
		if !sleep(ctx, gap) {
			return nil
		}
		timer := time.NewTimer(next)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-n.wake:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// refetch asks the directory loop to fetch soon.
func (n *Network) refetch() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// wantVersion asks for a directory of at least the version, which a node named.
func (n *Network) wantVersion(version uint64) {
	if d := n.Directory(); d == nil || d.Version < version || version == 0 {
		n.refetch()
	}
}

// source is a node that can be asked for the directory.
type source struct {
	id    ident.NodeID
	addrs []string
}

// sources lists whom to ask: guards that are connected already, then all others in random order.
func (n *Network) sources() (out []source) {
	n.mu.Lock()
	defer n.mu.Unlock()
	add := func(id ident.NodeID, addrs []string) {
		if len(addrs) > 0 && !slices.ContainsFunc(out, func(s source) bool { return s.id == id }) {
			out = append(out, source{id, addrs})
		}
	}
	if n.view != nil {
		for i := range n.view.dir.Nodes {
			if m := &n.view.dir.Nodes[i]; m.State == directory.Alive {
				add(m.ID, m.ClientAddrs)
			}
		}
	}
	for _, b := range n.cfg.Cluster.Bootstrap {
		add(b.NodeID, b.ClientAddrs)
	}
	n.rng.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	slices.SortStableFunc(out, func(a, b source) int { return n.sourceRank(a) - n.sourceRank(b) })
	return out
}

func (n *Network) sourceRank(s source) int {
	if g := n.guards[s.id]; g != nil && g.up() {
		return 0
	}
	return 1
}

// fetch asks nodes until one has a directory that is no older than the current one.
func (n *Network) fetch(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	return n.askAround(ctx, "fetch directory", n.fetchFrom)
}

// Probe returns nil as soon as any node answers on its client listener. It asks one after the other, not
// waiting for the slow ones. Errors: Unavailable once every node that is known has failed, or when ctx ends.
func (n *Network) Probe(ctx context.Context) error {
	select {
	case <-n.started:
	case <-ctx.Done():
		return fault.Wrap(fault.Unavailable, "reach cluster", ctx.Err())
	}
	return n.askAround(ctx, "reach cluster", func(ctx context.Context, s source) error {
		conn, done, err := n.borrow(s)
		if err != nil {
			return err
		}
		defer done()
		// there is none so new: only the answer counts
		_, _, err = rpc.FetchDirectory(ctx, conn, math.MaxUint64)
		return err
	})
}

// askAround puts a question to nodes, one more whenever one failed or is slow, until one has answered it.
func (n *Network) askAround(ctx context.Context, op string, ask func(context.Context, source) error) error {
	ctx, cancel := context.WithCancel(ctx) // the slow ones end with the first answer
	defer cancel()
	todo := n.sources()
	if len(todo) == 0 {
		return fault.New(fault.Unavailable, op, "no node is known")
	}
	results := make(chan error, len(todo))
	var errs []error
	next := time.NewTimer(0)
	defer next.Stop()
	for asked := 0; ; {
		select {
		case <-next.C:
			if asked < len(todo) {
				s := todo[asked]
				asked++
				if !n.spawn(func() { results <- ask(ctx, s) }) {
					return errClosed
				}
				next.Reset(fetchStagger)
			}
		case err := <-results:
			if err == nil {
				return nil
			}
			if errs = append(errs, err); len(errs) == len(todo) {
				return fault.Wrap(fault.KindOf(errs[0]), op, errors.Join(errs...))
			}
			next.Reset(0)
		case <-ctx.Done():
			return fault.Wrap(fault.Unavailable, op, errors.Join(append(errs, ctx.Err())...))
		}
	}
}

// fetchFrom asks one node and accepts what it has.
func (n *Network) fetchFrom(ctx context.Context, s source) error {
	conn, done, err := n.borrow(s)
	if err != nil {
		return err
	}
	defer done()
	var have uint64
	if d := n.Directory(); d != nil {
		have = d.Version
	}
	signed, nodeTime, err := rpc.FetchDirectory(ctx, conn, have)
	if err != nil {
		return err
	}
	if signed == nil {
		if have == 0 {
			return fault.New(fault.Unavailable, "fetch directory", "node %s has none yet", s.id.Short())
		}
		n.stillCurrent(nodeTime)
		return nil
	}
	v, err := n.verify(signed)
	if err != nil {
		return err
	}
	n.clock.fromNode(nodeTime, v.dir)
	if _, err := v.dir.CheckTime(n.Now()); err != nil {
		return err
	}
	return n.accept(v)
}

// stillCurrent takes the time of a node that knows of no newer directory. A client that comes back with a
// directory from its disk has no other way to learn that its clock is what makes it look invalid.
func (n *Network) stillCurrent(nodeTime time.Time) {
	n.clock.fromNode(nodeTime, n.Directory())
	n.mu.Lock()
	defer n.mu.Unlock()
	n.announce(nil)
}

// borrow returns the connection to a guard, or a new one that done closes.
func (n *Network) borrow(s source) (conn grpc.ClientConnInterface, done func(), err error) {
	n.mu.Lock()
	g := n.guards[s.id]
	n.mu.Unlock()
	if g != nil && g.up() {
		return g.conn, func() {}, nil
	}
	c, err := rpc.DialNode(s.id, s.addrs, n.cfg.Dial)
	if err != nil {
		return nil, nil, err
	}
	return c, func() { _ = c.Close() }, nil
}

// current returns a directory that can be used now. Without one it waits for the fetch under way, and fails
// with Unavailable if that brings none: whether the cluster is out of reach is the caller's to judge.
func (n *Network) current(ctx context.Context) (*view, error) {
	waited := false
	for {
		n.mu.Lock()
		v, fresh, missed := n.view, n.fresh, n.missed
		n.mu.Unlock()
		err := missed
		if v != nil {
			if err := n.clock.check(); err != nil {
				return nil, err
			}
			if _, err = v.dir.CheckTime(n.Now()); err == nil {
				return v, nil
			}
		}
		if waited && err != nil {
			return nil, fault.Wrap(fault.Unavailable, "find cluster", err)
		}
		n.refetch()
		select {
		case <-fresh:
			waited = true
		case <-ctx.Done():
			return nil, fault.Wrap(fault.Unavailable, "find cluster", errors.Join(err, ctx.Err()))
		}
	}
}
