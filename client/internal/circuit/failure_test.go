package circuit

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/starling-swarm/starling/internal/directory"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/onionrouter/onion"
)

func TestEveryNodeOfAPathMayCrash(t *testing.T) {
	for place, name := range []string{"guard", "middle", "exit", "storage node"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := startCluster(t, 7, []int{0, 1, 2}, []int{2, 3, 4})
			m := c.mailboxIn(1, 1)
			n, _ := c.connect(t.TempDir(), c.mailboxIn(0, 1), nil)
			_, path, err := n.Do(within(t), "send", m, storeOf(m, "before"), unsigned)
			if err != nil {
				t.Fatal(err)
			}
			victim := n.Status().Circuits[0].Storage
			if place < 3 {
				victim = path[place]
			}
			c.crash(c.node(victim))
			_, path, err = n.Do(within(t), "send", m, storeOf(m, "after"), unsigned)
			if err != nil {
				t.Fatal(err)
			}
			if slices.Contains(path[:], victim) {
				t.Errorf("path %v leads through the node that crashed", path)
			}
		})
	}
}

func TestSubscriptionComesBackAfterACrash(t *testing.T) {
	c := five(t)
	m := c.mailboxIn(0, 1)
	n, _ := c.connect(t.TempDir(), m, nil)
	got, end := subscribe(within(t), n, m, 0)
	if _, _, err := n.Do(within(t), PurposeInbox, m, storeOf(m, "one"), unsigned); err != nil {
		t.Fatal(err)
	}
	<-got
	c.crash(c.node(n.Status().Circuits[0].Storage))
	if err := <-end; !errors.Is(err, fault.Unavailable) {
		t.Fatalf("end of the subscription: %v, want unavailable", err)
	}
	got, end = subscribe(within(t), n, m, 1)
	for {
		if _, _, err := n.Do(within(t), PurposeInbox, m, storeOf(m, "two"), unsigned); err != nil {
			t.Fatal(err)
		}
		select {
		case e := <-got:
			if e.Seq != 2 || string(e.Body) != "two" {
				t.Errorf("got %d %q, want the envelope after the cursor", e.Seq, e.Body)
			}
			return
		case <-end: // the way was not clear yet
			got, end = subscribe(within(t), n, m, 1)
		}
	}
}

func TestRefusedGuardIsLeftAndFoundAgain(t *testing.T) {
	c := startCluster(t, 7, []int{0, 1, 2}, []int{2, 3, 4})
	m := c.mailboxIn(1, 1)
	dir := t.TempDir()
	n, stop := c.connect(dir, c.mailboxIn(0, 1), nil)
	_, path, err := n.Do(within(t), "send", m, storeOf(m, "1"), unsigned)
	if err != nil {
		t.Fatal(err)
	}
	guard := path[0]
	stop()
	// Over restarts the guard stays.
	for i := range 5 {
		n, stop = c.connect(dir, c.mailboxIn(0, 1), nil)
		if _, path, err = n.Do(within(t), "send", m, storeOf(m, fmt.Sprint(i)), unsigned); err != nil {
			t.Fatal(err)
		}
		if path[0] != guard {
			t.Fatalf("guard %s after a restart, want %s", path[0].Short(), guard.Short())
		}
		stop()
	}
	c.crash(c.node(guard))
	n, stop = c.connect(dir, c.mailboxIn(0, 1), nil)
	if _, path, err = n.Do(within(t), "send", m, storeOf(m, "2"), unsigned); err != nil {
		t.Fatal(err)
	}
	if path[0] == guard {
		t.Fatal("the guard that crashed is on the path")
	}
	stop()
	c.start(c.node(guard))
	c.publish(nil)
	later := func(cfg *Config) {
		cfg.Clock = func() time.Time { return time.Now().Add(guardRetryMin) }
	}
	n, _ = c.connect(dir, c.mailboxIn(0, 1), later)
	if _, path, err = n.Do(within(t), "send", m, storeOf(m, "3"), unsigned); err != nil {
		t.Fatal(err)
	}
	if path[0] != guard {
		t.Errorf("guard %s after the first one came back, want %s", path[0].Short(), guard.Short())
	}
}

