package gossip

import (
	"bytes"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// delegate announces the node's metadata; the other parts of memberlist's interface are not used.
type delegate struct{ g *Gossip }

func (d delegate) NodeMeta(limit int) []byte {
	d.g.mu.Lock()
	defer d.g.mu.Unlock()
	return d.g.meta
}

func (delegate) NotifyMsg([]byte)                {}
func (delegate) GetBroadcasts(int, int) [][]byte { return nil }
func (delegate) LocalState(bool) []byte          { return nil }
func (delegate) MergeRemoteState([]byte, bool)   {}

// events keeps the list of members. memberlist calls it under a lock of its own: it must not call back.
type events struct{ g *Gossip }

// NotifyAlive refuses names that are not ours.
func (e events) NotifyAlive(n *memberlist.Node) error {
	_, _, err := parseName(n.Name)
	return err
}

func (e events) NotifyJoin(n *memberlist.Node)   { e.update(n, Alive) }
func (e events) NotifyUpdate(n *memberlist.Node) { e.update(n, Alive) }
func (e events) NotifyLeave(n *memberlist.Node)  { e.update(n, Gone) }

func (e events) update(n *memberlist.Node, state State) {
	node, started, err := parseName(n.Name)
	if err != nil || node == e.g.cfg.Node {
		return
	}
	g := e.g
	g.mu.Lock()
	defer g.mu.Unlock()
	now := &instance{
		node: node, started: started, meta: bytes.Clone(n.Meta),
		addr: net.JoinHostPort(n.Addr.String(), strconv.Itoa(int(n.Port))), state: state, since: time.Now(),
	}
	if old := g.members[n.Name]; old != nil && old.state == state {
		if old.addr == now.addr && bytes.Equal(old.meta, now.meta) {
			return
		}
		now.since = old.since
	}
	g.members[n.Name] = now
	for name, m := range g.members { // earlier runs of a node are of no interest once they ended
		if m.node == node && m.state == Gone && m != now && now.better(m) {
			delete(g.members, name)
		}
	}
	g.notifyLocked()
}

// repeatAfter is how long the same complaint of memberlist is not logged again.
const repeatAfter = 30 * time.Second

// lines passes memberlist's warnings and errors to slog. Each line says "[LEVEL] memberlist: text".
type lines struct {
	to   *slog.Logger
	mu   sync.Mutex
	last map[string]time.Time
}

func newLines(to *slog.Logger) *lines { return &lines{to: to, last: make(map[string]time.Time)} }

func (l *lines) Write(p []byte) (int, error) {
	level, text, ok := bytes.Cut(p, []byte(" memberlist: "))
	if !ok || (!bytes.Equal(level, []byte("[WARN]")) && !bytes.Equal(level, []byte("[ERR]"))) {
		return len(p), nil
	}
	what, _, _ := bytes.Cut(text, []byte(":")) // what follows differs from time to time
	now := time.Now()
	l.mu.Lock()
	last, ok := l.last[string(what)]
	repeat := ok && now.Sub(last) < repeatAfter
	if !repeat {
		if len(l.last) > 100 {
			clear(l.last)
		}
		l.last[string(what)] = now
	}
	l.mu.Unlock()
	if !repeat {
		l.to.Warn("gossip", "event", string(bytes.TrimSpace(text)))
	}
	return len(p), nil
}
