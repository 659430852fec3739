// Package circuit is the client's side of the onion network: it keeps guards, builds and reuses circuits, and
// carries requests, answers, subscriptions and pushes over them.
//
// A Network serves one profile. New loads what the profile keeps (guards, the newest directory seen) and
// starts nothing; Run owns every goroutine. Do and Subscribe wait for the first directory, pick or build a
// circuit to a replica of the mailbox's swarm, and never share a circuit between destinations. Requests are
// repeated on another circuit after an attempt whose outcome is unknown, until their context ends: every
// operation of the protocol is idempotent.
//
// What the package trusts: the cluster file, and directories signed as it demands, never older than the
// newest one seen. Formats: docs/formats.md, section 2; path rules: package paths.
package circuit

import (
	"context"
	crand "crypto/rand"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/starling-swarm/starling/internal/directory"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/rpc"
)

// SignFunc signs b (an encoded request or subscription, as label says) for the node and circuit that will
// carry it.
type SignFunc = func(node ident.NodeID, tag [32]byte, timeMS int64, label string, b []byte) envelope.Signed

// PurposeInbox is the purpose of circuits to the account's own mailbox: subscriptions and requests share one,
// which lives for hours. Circuits of every other purpose take new requests for ten minutes.
const PurposeInbox = "inbox"

// Config is what a Network is made of.
type Config struct {
	Cluster *directory.ClusterFile
	Dir     string          // where guards and the newest directory are kept, in the file "network"
	Mailbox ident.MailboxID // the account's own mailbox: no node of its swarm is a guard
	Logger  *slog.Logger    // nil: nothing is logged

	Dial  rpc.DialFunc     // nil: the plain network
	Clock func() time.Time // this machine's clock, read once; nil: time.Now
}

// Status is a view of the network for people.
type Status struct {
	Nodes, Swarms int
	Version       uint64        // of the directory; 0: none yet
	Circuits      []Info        // live circuits, the oldest first
	Skew          time.Duration // client time minus this machine's clock
	Loopback      bool          // every node is on a loopback address: path rules say nothing
	Notes         []string      // relaxed path rules, clock and validity warnings, what the last attempt met
	Connected     bool          // the connection to a guard stands
}

// Info is one live circuit.
type Info struct {
	Purpose string
	Path    ident.Path // guard, middle, exit
	Storage ident.NodeID
	Age     time.Duration
	RTT     time.Duration // of the newest PING; 0: none yet
	Relaxed []string      // path rules that this circuit breaks, in words
}

// Network reaches the mailboxes of a cluster through the onion network. It is safe for concurrent use.
type Network struct {
	cfg   Config
	log   *slog.Logger
	clock *clock
	state *stateFile

	started chan struct{}   // closed by Run
	ctx     context.Context // of Run
	workers sync.WaitGroup  // circuits' goroutines

	mu      sync.Mutex // taken after stateFile.mu, never before
	closed  bool
	rng     *rand.Rand
	view    *view         // nil before the first directory
	fresh   chan struct{} // closed and replaced with every new view and every failed fetch
	missed  error         // of the newest fetch; nil: it worked
	wake    chan struct{} // asks the directory loop to fetch now
	guards  map[ident.NodeID]*guard
	passed  map[ident.NodeID]passed    // guards that failed
	avoided map[ident.NodeID]time.Time // middles, exits and storage nodes that failed, until when
	heard   map[ident.NodeID]heard     // the nodes' clocks
	pool    map[key]*slot
	recent  []key // destinations of the last sending circuits, newest first
	trouble error // what the last attempt met; nil after a success
}

// New loads the profile's state. It starts nothing. Errors: Denied (the state is of another cluster),
// Corrupt.
func New(cfg Config) (*Network, error) {
	if cfg.Cluster == nil || cfg.Dir == "" {
		return nil, fault.New(fault.Invalid, "make network", "Cluster and Dir must be set")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	var seed [32]byte
	crand.Read(seed[:]) // never fails
	n := &Network{
		cfg: cfg, log: cfg.Logger, clock: newClock(cfg.Clock),
		started: make(chan struct{}), fresh: make(chan struct{}), wake: make(chan struct{}, 1),
		rng:     rand.New(rand.NewChaCha8(seed)),
		guards:  map[ident.NodeID]*guard{},
		avoided: map[ident.NodeID]time.Time{},
		heard:   map[ident.NodeID]heard{},
		pool:    map[key]*slot{},
	}
	var err error
	if n.state, err = openState(cfg.Dir, cfg.Cluster.ID); err != nil {
		return nil, err
	}
	n.passed = recall(n.state.k.Passed, n.clock.local())
	if s := n.state.signed(); s != nil {
		v, err := n.verify(s)
		if err != nil {
			return nil, fault.Wrap(fault.Corrupt, "load network state", err)
		}
		n.view = v
	}
	return n, nil
}

// Run fetches directories, keeps circuits ready and ends everything when ctx ends. It returns nil then. It is
// called once.
func (n *Network) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	n.ctx = ctx
	close(n.started)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return n.followDirectory(ctx) })
	g.Go(func() error { return n.tend(ctx) })
	err := g.Wait()
	cancel()
	n.closeAll()
	n.workers.Wait()
	return err
}