func TestOneFailingMiddleNeverMovesTheGuard(t *testing.T) {
	c := startCluster(t, 8, []int{0, 1, 2}, []int{2, 3, 4})
	m := c.mailboxIn(1, 1)
	n, _ := c.connect(t.TempDir(), c.mailboxIn(0, 1), nil)
	_, path, err := n.Do(within(t), "send", m, storeOf(m, "1"), unsigned)
	if err != nil {
		t.Fatal(err)
	}
	c.crash(c.node(path[1]))
	for i := range 20 {
		k := key{fmt.Sprint("circuit ", i), m}
		l, err := n.circuit(within(t), k)
		if err != nil {
			continue // this one met the node that crashed
		}
		if l.path.Guard != path[0] {
			t.Fatalf("circuit %d has guard %s, want %s", i, l.path.Guard.Short(), path[0].Short())
		}
	}
}

// A guard that says of every middle but one that it is out of reach tries to choose the path. The client
// believes it once and then leaves it.
func TestLyingGuardCannotSteerThePath(t *testing.T) {
	c := startCluster(t, 12, []int{0, 1, 2}, []int{2, 3, 4})
	m := c.mailboxIn(1, 1)
	n, _ := c.connect(t.TempDir(), c.mailboxIn(0, 1), nil)
	_, path, err := n.Do(within(t), "send", m, storeOf(m, "1"), unsigned)
	if err != nil {
		t.Fatal(err)
	}
	liar := c.node(path[0])
	var accomplice ident.NodeID
	for _, node := range c.nodes[5:] {
		if !slices.Contains(path[:], node.id) && !slices.Contains(n.state.middles(), node.id) {
			accomplice = node.id
		}
	}
	c.mu.Lock()
	liar.refuse = func(id ident.NodeID) bool { return id != accomplice }
	c.mu.Unlock()
	for i := range 10 {
		_, path, err := n.Do(within(t), fmt.Sprint("purpose ", i), m, storeOf(m, fmt.Sprint(i)), unsigned)
		if err != nil {
			t.Fatal(err)
		}
		if path[0] == liar.id {
			t.Fatalf("circuit %d goes through the liar, to %s", i, path[1].Short())
		}
	}
}

func TestGuardCutOffFromTheOthersIsPassedBy(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 8, []int{0, 1, 2}, []int{2, 3, 4})
	m := c.mailboxIn(1, 1)
	n, _ := c.connect(t.TempDir(), c.mailboxIn(0, 1), nil)
	_, path, err := n.Do(within(t), "send", m, storeOf(m, "1"), unsigned)
	if err != nil {
		t.Fatal(err)
	}
	guard := path[0]
	c.mu.Lock()
	c.node(guard).mute = true
	c.mu.Unlock()
	for i := range 3 { // the second guard helps out, then the first is passed over
		_, path, err = n.Do(within(t), fmt.Sprint("purpose ", i), m, storeOf(m, fmt.Sprint(i)), unsigned)
		if err != nil {
			t.Fatal(err)
		}
		if slices.Contains(path[:], guard) {
			t.Fatalf("circuit %d goes through the guard that reaches nobody", i)
		}
	}
}

func TestReplicaThatCannotServeIsLeft(t *testing.T) {
	c := five(t)
	m := c.mailboxIn(1, 1)
	n, _ := c.connect(t.TempDir(), c.mailboxIn(0, 1), nil)
	if err := n.Prepare(within(t), "send", m); err != nil {
		t.Fatal(err)
	}
	bad := n.Status().Circuits[0].Storage
	c.boxes.answer = func(node ident.NodeID, _ *envelope.Request) *envelope.Response {
		if node == bad {
			return &envelope.Response{Failed: 0,
				Results: []envelope.Result{{Err: fault.New(fault.Unavailable, "", "no leader")}}}
		}
		return nil
	}
	if _, _, err := n.Do(within(t), "send", m, storeOf(m, "x"), unsigned); err != nil {
		t.Fatal(err)
	}
	if got := n.Status().Circuits; len(got) != 1 || got[0].Storage == bad {
		t.Errorf("circuits %+v, want one to another replica", got)
	}
}

