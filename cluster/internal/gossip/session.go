package gossip

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"
	"log"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

const (
	keyLabel       = "starling/v1/gossip\x00"
	streamTimeout  = 2 * time.Second
	resolveTimeout = time.Second
	// between attempts to find missing nodes; doubles up to Config.Rejoin
	firstPause = 20 * time.Millisecond
	seekGone   = 10 * time.Minute // how long a silent node is looked for where it was last seen
)

// instance is one run of one node: a restarted node is a new instance, so that its new address never
// conflicts with the old one, which memberlist believes in until probes fail.
type instance struct {
	node    ident.NodeID
	started uint64 // Unix milliseconds
	meta    []byte
	addr    string
	state   State
	since   time.Time
}

// nameOf returns the memberlist name of an instance: node ID, a dot, and the start in 16 hex digits.
func nameOf(node ident.NodeID, started uint64) string { return fmt.Sprintf("%s.%016x", node, started) }

func parseName(name string) (node ident.NodeID, started uint64, err error) {
	id, start, ok := strings.Cut(name, ".")
	if !ok || len(start) != 16 {
		return node, 0, fault.New(fault.Invalid, "parse gossip name", "%q has no start", name)
	}
	if started, err = strconv.ParseUint(start, 16, 64); err != nil {
		return node, 0, fault.New(fault.Invalid, "parse gossip name", "start %q is not hexadecimal", start)
	}
	if node, err = ident.ParseNodeID(id); err != nil {
		return node, 0, err
	}
	if nameOf(node, started) != name { // memberlist compares these as text
		return node, 0, fault.New(fault.Invalid, "parse gossip name", "%q is not in lower case", name)
	}
	return node, started, nil
}

// session runs one memberlist until ctx ends, or until the advertised address changes: then again is true.
func (g *Gossip) session(ctx context.Context) (again bool, err error) {
	advertised, err := g.advertised(ctx)
	if err != nil {
		return g.retry(ctx, "advertised address does not resolve", err)
	}
	conf := memberlist.DefaultLANConfig()
	conf.Name = nameOf(g.cfg.Node, uint64(time.Now().UnixMilli()))
	secret := g.cfg.Secret.Reveal()
	if conf.SecretKey, err = hkdf.Key(sha256.New, secret[:], nil, keyLabel, 32); err != nil {
		return false, err
	}
	conf.Transport = g.socks.use(advertised.Addr().AsSlice(), int(advertised.Port()))
	conf.Delegate = delegate{g}
	conf.Events = events{g}
	conf.Alive = events{g}
	conf.Logger = log.New(newLines(g.cfg.Logger), "", 0)
	conf.GossipInterval, conf.GossipNodes = 100*time.Millisecond, 4
	conf.ProbeInterval, conf.ProbeTimeout = time.Second, 500*time.Millisecond
	conf.SuspicionMult, conf.SuspicionMaxTimeoutMult, conf.AwarenessMaxMultiplier = 3, 2, 3
	conf.TCPTimeout = streamTimeout
	conf.PushPullInterval = 15 * time.Second

	list, err := memberlist.Create(conf)
	if err != nil {
		return false, err
	}
	g.attach(list)
	again = g.seek(ctx, list, advertised)
	g.attach(nil)
	if !g.crash.Load() {
		_ = list.Leave(leaveTimeout) // times out when nobody is there
	}
	return again, list.Shutdown()
}

func (g *Gossip) attach(list *memberlist.Memberlist) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.list = list
}

// retry pauses before another session; it ends with ctx.
func (g *Gossip) retry(ctx context.Context, why string, err error) (bool, error) {
	g.cfg.Logger.Warn("gossip waits", "event", why, "err", err)
	select {
	case <-ctx.Done():
		return false, nil
	case <-time.After(g.cfg.Rejoin):
		return true, nil
	}
}

// seek looks for missing nodes until ctx ends. It returns true when the advertised address has changed.
func (g *Gossip) seek(ctx context.Context, list *memberlist.Memberlist, advertised netip.AddrPort) bool {
	pause := firstPause
	for ctx.Err() == nil {
		changes := g.Changes()
		if now, err := g.advertised(ctx); err == nil && now != advertised {
			return true
		}
		missing := g.missing(ctx, advertised)
		var calls sync.WaitGroup
		for _, addr := range missing {
			// who does not answer is missing in the next round
			calls.Go(func() { _, _ = list.Join([]string{addr}) })
		}
		calls.Wait()
		if len(missing) == 0 {
			pause = g.cfg.Rejoin
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-timer.C:
			pause = min(2*pause, g.cfg.Rejoin)
		case <-changes:
			pause = firstPause
			// Let a burst of changes settle: each would ask for another round.
			select {
			case <-ctx.Done():
			case <-time.After(firstPause):
			}
		}
		timer.Stop()
	}
	return false
}

// missing returns the addresses at which a node should be and no living member is.
func (g *Gossip) missing(ctx context.Context, self netip.AddrPort) []string {
	var wanted []string
	here := map[string]bool{self.String(): true, g.Addr(): true}
	for _, m := range g.Members() {
		switch {
		case m.State == Alive:
			here[m.Addr] = true
		case time.Since(m.Since) < seekGone:
			wanted = append(wanted, m.Addr)
		}
	}
	for _, name := range g.cfg.Join {
		addrs, err := resolve(ctx, name)
		if err != nil {
			continue // a container that is down has no name
		}
		var texts []string
		for _, a := range addrs {
			texts = append(texts, a.String())
		}
		if !slices.ContainsFunc(texts, func(a string) bool { return here[a] }) {
			wanted = append(wanted, texts...)
		}
	}
	wanted = slices.DeleteFunc(wanted, func(a string) bool { return here[a] })
	slices.Sort(wanted)
	return slices.Compact(wanted)
}

// advertised returns the address at which peers reach this node.
func (g *Gossip) advertised(ctx context.Context) (netip.AddrPort, error) {
	bound := g.socks.tcp.Addr().(*net.TCPAddr).AddrPort()
	if g.cfg.Advertise == "" {
		addr := bound.Addr().Unmap()
		if addr.IsUnspecified() {
			var err error
			if addr, err = ownAddress(); err != nil {
				return netip.AddrPort{}, err
			}
		}
		return netip.AddrPortFrom(addr, bound.Port()), nil
	}
	addrs, err := resolve(ctx, g.cfg.Advertise)
	if err != nil {
		return netip.AddrPort{}, err
	}
	if addrs[0].Port() == 0 {
		return netip.AddrPortFrom(addrs[0].Addr(), bound.Port()), nil
	}
	return addrs[0], nil
}

// resolve looks up host:port; the answer is sorted and not empty.
func resolve(ctx context.Context, hostport string) ([]netip.AddrPort, error) {
	host, service, err := net.SplitHostPort(hostport)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	port, err := net.DefaultResolver.LookupPort(ctx, "tcp", service)
	if err != nil {
		return nil, err
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	var addrs []netip.AddrPort
	for _, ip := range ips {
		addrs = append(addrs, netip.AddrPortFrom(ip.Unmap(), uint16(port)))
	}
	slices.SortFunc(addrs, netip.AddrPort.Compare)
	return addrs, nil
}

// ownAddress returns the first address of this machine that others can use, and loopback if there is none.
func ownAddress() (netip.Addr, error) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return netip.Addr{}, err
	}
	for _, a := range addrs {
		p, err := netip.ParsePrefix(a.String())
		if err == nil && p.Addr().Is4() && p.Addr().IsGlobalUnicast() {
			return p.Addr(), nil
		}
	}
	return netip.AddrFrom4([4]byte{127, 0, 0, 1}), nil
}
