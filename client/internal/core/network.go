package core

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/starling-swarm/starling/client/internal/circuit"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/directory"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// SignFunc signs b (an encoded request or subscription, as label says) for the node and circuit that will
// carry it.
type SignFunc = circuit.SignFunc

// Network is what the engine needs of the cluster: requests and subscriptions that reach a mailbox without
// any node learning both ends.
type Network interface {
	// Run owns the network's goroutines and returns when they have ended.
	Run(ctx context.Context) error
	// Do carries one encoded request to mailbox and returns the answer and the path of the circuit that
	// brought it. Requests are idempotent: an attempt whose outcome is unknown is repeated on another
	// circuit. Errors are those of the whole request; the results of its operations are in the response.
	Do(ctx context.Context, purpose string, mailbox ident.MailboxID, request []byte,
		sign SignFunc) (*envelope.Response, ident.Path, error)
	// Subscribe sends what build returns and calls handle for every envelope, in order, until ctx ends, the
	// circuit dies, the storage node ends the subscription, or handle fails.
	Subscribe(ctx context.Context, mailbox ident.MailboxID, build func() []byte, sign SignFunc,
		handle func(envelope.Envelope) error) error
	// Elsewhere makes the next requests to mailbox end at other replicas than those before, as far as there
	// are any.
	Elsewhere(mailbox ident.MailboxID)
	// Directory returns the newest verified directory; nil before the first.
	Directory() *directory.Directory
	// Now is the client time.
	Now() time.Time
	// Times returns what the clocks of nodes show now: of count nodes that are not among besides, or, where a
	// cluster has none, of the others, asked anew. It may return more, and fewer if the cluster has no more.
	Times(ctx context.Context, count int, besides map[ident.NodeID]time.Time) (map[ident.NodeID]time.Time,
		error)
	// Probe returns nil as soon as any node answers at all. Errors: Unavailable once all have failed to, or
	// when ctx ends.
	Probe(ctx context.Context) error
	// Status describes the network for people.
	Status() circuit.Status
}

// Purposes of circuits. Two purposes never share one.
const (
	PurposeInbox = circuit.PurposeInbox // the account's own mailbox
	PurposeSend  = "send"               // somebody else's mailbox
	PurposeFetch = "fetch"              // somebody's public records
)

// LinkState is whether the cluster answers, for those who wait for it. A connection that is lost is made
// again without anybody being told, unless that takes too long.
type LinkState struct {
	mu      sync.Mutex
	online  bool
	cause   error              // why there is no use in waiting; nil: there is
	unwatch context.CancelFunc // ends the watch of a silent cluster; nil: there is none
	ended   chan struct{}      // closed when the newest watch and all before it have returned; nil: none was
	Changed Broadcast
}

// up records that the cluster answered, and reports whether that is news.
func (l *LinkState) up() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.online && l.cause == nil {
		return false
	}
	l.stopLocked()
	was := l.online
	l.online, l.cause = true, nil
	l.Changed.Fire()
	return !was
}

func (l *LinkState) stopLocked() {
	if l.unwatch != nil {
		l.unwatch()
		l.unwatch = nil
	}
}

// down records that the connection is lost, or not made yet, and reports whether that is news. Unless the
// cluster answers before, those who wait get what watch returns; watch ends with its context.
func (l *LinkState) down(watch func(context.Context) error) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	was := l.online
	l.online = false
	if l.unwatch == nil && l.cause == nil {
		ctx, stop := context.WithCancel(context.Background())
		before, ended := l.ended, make(chan struct{})
		l.unwatch, l.ended = stop, ended
		go func() {
			defer close(ended)
			if before != nil {
				<-before // it was told to end
			}
			if cause := watch(ctx); cause != nil {
				l.giveUp(ctx, cause)
			}
		}()
	}
	return was
}

// giveUp is give for a watch that nobody has ended meanwhile.
func (l *LinkState) giveUp(watch context.Context, cause error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if watch.Err() == nil {
		l.giveLocked(cause)
	}
}

// Give tells those who wait that there is no use in it.
func (l *LinkState) Give(cause error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.giveLocked(cause)
}

func (l *LinkState) giveLocked(cause error) {
	if !l.online {
		l.cause = cause
		l.Changed.Fire()
	}
}