// TestNodeThatIsDeadIsAvoidedLongest leaves no path without nodes that are to be avoided: all were blamed for
// the circuits that ended with the one that is dead.
func TestNodeThatIsDeadIsAvoidedLongest(t *testing.T) {
	c := five(t)
	m := c.mailboxIn(1, 1)
	n, _ := c.connect(t.TempDir(), c.mailboxIn(0, 1), nil)
	if err := n.Prepare(within(t), "send", m); err != nil {
		t.Fatal(err)
	}
	first := n.Status().Circuits[0]
	dead := c.node(first.Path[1])
	c.crash(dead)
	for _, node := range c.nodes {
		if node.id != first.Path[0] && node != dead {
			n.avoid(node.id, avoidFailed)
		}
	}
	n.avoid(dead.id, 2*avoidFailed)
	for range 20 {
		p, err := n.plan(within(t), m, ident.NodeID{})
		if err != nil {
			t.Fatal(err)
		}
		if hops := p.path.Hops(); slices.Contains(hops[:], dead.id) {
			t.Fatalf("path %v goes through %s, which is dead", hops, dead.id.Short())
		}
	}
	if _, _, err := n.Do(within(t), "send", m, storeOf(m, "x"), unsigned); err != nil {
		t.Fatal(err)
	}
}

func TestElsewhereAsksAnotherReplica(t *testing.T) {
	c := five(t)
	m := c.mailboxIn(1, 1)
	n, _ := c.connect(t.TempDir(), c.mailboxIn(0, 1), nil)
	asked := map[ident.NodeID]bool{}
	for range 2 { // the guard may be the third: it never is the end of a path
		if _, _, err := n.Do(within(t), "send", m, storeOf(m, "x"), unsigned); err != nil {
			t.Fatal(err)
		}
		for _, l := range n.Status().Circuits {
			asked[l.Storage] = true
		}
		n.Elsewhere(m)
	}
	if len(asked) != 2 {
		t.Errorf("%d replicas were asked, want 2", len(asked))
	}
}

func TestErrorsOfOperationsAreNotRepeated(t *testing.T) {
	c := five(t)
	m := c.mailboxIn(1, 1)
	n, _ := c.connect(t.TempDir(), c.mailboxIn(0, 1), nil)
	asked := 0
	c.boxes.answer = func(ident.NodeID, *envelope.Request) *envelope.Response {
		asked++
		return &envelope.Response{Failed: 0,
			Results: []envelope.Result{{Err: &fault.Error{Kind: fault.Stale, Head: 7}}}}
	}
	resp, _, err := n.Do(within(t), "send", m, storeOf(m, "x"), unsigned)
	if err != nil || asked != 1 {
		t.Fatalf("asked %d times: %v", asked, err)
	}
	if e := resp.Results[0].Err; e == nil || e.Kind != fault.Stale || e.Head != 7 {
		t.Errorf("got %v", e)
	}
}

func TestWrongSwarmFetchesANewerDirectory(t *testing.T) {
	c := startCluster(t, 6, []int{0, 1, 2}, []int{3, 4, 5})
	m := c.mailboxIn(1, 1)
	n, _ := c.connect(t.TempDir(), c.mailboxIn(0, 1), nil)
	if err := n.Prepare(within(t), "send", m); err != nil {
		t.Fatal(err)
	}
	// The slots of the second swarm move to the first.
	c.publish(func(d *directory.Directory) {
		d.Slots = []directory.SlotRange{{First: 0, Last: ident.SlotCount - 1, Swarm: 1, Config: 2}}
		d.Swarms = d.Swarms[:1]
	})
	d, _ := c.Current()
	c.boxes.answer = func(node ident.NodeID, _ *envelope.Request) *envelope.Response {
		if slices.Contains(d.Swarms[0].Replicas, node) {
			return nil
		}
		return &envelope.Response{Failed: 0,
			Results: []envelope.Result{{Err: &fault.Error{Kind: fault.WrongSwarm, Version: d.Version}}}}
	}
	if _, _, err := n.Do(within(t), "send", m, storeOf(m, "x"), unsigned); err != nil {
		t.Fatal(err)
	}
	if got := n.Directory().Version; got != d.Version {
		t.Errorf("directory version %d, want %d", got, d.Version)
	}
}

