package onionrouter

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/onionrouter/onion"
)

func TestSizesAreConstantOnAllLinks(t *testing.T) {
	n := startNet(t, 4, nil)
	c := n.mustCreate(0, 1, 2, 3)
	for size := range []int{0, 100, 5_000, 100_000} {
		body := make([]byte, size)
		c.message(onion.Req, uint16(2*size+1), body)
		if m := c.hearMessage(); m.Command != onion.Resp || len(m.Body) != 32+size ||
			!bytes.Equal(m.Body[:32], c.circuit.Tag[:]) {
			t.Fatalf("answer %v of %d bytes", m.Command, len(m.Body))
		}
	}
	for hop := 1; hop <= onion.Hops; hop++ {
		c.say(hop, onion.U64(onion.Ping, 0, uint64(hop)))
		if got, p, err := c.hear(); err != nil || got != hop || p.Number() != uint64(hop) {
			t.Fatalf("ping of hop %d: got %+v from hop %d, %v", hop, p, got, err)
		}
		c.say(hop, onion.Payload{Command: onion.Drop})
	}
	bad, _, err := n.create(n.params(0, 1, 2, 3), 1) // a packet for another guard
	if err == nil {
		t.Fatal("a packet for another node was served")
	}
	bad.cancel()
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.sizes) != 2 || n.sizes[onion.CreateSize] == 0 || n.sizes[onion.CellSize] == 0 {
		t.Errorf("frame sizes %v, want %d and %d only", n.sizes, onion.CreateSize, onion.CellSize)
	}
}

func TestCircuitMayPassOneNodeTwice(t *testing.T) {
	n := startNet(t, 3, nil)
	for _, path := range [][]int{{0, 1, 2, 2}, {0, 1, 2, 1}, {0, 1, 1, 1}} {
		c := n.mustCreate(path...)
		c.message(onion.Req, 1, []byte("hello"))
		if m := c.hearMessage(); string(m.Body[32:]) != "hello" {
			t.Errorf("path %v: got %q", path, m.Body)
		}
		c.cancel()
	}
}

func TestAnswersNameTimeAndDirectoryOfEachHop(t *testing.T) {
	n := startNet(t, 4, nil)
	_, answers, err := n.create(n.params(0, 1, 2, 3), 0)
	if err != nil || len(answers) != onion.Hops {
		t.Fatalf("%d answers, %v", len(answers), err)
	}
	for i, a := range answers {
		if d := time.Since(time.UnixMilli(a.TimeMS)); a.Digest != [32]byte{7} || d.Abs() > time.Minute {
			t.Errorf("hop %d says %+v", i+1, a)
		}
	}
}

