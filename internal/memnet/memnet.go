// Package memnet is a network in memory: hosts with addresses of their own, streams and packets between them,
// and faults as methods. Tests run whole clusters on it, mostly inside a testing/synctest bubble, where
// delays and timeouts pass in fake time.
//
//	n := memnet.New(1)
//	a, b := n.Host("a"), n.Host("b")
//	l, err := b.Listen("tcp", ":7000")
//	c, err := a.DialContext(ctx, "tcp", "b:7000")
//	n.Shape(memnet.Quality{Delay: 20 * time.Millisecond, Loss: 0.01})
//	n.Partition("b") // b on one side, everybody else on the other
//	n.Heal()
//
// A stream behaves as TCP does. What is sent across a partition is kept and arrives after Heal, unless
// somebody gives up before; a dial across one waits. A lost segment costs the time until it is sent again, a
// lost packet is gone. A writer whose peer does not read blocks when the buffer between them is full.
// Addresses are *net.TCPAddr and *net.UDPAddr; an address to dial names its host by name or by IP.
//
// The package starts no goroutine, and everything that waits in it waits on channels and timers, which is
// what a bubble needs: a Network belongs to the bubble that it was made in. Chance comes from the seed, one
// source for each direction between two hosts, so that what other hosts send does not shift it. What is not
// repeated is the order in which goroutines that run at the same instant reach the network.
package memnet

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	// retransmit is what a lost segment costs a stream, which cannot lose bytes; a lost dial costs redial.
	retransmit = 200 * time.Millisecond
	redial     = time.Second

	// maxHosts is how many hosts have an address: each has a /16 network of its own, 10.N.0.1.
	maxHosts = 255

	// firstPort is where ports begin that nobody asked for by number.
	firstPort = 40_000
)

// Quality is how a network treats what it carries. The zero value is perfect.
type Quality struct {
	Delay  time.Duration // one way
	Jitter time.Duration // at most so much is added by chance; packets may then overtake each other
	Loss   float64       // share of packets and segments lost, 0 to 1
}

// Network is a set of hosts. Its methods may be called at any time from any goroutine.
type Network struct {
	seed uint64

	mu      sync.Mutex
	hosts   map[string]*Host // by name and by IP
	count   int
	links   map[[2]*Host]*link
	usual   Quality
	special map[*Host]Quality
	islands []map[*Host]bool
	oneWay  map[[2]*Host]bool
	streams map[*conn]struct{} // the dialed ends
	changed chan struct{}      // closed and replaced when a cut begins or ends
}

// New returns a network without hosts whose chances follow from seed.
func New(seed uint64) *Network {
	return &Network{
		seed: seed, hosts: make(map[string]*Host), links: make(map[[2]*Host]*link),
		special: make(map[*Host]Quality), oneWay: make(map[[2]*Host]bool), streams: make(map[*conn]struct{}),
		changed: make(chan struct{}),
	}
}

// Host returns the host of that name, which it makes the first time.
func (n *Network) Host(name string) *Host {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.hostLocked(name)
}

func (n *Network) hostLocked(name string) *Host {
	if h := n.hosts[name]; h != nil {
		return h
	}
	if n.count++; n.count > maxHosts {
		panic(fmt.Sprintf("memnet: more than %d hosts", maxHosts))
	}
	h := &Host{
		net: n, name: name, ip: netip.AddrFrom4([4]byte{10, byte(n.count), 0, 1}),
		listeners: make(map[int]*listener), packets: make(map[int]*packetConn), next: firstPort,
	}
	n.hosts[name], n.hosts[h.ip.String()] = h, h
	return h
}

// Shape sets the quality of what the named hosts send and receive, or of everything that has no quality of
// its own when none is named. What is under way keeps the quality that it was sent with.
func (n *Network) Shape(q Quality, hosts ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(hosts) == 0 {
		n.usual = q
	}
	for _, name := range hosts {
		n.special[n.hostLocked(name)] = q
	}
}