// TestNodesThatForgotTheKeysOfADirectoryAreReached: nodes refuse keys that they do not have without a word.
func TestNodesThatForgotTheKeysOfADirectoryAreReached(t *testing.T) {
	c := five(t)
	for _, node := range c.nodes {
		c.crash(node)
		if err := os.RemoveAll(filepath.Join(node.dir, "onion")); err != nil {
			t.Fatal(err)
		}
		c.start(node)
	}
	n, _ := c.connect(t.TempDir(), c.mailboxIn(0, 1), nil)
	for known := false; !known; {
		// the directory with the old keys; asking for it by Do would fetch once more
		n.mu.Lock()
		v, fresh := n.view, n.fresh
		n.mu.Unlock()
		if known = v != nil; !known {
			<-fresh
		}
	}
	c.publish(nil)
	m := c.mailboxIn(1, 1)
	if _, _, err := n.Do(within(t), "send", m, storeOf(m, "x"), unsigned); err != nil {
		t.Errorf("request after the nodes published new keys: %v", err)
	}
}

func TestRolledBackDirectoryIsRefusedAfterARestart(t *testing.T) {
	c := five(t)
	m := c.mailboxIn(1, 1)
	dir := t.TempDir()
	old := c.signed
	c.publish(nil)
	n, stop := c.connect(dir, c.mailboxIn(0, 1), nil)
	if err := n.Prepare(within(t), "send", m); err != nil {
		t.Fatal(err)
	}
	want := n.Directory().Version
	stop()

	c.mu.Lock()
	c.serve, c.fetches = old, 0
	c.mu.Unlock()
	n, stop = c.connect(dir, c.mailboxIn(0, 1), nil)
	defer stop()
	if err := n.fetch(within(t)); !errors.Is(err, fault.Stale) {
		t.Errorf("fetch of version 1: got %v, want stale", err)
	}
	if got := n.Directory().Version; got != want {
		t.Errorf("directory version %d after the roll-back, want %d", got, want)
	}
}

