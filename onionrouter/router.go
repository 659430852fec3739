// Package onionrouter is the node's part in the onion network: the relay that moves cells along a circuit,
// and the storage end where a circuit reaches a mailbox's swarm.
//
// New checks a Config and loads onion keys and the replay set from disk; Run rotates the keys and ends every
// circuit when its context ends; RegisterClient and RegisterPeer put the one gRPC method (a bidirectional
// stream of raw cells, see internal/cellstream) on the two listeners. The node publishes what OnionKeys
// returns in the directory.
//
// A relay keeps no log of circuits. Whatever goes wrong with one, its neighbours see the same: the stream
// ends with one constant status. Only the client learns more, from a cell or a CREATED sealed for it. Formats
// and keys: package onion and docs/formats.md, section 2.
package onionrouter

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/starling-swarm/starling/internal/directory"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/onionrouter/onion"
)

// Storage is what a circuit ends at: the swarms of this node. Both methods are called from many goroutines.
type Storage interface {
	// Do answers one encoded envelope.Signed with an encoded envelope.Response. Errors travel inside the
	// response; it never returns nothing.
	Do(ctx context.Context, tag [32]byte, signed []byte) []byte
	// Subscribe calls send for every envelope (encoded) after the subscription's cursor, in order, until ctx
	// ends, send fails, or the subscription is refused or over; it says why with a *fault.Error. send blocks
	// while the client has not acknowledged what it was sent, so nothing may be held up behind it.
	Subscribe(ctx context.Context, tag [32]byte, signed []byte,
		send func(seq uint64, envelope []byte) error) error
}

// Directory is the node's view of the cluster.
type Directory interface {
	// Current returns the newest directory and the digest of its bytes; nil before the first.
	Current() (*directory.Directory, [32]byte)
}

// Config is what a Router is made of.
type Config struct {
	Self      ident.NodeID // this node
	Dir       string       // where onion keys and replay files live; made if absent (0700)
	Storage   Storage      // nil: this node is no storage end
	Directory Directory

	// DialPeer returns the connection to another node's peer listener; it is shared and never closed here.
	DialPeer func(ctx context.Context, node ident.NodeID) (grpc.ClientConnInterface, error)

	NoRelay bool // hops 1 to 3 are refused: the node is a storage end only

	Now    func() time.Time // nil: time.Now; the wall clock that buckets and periods are counted on
	Logger *slog.Logger     // nil: nothing is logged
}

// Stats counts what a Router did. No number belongs to one circuit or client.
type Stats struct {
	Circuits int    // circuits through or ending at this node now
	Created  uint64 // create packets served
	Refused  uint64 // create packets that did not open, were replays, or met a limit
	Failed   uint64 // circuits whose next hop could not be reached
}

// Router is a node's part in the onion network. It is safe for concurrent use.
type Router struct {
	cfg    Config
	keys   *keyring
	replay *replaySet
	limits limits
	crypto chan struct{} // a share of the CPU: who opens create packets holds one

	running sync.WaitGroup // circuits
	mu      sync.Mutex
	live    map[*circuit]struct{}
	closed  bool

	created, refused, failed atomic.Uint64
}

// New loads or makes the onion keys and loads the replay set. It starts nothing.
func New(cfg Config) (*Router, error) {
	const op = "make onion router"
	if cfg.Self.IsZero() || cfg.Dir == "" || cfg.Directory == nil || cfg.DialPeer == nil {
		return nil, fault.New(fault.Invalid, op, "Self, Dir, Directory and DialPeer must be set")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fault.Wrap(fault.Internal, op, err)
	}
	now := cfg.Now()
	keys, fresh, err := openKeyring(cfg.Dir, now)
	if err != nil {
		return nil, err
	}
	replay, err := openReplay(cfg.Dir, bootID(), !fresh, now)
	if err != nil {
		return nil, err
	}
	return &Router{
		cfg: cfg, keys: keys, replay: replay,
		limits: limits{conns: map[string]*connUse{}},
		crypto: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)-1)),
		live:   map[*circuit]struct{}{},
	}, nil
}

// Run rotates keys and drops old replay buckets until ctx ends; then it ends every circuit, waits for them
// and returns nil. Circuits whose clients do not read end with their connections, so the listeners must be
// closed at the same time. A disk that fails ends Run with an error: without its replay file a relay must not
// go on.
func (r *Router) Run(ctx context.Context) error {
	defer r.replay.close()
	defer r.running.Wait()
	defer r.stop()
	for {
		now := r.cfg.Now()
		next := time.Unix((now.Unix()/onion.BucketSeconds+1)*onion.BucketSeconds, 0)
		timer := time.NewTimer(next.Sub(now))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
		now = r.cfg.Now()
		r.limits.prune(now)
		if err := errors.Join(r.replay.prune(now), r.keys.rotate(now, r.inUse(now))); err != nil {
			return fault.Wrap(fault.Internal, "run onion router", err)
		}
	}
}

func (r *Router) stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for c := range r.live {
		c.cancel()
	}
}

// inUse returns the newest period not later than now of which the directory lists a key of this node; 0 if
// none.
func (r *Router) inUse(now time.Time) uint32 {
	d, _ := r.cfg.Directory.Current()
	if d == nil {
		return 0
	}
	n, ok := d.Node(r.cfg.Self)
	if !ok {
		return 0
	}
	k, ok := n.OnionKey(periodOf(now))
	if !ok {
		return 0
	}
	return k.Period
}

// OnionKeys returns the keys to publish: of this period and the next four.
func (r *Router) OnionKeys() []directory.OnionKey { return r.keys.published(r.cfg.Now()) }

// KeysChanged is signalled when OnionKeys has news. It has one receiver.
func (r *Router) KeysChanged() <-chan struct{} { return r.keys.changed }

// Stats returns the counters.
func (r *Router) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	return Stats{Circuits: len(r.live), Created: r.created.Load(), Refused: r.refused.Load(),
		Failed: r.failed.Load()}
}
