package circuit

import (
	"context"
	crand "crypto/rand"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/starling-swarm/starling/internal/cellstream"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/onionrouter/onion"
	"github.com/starling-swarm/starling/onionrouter/paths"
)

// wire is a circuit's stream whose four hops are one function: it opens every cell and answers from the
// storage node as reply says. It lets tests of timers run in a bubble, without a network.
type wire struct {
	hops  [onion.Hops]*onion.Hop
	back  chan cellstream.Frame
	done  <-chan struct{}
	reply func(onion.Payload) []onion.Payload
	heard []onion.Payload
	order sync.Mutex // of sealing and sending back
}

func (w *wire) Send(f cellstream.Frame) error {
	defer cellstream.Put(f)
	for j := range w.hops {
		mine, err := w.hops[j].Forward(*f)
		if err != nil {
			return err
		}
		if mine == nil {
			continue
		}
		p, err := onion.DecodePayload(mine)
		if err != nil {
			return err
		}
		p.Data = append([]byte(nil), p.Data...)
		w.heard = append(w.heard, p)
		for _, r := range w.reply(p) {
			w.say(j+1, r)
		}
	}
	return nil
}

// say sends a payload from a hop to the client.
func (w *wire) say(hop int, p onion.Payload) {
	w.order.Lock()
	defer w.order.Unlock()
	f := cellstream.Get(onion.CellSize)
	p.Put(w.hops[hop-1].Own(*f))
	w.hops[hop-1].SealOwn(*f)
	for j := hop - 2; j >= 0; j-- {
		if err := w.hops[j].Backward(*f); err != nil {
			panic(err)
		}
	}
	w.back <- f
}

func (w *wire) Recv() (cellstream.Frame, error) {
	select {
	case f := <-w.back:
		return f, nil
	case <-w.done:
		return nil, errors.New("ended")
	}
}

// newWire returns a live circuit over a wire. The network behind it only counts goroutines.
func newWire(t *testing.T, reply func(onion.Payload) []onion.Payload) (*live, *wire) {
	t.Helper()
	w := &wire{back: make(chan cellstream.Frame, 100), reply: reply}
	var p onion.Params
	var keys [onion.Hops]*onion.PrivateKey
	p.Class, p.Lifetime = onion.MSG, 60
	for j := range keys {
		seed, public, err := onion.GenerateKey(crand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if keys[j], err = onion.ParsePrivate(seed); err != nil {
			t.Fatal(err)
		}
		pub, err := onion.ParsePublic(public[:])
		if err != nil {
			t.Fatal(err)
		}
		p.Hops[j] = onion.HopKey{Node: ident.NodeID{byte(j + 1)}, Key: pub}
	}
	pending, frame, err := onion.Build(crand.Reader, p)
	if err != nil {
		t.Fatal(err)
	}
	for j := range keys {
		c, err := onion.OpenCreate(keys[j], p.Hops[j].Node, 0, frame)
		if err != nil {
			t.Fatal(err)
		}
		if w.hops[j], err = c.Accept(crand.Reader); err != nil {
			t.Fatal(err)
		}
		if err := onion.Pad(crand.Reader, frame, c.Inner); err != nil {
			t.Fatal(err)
		}
	}
	created := make([]byte, onion.CellSize)
	for j := onion.Hops - 1; j >= 0; j-- {
		if err := w.hops[j].SealCreated(created, onion.Answer{}); err != nil {
			t.Fatal(err)
		}
	}
	circ, _, err := pending.Finish(created)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	w.done = ctx.Done()
	n := &Network{rng: rand.New(rand.NewPCG(1, 2)), avoided: map[ident.NodeID]time.Time{}}
	path := paths.Path{Guard: p.Hops[0].Node, Middle: p.Hops[1].Node, Exit: p.Hops[2].Node,
		Storage: p.Hops[3].Node}
	c, err := n.newLive(ctx, cancel, key{purpose: "send"}, path, w, circ)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.end(nil); n.workers.Wait() })
	return c, w
}

// pongs answers PINGs and nothing else.
func pongs(p onion.Payload) []onion.Payload {
	if p.Command == onion.Ping {
		return []onion.Payload{onion.U64(onion.Pong, 0, p.Number())}
	}
	return nil
}

func silence(onion.Payload) []onion.Payload { return nil }

func TestIdleCircuitLivesOnItsPings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, w := newWire(t, pongs)
		time.Sleep(5 * time.Minute) // of the bubble
		synctest.Wait()
		if !c.usable() {
			t.Fatalf("ended: %v", c.ended())
		}
		if got := len(w.heard); got < 5 || got > 16 {
			t.Errorf("%d PINGs in five minutes, want one every 20 to 60 s", got)
		}
		c.end(nil)
	})
}