func TestDirectoryMustBeSignedByTheClusterFilesSigners(t *testing.T) {
	c := five(t)
	n, err := New(Config{Cluster: c.file, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	foreign := newKey(t)
	forged := &directory.Signed{Body: c.signed.Body,
		Signatures: []directory.Signature{{Sig: directory.Sign(foreign, c.signed.Body)}}}
	for name, s := range map[string]*directory.Signed{
		"by somebody else": forged,
		"by nobody":        {Body: c.signed.Body},
		"over other bytes": {Body: slices.Concat(c.signed.Body[:len(c.signed.Body)-1], []byte{0xff}),
			Signatures: c.signed.Signatures},
	} {
		if _, err := n.verify(s); err == nil {
			t.Errorf("directory signed %s was accepted", name)
		}
	}
	if _, err := n.verify(c.signed); err != nil {
		t.Error(err)
	}
}

func TestStateOfAnotherClusterIsDenied(t *testing.T) {
	a, b := five(t), five(t)
	dir := t.TempDir()
	n, stop := a.connect(dir, a.mailboxIn(0, 1), nil)
	if err := n.Prepare(within(t), "send", a.mailboxIn(0, 2)); err != nil {
		t.Fatal(err)
	}
	stop()
	if _, err := New(Config{Cluster: b.file, Dir: dir}); !errors.Is(err, fault.Denied) {
		t.Errorf("got %v, want denied", err)
	}
}

func TestClusterOutOfReach(t *testing.T) {
	c := five(t)
	n, _ := c.connect(t.TempDir(), c.mailboxIn(0, 1), func(cfg *Config) {
		cfg.Dial = func(context.Context, string, string) (net.Conn, error) {
			return nil,
				errors.New("no route")
		}
	})
	m := c.mailboxIn(0, 1)
	// A subscription fails by itself; a request when its context ends.
	_, end := subscribe(within(t), n, m, 0)
	if err := <-end; !errors.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "no route") {
		t.Errorf("subscription: got %v, want unavailable and why", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if _, _, err := n.Do(ctx, "send", m, storeOf(m, "x"), unsigned); !errors.Is(err, fault.Unavailable) {
		t.Errorf("request: got %v, want unavailable", err)
	}
	if s := n.Status(); len(s.Notes) == 0 || !strings.Contains(s.Notes[0], "no route") {
		t.Errorf("notes %q do not say what is wrong", s.Notes)
	}
}

func TestClockFollowsTheMedianOfTheHops(t *testing.T) {
	hops := func(offsets ...time.Duration) (out []onion.Answer) {
		for _, o := range offsets {
			out = append(out, onion.Answer{TimeMS: time.Now().Add(o).UnixMilli()})
		}
		return out
	}
	for _, row := range []struct {
		name    string
		hops    []onion.Answer
		want    time.Duration
		warning bool
		refused bool
	}{
		{"in step", hops(0, 0, 0, 0), 0, false, false},
		{"one liar", hops(0, 0, 0, 100*time.Hour), 0, false, false},
		{"one liar back", hops(-100*time.Hour, 0, 0, 0), 0, false, false},
		{"ten minutes off", hops(10*time.Minute, 10*time.Minute, 10*time.Minute, 10*time.Minute),
			10 * time.Minute, true, false},
		{"a day and an hour off", hops(-25*time.Hour, -25*time.Hour, -25*time.Hour, -25*time.Hour),
			-25 * time.Hour, true, true},
		{"three answers", hops(time.Hour, time.Hour, time.Hour), 0, false, false},
	} {
		k := newClock(nil)
		k.fromHops(row.hops)
		if got := k.skew(); (got - row.want).Abs() > time.Second {
			t.Errorf("%s: skew %v, want %v", row.name, got, row.want)
		}
		if (k.warning() != "") != row.warning || (k.check() != nil) != row.refused {
			t.Errorf("%s: warning %q, check %v", row.name, k.warning(), k.check())
		}
	}
}

func TestNodeTimeCountsOnlyWithinTheDirectorysValidity(t *testing.T) {
	now := time.Now()
	d := &directory.Directory{IssuedAt: now.UnixMilli(), ValidUntil: now.Add(directory.Validity).UnixMilli()}
	k := newClock(nil)
	k.fromNode(now.Add(-time.Hour*24*365), d)
	if k.known() {
		t.Error("a time a year before the directory was taken")
	}
	k.fromNode(now.Add(time.Hour), d)
	if got := k.skew(); (got - time.Hour).Abs() > time.Minute {
		t.Errorf("skew %v, want an hour", got)
	}
}

func TestShutDownEndsWhatWaits(t *testing.T) {
	c := five(t)
	m := c.mailboxIn(0, 1)
	n, stop := c.connect(t.TempDir(), m, nil)
	got, end := subscribe(within(t), n, m, 0)
	if _, _, err := n.Do(within(t), PurposeInbox, m, storeOf(m, "x"), unsigned); err != nil {
		t.Fatal(err)
	}
	<-got
	stop()
	if err := <-end; !errors.Is(err, fault.Unavailable) {
		t.Errorf("subscription: %v", err)
	}
	if _, _, err := n.Do(within(t), "send", m, storeOf(m, "y"), unsigned); !errors.Is(err, errClosed) {
		t.Errorf("request after the end: %v", err)
	}
}
