package consensus

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// preambleTimeout is how long a new connection may take to name its group.
const preambleTimeout = 5 * time.Second

// MuxConfig configures a Mux.
type MuxConfig struct {
	Self ident.NodeID
	// Listener yields connections of authenticated peers. The Mux closes it.
	Listener net.Listener
	// Dial connects to a peer and authenticates it. Addresses are looked up at every call. An error that is
	// syscall.ECONNREFUSED says that no process listens at the peer's address.
	Dial func(ctx context.Context, node ident.NodeID) (net.Conn, error)
	// Admit may refuse an accepted connection for a group; nil admits every authenticated peer.
	Admit  func(c net.Conn, group ident.SwarmID) error
	Logger *slog.Logger
}

// Mux shares one listener among the groups of a node: a connection opens with the number of the group that it
// is for. Run accepts; groups register themselves when they open.
type Mux struct {
	cfg MuxConfig

	mu     sync.Mutex
	groups map[ident.SwarmID]*stream
	wait   sync.WaitGroup
}

// NewMux returns a Mux; it accepts nothing before Run.
func NewMux(cfg MuxConfig) *Mux {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Mux{cfg: cfg, groups: make(map[ident.SwarmID]*stream)}
}

// Run accepts connections and hands them to their groups until ctx ends or the listener fails. It closes the
// listener and waits for the handshakes under way. The end of ctx is no error.
func (m *Mux) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer m.wait.Wait()
	stop := context.AfterFunc(ctx, func() { _ = m.cfg.Listener.Close() })
	defer stop()
	for {
		c, err := m.cfg.Listener.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil
			}
			_ = m.cfg.Listener.Close()
			return fault.Wrap(fault.Unavailable, "accept raft connection", err)
		}
		m.wait.Go(func() { m.greet(ctx, c) })
	}
}

// greet reads the preamble of an accepted connection and passes it on.
func (m *Mux) greet(ctx context.Context, c net.Conn) {
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	group, err := readPreamble(c)
	if !stop() {
		return // ctx ended, c is closed
	}
	if err == nil && m.cfg.Admit != nil {
		err = m.cfg.Admit(c, group)
	}
	if err != nil {
		m.cfg.Logger.Debug("raft connection refused", "err", err)
		_ = c.Close()
		return
	}
	m.mu.Lock()
	s := m.groups[group]
	m.mu.Unlock()
	if s == nil || !s.offer(c) {
		_ = c.Close() // not (or no longer) a replica of that group; the peer retries
	}
}

// open registers a group and returns its stream layer.
func (m *Mux) open(group ident.SwarmID, self ServerID) (*stream, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.groups[group] != nil {
		return nil, fault.New(fault.Exists, fmt.Sprintf("open group %d", group), "is open on this node")
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &stream{mux: m, group: group, self: self, in: make(chan net.Conn), ctx: ctx, cancel: cancel,
		conns: make(map[*tracked]struct{}), lost: make(chan struct{}, 1)}
	m.groups[group] = s
	return s, nil
}

// stream is one group's view of the Mux: the raft.StreamLayer of its transport.
type stream struct {
	mux    *Mux
	group  ident.SwarmID
	self   ServerID
	in     chan net.Conn
	lost   chan struct{}   // a connection that a peer opened has closed
	ctx    context.Context // ends at Close
	cancel context.CancelFunc

	mu    sync.Mutex
	conns map[*tracked]struct{} // nil after silence
	quiet bool
}

// offer hands an accepted connection to the group; false if the group takes no more.
func (s *stream) offer(c net.Conn) bool {
	t, ok := s.track(c, true)
	if !ok {
		return false
	}
	select {
	case s.in <- t:
		return true
	case <-s.ctx.Done():
		_ = t.Close()
		return false
	}
}

// Accept returns the next connection of a peer.
func (s *stream) Accept() (net.Conn, error) {
	select {
	case c := <-s.in:
		return c, nil
	case <-s.ctx.Done():
		return nil, net.ErrClosed
	}
}

// Dial connects to the replica whose ServerID is addr.
func (s *stream) Dial(addr raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	id, err := ParseServerID(string(addr))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(s.ctx, timeout)
	defer cancel()
	c, err := s.mux.cfg.Dial(ctx, id.Node)
	if err != nil {
		return nil, err
	}
	if err := writePreamble(c, s.group); err != nil {
		_ = c.Close()
		return nil, err
	}
	t, ok := s.track(c, false)
	if !ok {
		_ = c.Close()
		return nil, net.ErrClosed
	}
	return t, nil
}

// Addr is the replica's own ServerID: addresses are looked up by the dialer.
func (s *stream) Addr() net.Addr { return serverAddr(s.self.String()) }

// Close withdraws the group from the Mux and closes its connections.
func (s *stream) Close() error {
	s.mux.mu.Lock()
	if s.mux.groups[s.group] == s {
		delete(s.mux.groups, s.group)
	}
	s.mux.mu.Unlock()
	s.cancel()
	s.silence()
	return nil
}

// silence closes every connection and lets no new one through: whatever the replica believes from here on,
// nobody hears it.
func (s *stream) silence() {
	s.mu.Lock()
	s.quiet = true
	conns := s.conns
	s.conns = nil
	s.mu.Unlock()
	for t := range conns {
		_ = t.Conn.Close()
	}
}

func (s *stream) track(c net.Conn, accepted bool) (*tracked, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.quiet {
		return nil, false
	}
	t := &tracked{Conn: c, stream: s, accepted: accepted}
	s.conns[t] = struct{}{}
	return t, true
}

// tracked is a connection that its group can close from outside.
type tracked struct {
	net.Conn
	stream   *stream
	accepted bool
}

func (t *tracked) Close() error {
	t.stream.mu.Lock()
	delete(t.stream.conns, t)
	t.stream.mu.Unlock()
	if t.accepted {
		signal(t.stream.lost)
	}
	return t.Conn.Close()
}

type serverAddr string

func (serverAddr) Network() string  { return "starling-raft" }
func (a serverAddr) String() string { return string(a) }

// writePreamble names the group that a connection is for.
func writePreamble(c net.Conn, group ident.SwarmID) error {
	_ = c.SetWriteDeadline(time.Now().Add(preambleTimeout))
	_, err := c.Write(binary.BigEndian.AppendUint32(nil, uint32(group)))
	_ = c.SetWriteDeadline(time.Time{})
	return err
}

func readPreamble(c net.Conn) (ident.SwarmID, error) {
	var b [4]byte
	_ = c.SetReadDeadline(time.Now().Add(preambleTimeout))
	if _, err := io.ReadFull(c, b[:]); err != nil {
		return 0, err
	}
	_ = c.SetReadDeadline(time.Time{})
	return ident.SwarmID(binary.BigEndian.Uint32(b[:])), nil
}
