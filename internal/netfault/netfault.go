// Package netfault is the one place where a node's network can be made to fail on purpose: every dial, accept
// and gossip packet between nodes passes a Switch.
//
// Production passes a nil *Switch, which costs nothing: Dial is net.Dialer, Listen returns its argument.
// Tests and the embedded cluster keep one Switch per node and call Cut to isolate that node from its peers,
// or SetDelay to make its links slow and lossy. A cut node behaves as if its cable were pulled: what it
// writes goes nowhere, what was on the way to it is never seen, and soon its connections are closed. Client
// connections do not pass the Switch, so a cut node still hears its clients.
//
// Under the Switch lies the machine's network, or another Network that it was made Over: a node has no other
// way to listen or dial, so that a whole cluster can run on a network in memory.
//
// The package is impure: it dials, and it starts a goroutine for each connection that has a delay.
package netfault

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// ErrCut is what a dial returns while the node is cut off.
var ErrCut = errors.New("network is cut off by a test switch")

// closeAfter is how long connections stay black holes before they are closed: long enough that a peer sees
// silence first, as with a pulled cable, short enough that a test need not wait for keepalives.
const closeAfter = 100 * time.Millisecond

// retransmit is what a lost segment costs a stream, which cannot lose bytes: the time until TCP sends it
// again.
const retransmit = 200 * time.Millisecond

// Network is what a node listens and dials on. Names of networks and addresses are those of package net.
type Network interface {
	DialContext(ctx context.Context, network, addr string) (net.Conn, error)
	Listen(network, addr string) (net.Listener, error)
	ListenPacket(network, addr string) (net.PacketConn, error)
}

// machine is the machine's own network.
type machine struct{ net.Dialer }

func (*machine) Listen(network, addr string) (net.Listener, error) { return net.Listen(network, addr) }
func (*machine) ListenPacket(network, addr string) (net.PacketConn, error) {
	return net.ListenPacket(network, addr)
}

// Switch breaks and heals the network of one node. Its zero value passes everything, and so does a nil
// Switch. All methods may be called at any time from any goroutine.
type Switch struct {
	under Network // nil: the machine's; never changed

	mu    sync.Mutex
	cut   bool
	delay time.Duration
	loss  float64
	conns map[*conn]struct{}
}

// Over returns a Switch on another network than the machine's; nil is the machine's.
func Over(under Network) *Switch { return &Switch{under: under} }

// Under returns the network below the switch, where nothing fails on purpose.
func (s *Switch) Under() Network {
	if s == nil || s.under == nil {
		return new(machine)
	}
	return s.under
}

// Cut isolates the node (true) or lets it back (false). Connections that exist at a cut do not survive it.
func (s *Switch) Cut(cut bool) {
	s.mu.Lock()
	was := s.cut
	s.cut = cut
	var lost []*conn
	if cut && !was {
		for c := range s.conns {
			c.blackhole()
			lost = append(lost, c)
		}
	}
	s.mu.Unlock()
	if len(lost) > 0 {
		time.AfterFunc(closeAfter, func() {
			for _, c := range lost {
				_ = c.abort()
			}
		})
	}
}

// IsCut reports whether the node is cut off now.
func (s *Switch) IsCut() bool {
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cut
}

// SetDelay makes every write and packet take d longer, and loses the fraction loss (0 to 1) of packets; a
// stream loses nothing but waits for a retransmission instead. Zero values heal.
func (s *Switch) SetDelay(d time.Duration, loss float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.delay, s.loss = d, loss
}

// Dial connects like net.Dialer, unless the node is cut off, and puts the connection under the switch.
func (s *Switch) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if s.IsCut() {
		return nil, &net.OpError{Op: "dial", Net: network, Err: ErrCut}
	}
	c, err := s.Under().DialContext(ctx, network, addr)
	if err != nil || s == nil {
		return c, err
	}
	return s.Wrap(c)
}

// Wrap puts a connection under the switch. While the node is cut off it closes c and returns ErrCut.
func (s *Switch) Wrap(c net.Conn) (net.Conn, error) {
	if s == nil {
		return c, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cut {
		_ = c.Close()
		return nil, &net.OpError{Op: "wrap", Net: c.LocalAddr().Network(), Err: ErrCut}
	}
	w := &conn{Conn: c, sw: s, dead: make(chan struct{})}
	if s.conns == nil {
		s.conns = make(map[*conn]struct{})
	}
	s.conns[w] = struct{}{}
	return w, nil
}

// Listen puts every connection that l accepts under the switch. While the node is cut off, connections are
// closed as they come and Accept keeps waiting.
func (s *Switch) Listen(l net.Listener) net.Listener {
	if s == nil {
		return l
	}
	return &listener{Listener: l, sw: s}
}

// DropPacket decides the fate of one packet that is sent or received.
func (s *Switch) DropPacket() bool {
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cut || (s.loss > 0 && rand.Float64() < s.loss)
}

// PacketDelay returns how much later the next packet is to be sent.
func (s *Switch) PacketDelay() time.Duration {
	if s == nil {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.delay
}

// writeDelay returns how long the next write to a stream takes.
func (s *Switch) writeDelay() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.delay
	if s.loss > 0 && rand.Float64() < s.loss {
		d += retransmit
	}
	return d
}

func (s *Switch) forget(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

type listener struct {
	net.Listener
	sw *Switch
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if w, err := l.sw.Wrap(c); err == nil {
			return w, nil
		}
	}
}