func TestSilentCircuitEndsAfterTwoMissedPings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := newWire(t, silence)
		time.Sleep(3*pingMax + time.Second)
		if c.usable() {
			t.Error("nothing came back for three minutes and the circuit is still used")
		}
	})
}

func TestRequestOnADeadCircuitFailsSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := newWire(t, silence)
		start := time.Now()
		_, err := c.do(t.Context(), []byte("request"))
		if !errors.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "silent") {
			t.Errorf("got %v", err)
		}
		if took := time.Since(start); took != probeAfter+probeWait {
			t.Errorf("failed after %v, want %v", took, probeAfter+probeWait)
		}
	})
}

func TestRequestWaitsOnACircuitThatLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, w := newWire(t, pongs)
		go func() {
			time.Sleep(time.Minute)
			var m onion.Message
			m, _ = onion.NewMessage(onion.Resp, 1, false, []byte("answer"))
			b := make([]byte, onion.PayloadSize)
			m.Next(b)
			p, _ := onion.DecodePayload(b)
			w.say(onion.Hops, p)
		}()
		b, err := c.do(t.Context(), []byte("request"))
		if err != nil || string(b) != "answer" {
			t.Errorf("got %q, %v", b, err)
		}
	})
}

func TestHopsMaySayOnlyWhatIsTheirs(t *testing.T) {
	start := onion.Payload{Command: onion.Resp, Stream: 1, Flags: onion.FlagStart,
		Data: []byte{0, 0, 0, 1, 'x'}}
	for _, row := range []struct {
		name string
		hop  int
		say  onion.Payload
		ends bool
	}{
		{"DROP of the exit", 3, onion.Payload{Command: onion.Drop}, false},
		{"RESP to nobody's stream", 4, onion.Payload{Command: onion.Resp, Stream: 99, Flags: onion.FlagStart,
			Data: start.Data}, false},
		{"END of nobody's stream", 4, onion.Payload{Command: onion.End, Stream: 99, Data: []byte{0}}, false},
		{"RESP of the exit", 3, start, true},
		{"PUSH of the guard", 1, onion.Payload{Command: onion.Push, Stream: 1, Flags: onion.FlagStart,
			Data: start.Data}, true},
		{"END of the middle", 2, onion.Payload{Command: onion.End, Stream: 1, Data: []byte{0}}, true},
		{"PUSH on a request", 4, onion.Payload{Command: onion.Push, Stream: 1, Flags: onion.FlagStart,
			Data: start.Data}, true},
		{"REQ from the storage node", 4, onion.Payload{Command: onion.Req, Stream: 1, Flags: onion.FlagStart,
			Data: start.Data}, true},
		{"DESTROY", 4, onion.Payload{Command: onion.Destroy}, true},
		{"EXTEND_FAIL of the middle", 2, onion.Payload{Command: onion.ExtendFail}, true},
		{"EXTEND_FAIL of the storage node", 4, onion.Payload{Command: onion.ExtendFail}, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			c, w := newWire(t, pongs)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() {
				_, _ = c.do(ctx, []byte("request"))
				close(done)
			}()
			synctest.Wait()
			w.say(row.hop, row.say)
			synctest.Wait()
			if c.usable() == row.ends {
				t.Errorf("%s: circuit ended: %v, want %v (%v)", row.name, !c.usable(), row.ends, c.ended())
			}
			if avoided := !c.n.avoided[ident.NodeID{3}].IsZero(); avoided != (row.name == "EXTEND_FAIL of the middle") {
				t.Errorf("%s: the exit is avoided: %v", row.name, avoided)
			}
			cancel()
			<-done
		})
	}
}

func TestStreamNumbersRunOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := newWire(t, func(p onion.Payload) []onion.Payload {
			if p.Command != onion.Req {
				return pongs(p)
			}
			return []onion.Payload{{Command: onion.Resp, Stream: p.Stream, Flags: onion.FlagStart,
				Data: []byte{0, 0, 0, 0}}}
		})
		n := 0
		for ; c.usable(); n++ {
			if _, err := c.do(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
		}
		if n < 32_000 || n > 32_768 {
			t.Errorf("%d streams were used, want nearly 32,768", n)
		}
		c.retire()
		if err := c.ended(); err == nil {
			t.Error("an exhausted circuit without streams was retired and lives")
		}
	})
}