// Partition cuts the named hosts off from all others, those that come later too. It adds to earlier cuts.
func (n *Network) Partition(hosts ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	island := make(map[*Host]bool)
	for _, name := range hosts {
		island[n.hostLocked(name)] = true
	}
	n.islands = append(n.islands, island)
	n.refreshLocked()
}

// Cut cuts one direction: what host from sends to host to does not arrive.
func (n *Network) Cut(from, to string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.oneWay[[2]*Host{n.hostLocked(from), n.hostLocked(to)}] = true
	n.refreshLocked()
}

// Heal ends all partitions and cuts.
func (n *Network) Heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.islands = nil
	clear(n.oneWay)
	n.refreshLocked()
}

// Reset breaks the open streams between two hosts: both ends meet ECONNRESET at once. New ones may be dialed.
func (n *Network) Reset(a, b string) {
	n.mu.Lock()
	x, y := n.hostLocked(a), n.hostLocked(b)
	var broken []*conn
	for c := range n.streams {
		if c.host == x && c.peer.host == y || c.host == y && c.peer.host == x {
			broken = append(broken, c)
		}
	}
	n.mu.Unlock()
	for _, c := range broken {
		c.in.reset()
		c.out.reset()
	}
}

// refreshLocked brings the links in step with the cuts.
func (n *Network) refreshLocked() {
	now := time.Now()
	for ends, l := range n.links {
		if cut := n.isCutLocked(ends); cut != l.cut {
			l.cut, l.since = cut, now
		}
	}
	close(n.changed)
	n.changed = make(chan struct{})
}

func (n *Network) isCutLocked(ends [2]*Host) bool {
	for _, island := range n.islands {
		if island[ends[0]] != island[ends[1]] {
			return true
		}
	}
	return n.oneWay[ends]
}

// link is one direction between two hosts. Its fields are guarded by Network.mu.
type link struct {
	net   *Network
	ends  [2]*Host
	cut   bool
	since time.Time // when cut last changed
	rng   *rand.Rand
}

func (n *Network) link(from, to *Host) *link {
	n.mu.Lock()
	defer n.mu.Unlock()
	ends := [2]*Host{from, to}
	l := n.links[ends]
	if l == nil {
		h := fnv.New64a()
		fmt.Fprintf(h, "%q to %q", from.name, to.name)
		rng := rand.New(rand.NewPCG(n.seed, h.Sum64()))
		l = &link{net: n, ends: ends, cut: n.isCutLocked(ends), since: time.Now(), rng: rng}
		n.links[ends] = l
	}
	return l
}

// draw decides what happens to the next thing sent: how long it takes and whether it is lost on the way. A
// host's way to itself is perfect.
func (l *link) draw() (delay time.Duration, lost bool) {
	l.net.mu.Lock()
	defer l.net.mu.Unlock()
	if l.ends[0] == l.ends[1] {
		return 0, false
	}
	q := l.net.usual
	for _, h := range l.ends {
		if own, ok := l.net.special[h]; ok {
			q = own
		}
	}
	delay = q.Delay
	if q.Jitter > 0 {
		delay += time.Duration(l.rng.Int64N(int64(q.Jitter)))
	}
	return delay, q.Loss > 0 && l.rng.Float64() < q.Loss
}

// isCut reports whether nothing passes now, and returns a channel that is closed when that may have changed.
func (l *link) isCut() (bool, <-chan struct{}) {
	l.net.mu.Lock()
	defer l.net.mu.Unlock()
	return l.cut, l.net.changed
}

// arrived reports whether what was due at that time has come: unless a cut that still lasts was there first.
// If not yet, wait says how long it takes; 0 means until changed is closed.
func (l *link) arrived(due time.Time) (ok bool, wait time.Duration, changed <-chan struct{}) {
	l.net.mu.Lock()
	defer l.net.mu.Unlock()
	if l.cut && !due.Before(l.since) {
		return false, 0, l.net.changed
	}
	wait = time.Until(due)
	return wait <= 0, wait, l.net.changed
}

// opError is what every failing operation returns, as package net does.
func opError(op, network string, from, to net.Addr, err error) error {
	return &net.OpError{Op: op, Net: network, Source: from, Addr: to, Err: err}
}