// TestEveryRefusalLooksTheSame drives a guard into all its reasons to refuse.
func TestEveryRefusalLooksTheSame(t *testing.T) {
	n := startNet(t, 4, nil)
	build := func(change func(*onion.Params)) []byte {
		p := n.params(0, 1, 2, 3)
		change(&p)
		_, packet, err := onion.Build(rand.Reader, p)
		if err != nil {
			t.Fatal(err)
		}
		return packet
	}
	fine := func(*onion.Params) {}
	used := build(fine)
	first := n.open(0)
	first.send(used)
	if _, err := first.s.Recv(); err != nil {
		t.Fatal(err)
	}
	garbage := make([]byte, onion.CreateSize)
	other := build(func(p *onion.Params) { p.Hops[0] = n.params(1, 2, 3, 0).Hops[0] })
	tampered := build(fine)
	tampered[2000] ^= 1
	want := status.Convert(errEnded)
	for name, row := range map[string]struct {
		addr  string
		frame []byte
	}{
		"garbage":           {n.nodes[0].client, garbage},
		"sealed to another": {n.nodes[0].client, other},
		"tampered with":     {n.nodes[0].client, tampered},
		"replayed":          {n.nodes[0].client, used},
		"too short":         {n.nodes[0].client, used[:onion.CellSize]},
		"old bucket":        {n.nodes[0].client, build(func(p *onion.Params) { p.Bucket -= 2 })},
		"future bucket":     {n.nodes[0].client, build(func(p *onion.Params) { p.Bucket += 2 })},
		"wrong period":      {n.nodes[0].client, build(func(p *onion.Params) { p.Hops[0].Period += 9 })},
		"hop 1 from a peer": {n.nodes[0].peer, build(fine)},
		"unknown next hop": {n.nodes[0].client,
			build(func(p *onion.Params) { p.Hops[1].Node = ident.NodeID{9} })},
		"class not served":    {n.nodes[0].client, build(func(p *onion.Params) { p.Class = onion.Bulk })},
		"lifetime of no time": {n.nodes[0].client, build(func(p *onion.Params) { p.Lifetime = 0 })},
	} {
		c := n.openAt(row.addr)
		c.send(row.frame)
		var err error
		for err == nil { // a CREATED that only the client can read may come first
			_, err = c.s.Recv()
		}
		got := status.Convert(err)
		if got.Code() != want.Code() || got.Message() != want.Message() || len(got.Details()) != 0 {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
	if want.Code() != codes.Unavailable {
		t.Errorf("code %v", want.Code())
	}
}

func TestNextHopOutOfReachIsToldToTheClientOnly(t *testing.T) {
	n := startNet(t, 4, nil)
	for hop := 1; hop < onion.Hops; hop++ {
		p := n.params(0, 1, 2, 3)
		p.Hops[hop].Node = ident.NodeID{0xee, byte(hop)}
		_, answers, err := n.create(p, 0)
		var e *onion.ExtendError
		if !errors.As(err, &e) || e.Hop != hop || e.Status != onion.StatusExtendFail {
			t.Errorf("hop %d out of reach: got %v", hop+1, err)
		}
		if len(answers) != hop {
			t.Errorf("%d hops answered, want %d", len(answers), hop)
		}
	}
}

func TestRolesAreRefusedUnderTheHopsKey(t *testing.T) {
	n := startNet(t, 4, func(i int, c *Config) {
		if i == 1 {
			c.NoRelay = true
		}
		if i == 2 {
			c.Storage = nil
		}
	})
	for _, row := range []struct {
		name string
		path []int
		hop  int
	}{
		{"no relay", []int{0, 1, 2, 3}, 2},
		{"no storage", []int{0, 3, 3, 2}, 4},
	} {
		_, _, err := n.create(n.params(row.path...), 0)
		var e *onion.ExtendError
		if !errors.As(err, &e) || e.Hop != row.hop || e.Status != onion.StatusRefused {
			t.Errorf("%s: got %v", row.name, err)
		}
	}
}

func TestLostLinkIsToldByTheHopBeforeIt(t *testing.T) {
	for lost := 1; lost < onion.Hops; lost++ {
		n := startNet(t, 4, nil)
		c := n.mustCreate(0, 1, 2, 3)
		n.nodes[lost].stop()
		hop, p, err := c.hear()
		if err != nil || hop != lost || p.Command != onion.ExtendFail {
			t.Errorf("node %d stopped: got %v from hop %d, %v", lost, p.Command, hop, err)
		}
		for err == nil { // hops nearer to the client lose their next one in turn
			_, err = c.s.Recv()
		}
		if got, want := status.Convert(err).Message(), status.Convert(errEnded).Message(); got != want {
			t.Errorf("end of the circuit: %q, want %q", got, want)
		}
	}
}

// whatEnds lists what a client or a link can do to a circuit that must end it, down to the storage node.
func TestWhatEndsACircuitEndsItEverywhere(t *testing.T) {
	rows := map[string]func(c *rawClient){
		"client goes": func(c *rawClient) { c.cancel() },
		"flipped bit": func(c *rawClient) {
			b := c.cell(4,
				onion.Payload{Command: onion.Drop})
			b[77] ^= 1
			c.send(b)
		},
		"replayed cell": func(c *rawClient) {
			b := c.cell(4,
				onion.Payload{Command: onion.Drop})
			c.send(b)
			c.send(b)
		},
		"frame of wrong size": func(c *rawClient) { c.send(make([]byte, 100)) },
		"DESTROY":             func(c *rawClient) { c.say(4, onion.Payload{Command: onion.Destroy}) },
		"DESTROY at a relay":  func(c *rawClient) { c.say(2, onion.Payload{Command: onion.Destroy}) },
		"RESP from a client": func(c *rawClient) {
			c.say(4, onion.Payload{Command: onion.Resp, Stream: 9, Flags: onion.FlagStart,
				Data: make([]byte, 4)})
		},
		"stream used twice": func(c *rawClient) { c.message(onion.Req, 1, nil) },
		"no payload": func(c *rawClient) {
			b := make([]byte,
				onion.CellSize)
			b[10] = 99
			c.circuit.Seal(b, 4)
			c.send(b)
		},
	}
	n := startNet(t, 4, nil)
	for name, do := range rows {
		c := n.mustCreate(0, 1, 2, 3)
		c.message(onion.Sub, 1, []byte("sub"))
		n.store.push <- "text" // the subscription stands
		if m := c.hearMessage(); m.Command != onion.Push || string(m.Body[8:]) != "text" {
			t.Fatalf("%s: got %v", name, m.Command)
		}
		do(c)
		select {
		case <-n.store.ended:
		case <-time.After(30 * time.Second):
			t.Fatalf("%s: the subscription at the storage node is still there", name)
		}
		if name == "client goes" {
			continue
		}
		for err := error(nil); err == nil; {
			_, err = c.s.Recv()
		}
	}
}

// untilEnd is a storage that works on each request until its circuit ends.
type untilEnd struct {
	echo
	at atomic.Int32 // requests at work
}

func (u *untilEnd) Do(ctx context.Context, _ [32]byte, _ []byte) []byte {
	u.at.Add(1)
	defer u.at.Add(-1)
	<-ctx.Done()
	return nil
}

// TestNoWorkBeginsOnACircuitThatEnds ends circuits while their readers start requests. Besides what it checks
// itself, the race detector reports a request that starts while the end waits for those before it.
func TestNoWorkBeginsOnACircuitThatEnds(t *testing.T) {
	for range 1_000 {
		var store untilEnd
		ctx, cancel := context.WithCancel(t.Context())
		c := &circuit{r: &Router{cfg: Config{Storage: &store}}, ctx: ctx, cancel: cancel}
		e := &storageEnd{c: c, streams: map[uint16]*inbound{}}
		var reader sync.WaitGroup
		reader.Go(func() {
			for stream := range uint16(onion.MaxStreams) {
				if !e.start(onion.Received{Command: onion.Req, Stream: stream + 1}) {
					return
				}
			}
		})
		e.end()
		if n := store.at.Load(); n != 0 {
			t.Fatalf("%d requests at work after the end of their circuit", n)
		}
		reader.Wait()
		if e.start(onion.Received{Command: onion.Req, Stream: onion.MaxStreams + 1}) {
			t.Fatal("a request began after the end of its circuit")
		}
	}
}

func TestLifetimeEndsACircuit(t *testing.T) {
	n := startNet(t, 4, nil)
	p := n.params(0, 1, 2, 3)
	p.Lifetime = 1
	c, _, err := n.create(p, 0)
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = c.s.Recv()
	}
}

func TestSubscriptionEndsWithItsReason(t *testing.T) {
	n := startNet(t, 4, nil)
	c := n.mustCreate(0, 1, 2, 3)
	c.message(onion.Sub, 1, []byte("sub"))
	n.store.push <- "end"
	hop, p, err := c.hear()
	if err != nil || hop != onion.Hops || p.Command != onion.End || p.Stream != 1 ||
		p.Data[0] != onion.EndFault {
		t.Fatalf("got %+v from hop %d, %v", p, hop, err)
	}
	f, err := envelope.DecodeFault(p.Data[1:])
	if err != nil || f.Kind != fault.Denied || f.Detail != "the authority changed" || f.Op != "" {
		t.Errorf("got %+v, %v", f, err)
	}
}

// What the storage could not classify is not told to the client: it is in the log.
func TestUnclassifiedEndOfASubscriptionIsLogged(t *testing.T) {
	var log bytes.Buffer
	n := startNet(t, 4, func(i int, c *Config) {
		if i == 3 {
			c.Logger = slog.New(slog.NewTextHandler(&log, nil))
		}
	})
	c := n.mustCreate(0, 1, 2, 3)
	c.message(onion.Sub, 1, []byte("sub"))
	n.store.push <- "fail"
	_, p, err := c.hear()
	if err != nil || p.Command != onion.End || p.Data[0] != onion.EndFault {
		t.Fatalf("got %+v, %v", p, err)
	}
	if f, err := envelope.DecodeFault(p.Data[1:]); err != nil || f.Detail != "subscription ended" {
		t.Errorf("the client is told %+v, %v; want that the subscription ended", f, err)
	}
	if got := log.String(); !strings.Contains(got, "on fire") { // written before the cell was sent
		t.Errorf("the log has %q, want the error", got)
	}
}

func TestAnswerOfNoFittingSizeIsLogged(t *testing.T) {
	var log bytes.Buffer
	n := startNet(t, 4, func(i int, c *Config) {
		if i == 3 {
			c.Logger, c.Storage = slog.New(slog.NewTextHandler(&log, nil)), silent{c.Storage}
		}
	})
	c := n.mustCreate(0, 1, 2, 3)
	c.message(onion.Req, 1, []byte("request"))
	if _, p, err := c.hear(); err != nil || p.Command != onion.End || p.Data[0] != onion.EndFault {
		t.Fatalf("got %+v, %v", p, err)
	}
	if got := log.String(); !strings.Contains(got, "answer of 0 bytes") {
		t.Errorf("the log has %q, want the size", got)
	}
}

// silent is a storage that answers nothing.
type silent struct{ Storage }

func (silent) Do(context.Context, [32]byte, []byte) []byte { return nil }

func TestPushesStopAtTheWindowAndGoOnWithACKs(t *testing.T) {
	n := startNet(t, 4, nil)
	c := n.mustCreate(0, 1, 2, 3)
	c.message(onion.Sub, 1, []byte("sub"))
	for i := range pushWindow {
		n.store.push <- fmt.Sprint(i)
		c.hearMessage()
	}
	n.store.push <- "one more"
	c.say(4, onion.U64(onion.Ping, 0, 5))
	if _, p, err := c.hear(); err != nil || p.Command != onion.Pong {
		t.Fatalf("got %v, %v: a push beyond the window", p.Command, err)
	}
	c.say(4, onion.U64(onion.Ack, 1, 3))
	if m := c.hearMessage(); string(m.Body[8:]) != "one more" {
		t.Errorf("got %q", m.Body)
	}
}

func TestClientsCircuitsAreCounted(t *testing.T) {
	now := time.Now()
	l := limits{conns: map[string]*connUse{}}
	for i := range 64 {
		if !l.enter("a", 64, now) {
			t.Fatalf("circuit %d was refused", i)
		}
	}
	if l.enter("a", 64, now) {
		t.Error("circuit 65 was admitted")
	}
	if !l.enter("b", 64, now) {
		t.Error("another client was refused")
	}
	l.leave("a")
	if !l.enter("a", 64, now) {
		t.Error("a circuit was refused after one had ended")
	}
	for range createBurst {
		l.enter("a", 1000, now)
	}
	if l.enter("a", 1000, now) {
		t.Error("create packets without limit")
	}
	later := now.Add(time.Second)
	if !l.enter("a", 1000, later) {
		t.Error("refused a second later")
	}
	l.leave("b")
	l.prune(later.Add(time.Hour))
	if len(l.conns) != 1 {
		t.Errorf("%d connections are remembered, want the one with circuits", len(l.conns))
	}
}

func TestNewRefusesAnIncompleteConfig(t *testing.T) {
	if _, err := New(Config{}); !errors.Is(err, fault.Invalid) {
		t.Errorf("got %v, want invalid", err)
	}
}

func TestStoppedRouterServesNothing(t *testing.T) {
	n := startNet(t, 4, nil)
	c := n.mustCreate(0, 1, 2, 3)
	for i := range slices.Backward(n.nodes) {
		n.nodes[i].stop()
	}
	for err := error(nil); err == nil; {
		_, err = c.s.Recv()
	}
	if got := n.nodes[0].router.Stats().Circuits; got != 0 {
		t.Errorf("%d circuits after the end", got)
	}
}
