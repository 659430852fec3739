package memnet

import (
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
)

const (
	// maxPacket is the size in bytes of the largest packet.
	maxPacket = 65_507
	// maxWaiting bounds the bytes that wait for a reader of packets; what comes beyond it is lost.
	maxWaiting = 1 << 20
)

// packetConn is a port for packets.
type packetConn struct {
	host   *Host
	addr   *net.UDPAddr
	readBy deadline
	once   sync.Once
	closed chan struct{}

	mu      sync.Mutex
	waiting []packet // by due time
	size    int
	wake    chan struct{} // closed when a packet was sent here; nil while nobody waits
}

type packet struct {
	due  time.Time
	from *net.UDPAddr
	data []byte
}

// ListenPacket opens a port for packets; ":0" takes a free one. The network is "udp". Errors: EADDRINUSE,
// EADDRNOTAVAIL.
func (h *Host) ListenPacket(network, addr string) (net.PacketConn, error) {
	port, err := h.own(addr)
	if err != nil {
		return nil, opError("listen", network, nil, nil, err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if port == 0 {
		port = h.freeLocked()
	}
	at := net.UDPAddrFromAddrPort(netip.AddrPortFrom(h.ip, uint16(port)))
	if h.packets[port] != nil {
		return nil, opError("listen", network, nil, at, os.NewSyscallError("bind", syscall.EADDRINUSE))
	}
	c := &packetConn{host: h, addr: at, closed: make(chan struct{})}
	h.packets[port] = c
	return c, nil
}

func (c *packetConn) LocalAddr() net.Addr { return c.addr }

// WriteTo sends a packet. That it is lost, or that nobody listens there, is no error.
func (c *packetConn) WriteTo(b []byte, to net.Addr) (int, error) {
	fail := func(err error) (int, error) { return 0, opError("write", "udp", c.addr, to, err) }
	if isClosed(c.closed) {
		return fail(net.ErrClosed)
	}
	if len(b) > maxPacket {
		return fail(os.NewSyscallError("sendto", syscall.EMSGSIZE))
	}
	host, port, err := c.host.net.find(to.String())
	if err != nil {
		return fail(err)
	}
	l := c.host.net.link(c.host, host)
	delay, lost := l.draw()
	if cut, _ := l.isCut(); lost || cut {
		return len(b), nil
	}
	host.mu.Lock()
	target := host.packets[port]
	host.mu.Unlock()
	if target != nil {
		target.put(packet{due: time.Now().Add(delay), from: c.addr, data: slices.Clone(b)})
	}
	return len(b), nil
}

func (c *packetConn) put(p packet) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.size+len(p.data) > maxWaiting {
		return
	}
	at := len(c.waiting)
	for at > 0 && c.waiting[at-1].due.After(p.due) {
		at--
	}
	c.waiting = slices.Insert(c.waiting, at, p)
	c.size += len(p.data)
	if c.wake != nil {
		close(c.wake)
		c.wake = nil
	}
}

// ReadFrom returns the next packet that has arrived; what b has no room for is lost.
func (c *packetConn) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		if err := check(c.closed, &c.readBy); err != nil {
			return 0, nil, opError("read", "udp", c.addr, nil, err)
		}
		c.mu.Lock()
		var wait time.Duration
		if len(c.waiting) > 0 {
			p := c.waiting[0]
			if wait = time.Until(p.due); wait <= 0 {
				c.waiting = slices.Delete(c.waiting, 0, 1)
				c.size -= len(p.data)
				c.mu.Unlock()
				return copy(b, p.data), p.from, nil
			}
		}
		if c.wake == nil {
			c.wake = make(chan struct{})
		}
		wake := c.wake
		c.mu.Unlock()
		(&arrival{wait: wait}).await(wake, c.closed, &c.readBy)
	}
}

// Close frees the port.
func (c *packetConn) Close() error {
	err := opError("close", "udp", nil, c.addr, net.ErrClosed)
	c.once.Do(func() {
		err = nil
		c.host.mu.Lock()
		delete(c.host.packets, c.addr.Port)
		c.host.mu.Unlock()
		close(c.closed)
		c.readBy.set(time.Time{})
	})
	return err
}

func (c *packetConn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

func (c *packetConn) SetReadDeadline(t time.Time) error {
	if isClosed(c.closed) {
		return opError("set", "udp", nil, c.addr, net.ErrClosed)
	}
	c.readBy.set(t)
	return nil
}

// SetWriteDeadline does nothing: sending a packet never waits.
func (c *packetConn) SetWriteDeadline(time.Time) error { return nil }