// Reset ends the watch and waits for it: nobody tries to connect any more.
func (l *LinkState) Reset() {
	l.mu.Lock()
	l.stopLocked()
	l.online, l.cause = false, nil
	ended := l.ended
	l.mu.Unlock()
	if ended != nil {
		<-ended
	}
}

// Get returns whether the cluster answers and, if not, why there is no use in waiting; nil: there is.
func (l *LinkState) Get() (online bool, cause error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.online, l.cause
}

// WaitOnline returns once the cluster answers. It fails with Unavailable as soon as the cluster proves to be
// out of reach, and with ctx's error. It needs Run.
func (c *Core) WaitOnline(ctx context.Context) error {
	for {
		changed := c.Link.Changed.Watch()
		online, cause := c.Link.Get()
		if online {
			return nil
		}
		if cause != nil {
			return cause
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Request carries r to its mailbox, signed by key (nil: unsigned), and returns the answer. An error is the
// request's own or, for a request in mode All, that of the operation that failed.
func (c *Core) Request(ctx context.Context, purpose string, r *envelope.Request,
	key account.Signer) (*envelope.Response, ident.Path, error) {
	sign := Unsigned
	if key != nil {
		r.Authority, sign = key.Public(), SignWith(key)
	}
	resp, path, err := c.Net.Do(ctx, purpose, r.Mailbox, r.Encode(), sign)
	if err != nil {
		return nil, path, err
	}
	c.WentOnline()
	want := len(r.Ops)
	if r.Mode == envelope.All {
		if err := resp.Err(); err != nil {
			return resp, path, err
		}
	}
	if len(resp.Results) != want {
		return nil, path, fault.New(fault.Corrupt, "request", "%d results, want %d", len(resp.Results), want)
	}
	return resp, path, nil
}

// WentOnline records that the cluster answered; if that is news, what waits is tried again at once.
func (c *Core) WentOnline() {
	if c.Link.up() {
		c.Announce(Fact{Kind: FactOnline})
		for _, again := range c.hooks.online {
			again()
		}
	}
}

// refusedSkew is how far off this machine's clock may be: the network refuses to go on beyond it.
const refusedSkew = 24 * time.Hour

// WentOffline records that the connection is lost, or not made yet, and why.
func (c *Core) WentOffline(cause error) {
	if c.Link.down(c.watchSilence) {
		c.Announce(Fact{Kind: FactOffline, Cause: cause})
	}
	if errors.Is(cause, fault.Denied) && c.Net.Status().Skew.Abs() > refusedSkew {
		c.Link.Give(cause) // waiting does not set this machine's clock
	}
}

// answerTimeout is how long the nodes have to give any answer before the cluster counts as out of reach.
const answerTimeout = 6 * time.Second

// hopeful times patience more is given while nodes answer, but no circuit through them: ways around those
// that are broken are being tried.
const hopeful = 4

// watchSilence returns why there is no use in waiting for the cluster any longer; nil if ctx ends before that
// is known.
func (c *Core) watchSilence(ctx context.Context) error {
	patience := c.Pace.Unreachable
	if c.cfg.Patience > 0 {
		patience = c.cfg.Patience
	}
	c.Sleep(ctx, patience)
	if ctx.Err() != nil {
		return nil
	}
	probe, stop := context.WithTimeout(ctx, answerTimeout)
	defer stop()
	if err := c.Net.Probe(probe); err != nil {
		c.Log.Debug("no node answers", "error", err)
		return fault.New(fault.Unavailable, "connect", "no node of cluster %q answers", c.Cluster.Name)
	}
	c.Sleep(ctx, hopeful*patience)
	if ctx.Err() != nil {
		return nil
	}
	return fault.New(fault.Unavailable, "connect",
		"nodes of cluster %q answer, but none has brought anything through", c.Cluster.Name)
}

// NetworkConfig is what a Network is made of.
type NetworkConfig struct {
	Cluster *directory.ClusterFile
	Dir     string // where guards and the directory version are kept
	Mailbox ident.MailboxID
	Logger  *slog.Logger
	Clock   func() time.Time                                         // this machine's clock; nil: time.Now
	Dial    func(ctx context.Context, addr string) (net.Conn, error) // nil: TCP
}
