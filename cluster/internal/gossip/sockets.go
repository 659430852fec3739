package gossip

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
	"golang.org/x/sync/errgroup"

	"github.com/starling-swarm/starling/internal/netfault"
)

const (
	maxPacket   = 64 << 10
	receiveBuf  = 1 << 20
	bindRetries = 10 // a free TCP port need not be free for UDP
)

// sockets are the UDP and the TCP socket of a node, on one port. They outlive the memberlists that use them.
type sockets struct {
	udp net.PacketConn
	tcp net.Listener // under the switch
	sw  *netfault.Switch

	mu   sync.Mutex
	user *transport // who gets what arrives
}

func listen(bind string, sw *netfault.Switch) (*sockets, error) {
	var err error
	for range bindRetries {
		var tcp net.Listener
		if tcp, err = sw.Under().Listen("tcp", bind); err != nil {
			return nil, err
		}
		var udp net.PacketConn
		udp, err = sw.Under().ListenPacket("udp", tcp.Addr().String())
		if err == nil {
			if u, ok := udp.(*net.UDPConn); ok {
				_ = u.SetReadBuffer(receiveBuf) // a smaller one only loses more packets
			}
			return &sockets{udp: udp, tcp: sw.Listen(tcp), sw: sw}, nil
		}
		_ = tcp.Close()
	}
	return nil, err
}

func (s *sockets) close() {
	_ = s.udp.Close()
	_ = s.tcp.Close()
}

// read passes on packets and connections until the sockets are closed.
func (s *sockets) read(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.readPackets(ctx) })
	group.Go(func() error { return s.accept(ctx) })
	return group.Wait()
}

func (s *sockets) readPackets(ctx context.Context) error {
	buf := make([]byte, maxPacket)
	for {
		n, from, err := s.udp.ReadFrom(buf)
		if err != nil {
			return closing(ctx, err)
		}
		if n == 0 || s.sw.DropPacket() {
			continue
		}
		p := &memberlist.Packet{Buf: append([]byte(nil), buf[:n]...), From: from, Timestamp: time.Now()}
		if t := s.current(); t != nil {
			select {
			case t.packets <- p:
			case <-t.done:
			}
		}
	}
}

func (s *sockets) accept(ctx context.Context) error {
	for {
		c, err := s.tcp.Accept()
		if err != nil {
			return closing(ctx, err)
		}
		t := s.current()
		if t == nil {
			_ = c.Close()
			continue
		}
		select {
		case t.streams <- c:
		case <-t.done:
			_ = c.Close()
		}
	}
}

// closing turns the error of a socket that was closed on purpose into nil.
func closing(ctx context.Context, err error) error {
	if errors.Is(err, net.ErrClosed) || ctx.Err() != nil {
		return nil
	}
	return err
}

func (s *sockets) current() *transport {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.user
}

// transport is the memberlist.Transport of one memberlist.
type transport struct {
	socks   *sockets
	ip      net.IP // advertised
	port    int
	packets chan *memberlist.Packet
	streams chan net.Conn
	done    chan struct{}
	once    sync.Once
}

// use makes a transport the receiver of what arrives.
func (s *sockets) use(ip net.IP, port int) *transport {
	t := &transport{socks: s, ip: ip, port: port, packets: make(chan *memberlist.Packet),
		streams: make(chan net.Conn), done: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.user = t
	return t
}

func (t *transport) FinalAdvertiseAddr(string, int) (net.IP, int, error) { return t.ip, t.port, nil }
func (t *transport) PacketCh() <-chan *memberlist.Packet                 { return t.packets }
func (t *transport) StreamCh() <-chan net.Conn                           { return t.streams }

// WriteTo sends a packet to an address of memberlist's, which is never a name.
func (t *transport) WriteTo(b []byte, addr string) (time.Time, error) {
	to, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		return time.Time{}, err
	}
	if t.socks.sw.DropPacket() {
		return time.Now(), nil
	}
	if d := t.socks.sw.PacketDelay(); d > 0 {
		late := append([]byte(nil), b...)
		time.AfterFunc(d, func() { _, _ = t.socks.udp.WriteTo(late, to) })
		return time.Now(), nil
	}
	_, err = t.socks.udp.WriteTo(b, to)
	return time.Now(), err
}

func (t *transport) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return t.socks.sw.Dial(ctx, "tcp", addr)
}

// Shutdown detaches the transport; the sockets stay open.
func (t *transport) Shutdown() error {
	t.once.Do(func() {
		t.socks.mu.Lock()
		if t.socks.user == t {
			t.socks.user = nil
		}
		t.socks.mu.Unlock()
		close(t.done)
	})
	return nil
}