// Directory returns the newest verified directory; nil before the first.
func (n *Network) Directory() *directory.Directory {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.view == nil {
		return nil
	}
	return n.view.dir
}

// Now returns the client time: this machine's monotonic clock, set by what the nodes say.
func (n *Network) Now() time.Time { return n.clock.now() }

// Prepare builds a circuit for the purpose to the mailbox, unless there is one, so that the next Do finds it.
func (n *Network) Prepare(ctx context.Context, purpose string, mailbox ident.MailboxID) error {
	_, err := n.circuit(ctx, key{purpose, mailbox})
	return err
}

// Times of one attempt of a request.
const (
	attemptTimeout = 8 * time.Second
	retryMin       = 50 * time.Millisecond
	retryMax       = time.Second
	avoidStorage   = 3 * time.Second  // a replica that answered Unavailable
	avoidAsked     = 30 * time.Second // a replica whose answer is to be compared with others
)

// Do carries one encoded request to mailbox and returns the answer and the path of the circuit that brought
// it. An attempt whose outcome is unknown is repeated on another circuit, and so is one that the swarm could
// not serve, until ctx ends; then the error is Unavailable around what the last attempt met. Results of
// operations, with their errors, are in the response.
func (n *Network) Do(ctx context.Context, purpose string, mailbox ident.MailboxID, request []byte,
	sign SignFunc) (*envelope.Response, ident.Path, error) {
	k := key{purpose, mailbox}
	for wait := retryMin; ; wait = min(2*wait, retryMax) {
		resp, c, err := n.attempt(ctx, k, request, sign)
		if err == nil {
			err = n.answered(c, resp)
			if err == nil {
				return resp, c.hops(), nil
			}
		}
		if !retryable(err) {
			return nil, ident.Path{}, err
		}
		n.note(err)
		if !sleep(ctx, wait/2+n.jitter(wait/2)) {
			return nil, ident.Path{}, fault.Wrap(fault.Unavailable, "reach mailbox", err)
		}
	}
}

// Elsewhere makes the next requests to mailbox end at other replicas than those before, as far as there are
// any: for a caller who wants a second opinion. Subscriptions go on where they are.
func (n *Network) Elsewhere(mailbox ident.MailboxID) {
	n.mu.Lock()
	var asked []*live
	for k, s := range n.pool {
		if k.mailbox == mailbox && s.current() != nil {
			asked = append(asked, s.c)
		}
	}
	n.mu.Unlock()
	for _, c := range asked {
		n.avoid(c.path.Storage, avoidAsked)
		c.retire()
	}
}

func (n *Network) attempt(ctx context.Context, k key, request []byte,
	sign SignFunc) (*envelope.Response, *live, error) {
	c, err := n.circuit(ctx, k)
	if err != nil {
		return nil, nil, err
	}
	limited, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	signed := sign(c.path.Storage, c.circ.Tag, n.Now().UnixMilli(), envelope.LabelRequest, request)
	b, err := c.do(limited, signed.Encode())
	if err != nil {
		if limited.Err() != nil && ctx.Err() == nil { // a replica that is too slow: ask another one
			n.avoid(c.path.Storage, avoidStorage)
			c.retire()
		}
		return nil, nil, err
	}
	resp, err := envelope.DecodeResponse(b)
	if err != nil {
		return nil, nil, fault.Wrap(fault.Corrupt, "reach mailbox", err)
	}
	return resp, c, nil
}

// answered looks for the errors of a response that concern the way and not the operations: they are returned.
func (n *Network) answered(c *live, resp *envelope.Response) error {
	for i := range resp.Results {
		e := resp.Results[i].Err
		if e == nil {
			continue
		}
		switch e.Kind {
		case fault.WrongSwarm:
			c.retire()
			n.wantVersion(e.Version)
			return e
		case fault.Unavailable:
			n.avoid(c.path.Storage, avoidStorage)
			c.retire()
			return e
		}
	}
	n.note(nil)
	return nil
}

var errClosed = fault.New(fault.Unavailable, "reach cluster", "the network was shut down")

// retryable tells the errors of the way from those of the caller. ctx errors come wrapped as Unavailable.
func retryable(err error) bool {
	if errors.Is(err, errClosed) {
		return false
	}
	switch fault.KindOf(err) {
	case fault.Unavailable, fault.WrongSwarm:
		return true
	}
	return false
}

// note remembers what the last attempt met, for Status.
func (n *Network) note(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.trouble = err
}

// spawn runs f in a goroutine that Run waits for; false once the network is closed.
func (n *Network) spawn(f func()) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return false
	}
	n.workers.Go(f)
	return true
}

func (n *Network) jitter(d time.Duration) time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	return time.Duration(n.rng.Int64N(int64(d) + 1))
}

// sleep waits for d; false if ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
