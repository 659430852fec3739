package memnet

import (
	"context"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// backlog is how many dialed connections wait for an Accept; a dial beyond them waits itself.
const backlog = 128

// Host is one machine of a Network, with an address and ports of its own.
type Host struct {
	net  *Network
	name string
	ip   netip.Addr

	mu        sync.Mutex
	listeners map[int]*listener
	packets   map[int]*packetConn
	next      int // port to be given away next
}

// Name returns the name that the host was made with.
func (h *Host) Name() string { return h.name }

// IP returns the host's address as text, without a port.
func (h *Host) IP() string { return h.ip.String() }

// tcp returns one of the host's addresses.
func (h *Host) tcp(port int) *net.TCPAddr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(h.ip, uint16(port)))
}

// Listen opens a port for streams; ":0" takes a free one. The network is "tcp". Errors: EADDRINUSE,
// EADDRNOTAVAIL.
func (h *Host) Listen(network, addr string) (net.Listener, error) {
	port, err := h.own(addr)
	if err != nil {
		return nil, opError("listen", network, nil, nil, err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if port == 0 {
		port = h.freeLocked()
	}
	if h.listeners[port] != nil {
		taken := os.NewSyscallError("bind", syscall.EADDRINUSE)
		return nil, opError("listen", network, nil, h.tcp(port), taken)
	}
	l := &listener{host: h, addr: h.tcp(port), queue: make(chan *conn, backlog), closed: make(chan struct{})}
	h.listeners[port] = l
	return l, nil
}

// own reads an address of this host and returns its port.
func (h *Host) own(addr string) (int, error) {
	name, service, err := net.SplitHostPort(addr)
	if err != nil {
		return 0, err
	}
	port, err := portNumber(service)
	if err != nil {
		return 0, err
	}
	if name == "" || name == h.name {
		return port, nil
	}
	if ip, err := netip.ParseAddr(name); err != nil || !ip.IsUnspecified() && ip != h.ip {
		return 0, os.NewSyscallError("bind", syscall.EADDRNOTAVAIL)
	}
	return port, nil
}

func portNumber(service string) (int, error) {
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil {
		return 0, &net.AddrError{Err: "port is no number from 0 to 65535", Addr: service}
	}
	return int(port), nil
}

// freeLocked returns a port that is free for streams and for packets.
func (h *Host) freeLocked() int {
	for {
		port := h.next
		if h.next++; h.next > 65_535 {
			h.next = firstPort
		}
		if h.listeners[port] == nil && h.packets[port] == nil {
			return port
		}
	}
}

// find returns the host and the port that an address names.
func (n *Network) find(addr string) (*Host, int, error) {
	name, service, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, 0, err
	}
	port, err := portNumber(service)
	if err != nil {
		return nil, 0, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	h := n.hosts[name]
	if h == nil {
		return nil, 0, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
	}
	return h, port, nil
}

// DialContext connects to host:port, where host is a name or an IP. The network is "tcp". A dial takes a
// round trip; while either direction is cut it waits for the end of the cut or of ctx. Errors: ECONNREFUSED
// when nobody listens there, a *net.DNSError for an unknown host, and that of ctx.
func (h *Host) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	to, port, err := h.net.find(addr)
	if err != nil {
		return nil, opError("dial", network, nil, nil, err)
	}
	far := to.tcp(port)
	forth, back := h.net.link(h, to), h.net.link(to, h)
	for _, l := range []*link{forth, back} {
		if err := l.cross(ctx); err != nil {
			return nil, opError("dial", network, nil, far, err)
		}
	}
	to.mu.Lock()
	l := to.listeners[port]
	to.mu.Unlock()
	refused := opError("dial", network, nil, far, os.NewSyscallError("connect", syscall.ECONNREFUSED))
	if l == nil {
		return nil, refused
	}
	h.mu.Lock()
	local := h.tcp(h.freeLocked())
	h.mu.Unlock()
	near, remote := connect(h, to, local, far, forth, back)
	select {
	case l.queue <- remote:
	case <-l.closed:
		return nil, refused
	case <-ctx.Done():
		return nil, opError("dial", network, nil, far, ctx.Err())
	}
	h.net.mu.Lock()
	h.net.streams[near] = struct{}{}
	h.net.mu.Unlock()
	select {
	case <-l.closed:
		l.drain() // it may have been closed before it saw the connection
	default:
	}
	return near, nil
}

// cross waits as long as the opening of a connection takes over a link.
func (l *link) cross(ctx context.Context) error {
	for {
		for {
			cut, changed := l.isCut()
			if !cut {
				break
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		delay, lost := l.draw()
		if lost {
			delay = redial
		}
		if delay > 0 {
			timer := time.NewTimer(delay)
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
				return ctx.Err()
			}
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if cut, _ := l.isCut(); !lost && !cut {
			return nil
		}
	}
}

// listener is an open port.
type listener struct {
	host   *Host
	addr   *net.TCPAddr
	queue  chan *conn
	once   sync.Once
	closed chan struct{}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case <-l.closed: // even if somebody waits
		return nil, opError("accept", "tcp", nil, l.addr, net.ErrClosed)
	default:
	}
	select {
	case c := <-l.queue:
		return c, nil
	case <-l.closed:
		return nil, opError("accept", "tcp", nil, l.addr, net.ErrClosed)
	}
}

// Close frees the port. Connections that nobody accepted are reset; accepted ones stay.
func (l *listener) Close() error {
	err := opError("close", "tcp", nil, l.addr, net.ErrClosed)
	l.once.Do(func() {
		err = nil
		l.host.mu.Lock()
		delete(l.host.listeners, l.addr.Port)
		l.host.mu.Unlock()
		close(l.closed)
		l.drain()
	})
	return err
}

func (l *listener) drain() {
	for {
		select {
		case c := <-l.queue:
			c.in.reset()
			c.out.reset()
			_ = c.Close()
		default:
			return
		}
	}
}

func (l *listener) Addr() net.Addr { return l.addr }
