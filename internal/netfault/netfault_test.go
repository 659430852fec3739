package netfault

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/starling-swarm/starling/internal/memnet"
)

// pair returns both ends of a loopback connection that was dialed through s.
func pair(t *testing.T, s *Switch) (dialed, accepted net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dialed, err = s.Dial(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dialed.Close(); accepted.Close() })
	return dialed, accepted
}

func echoes(t *testing.T, from, to net.Conn, text string) {
	t.Helper()
	if _, err := from.Write([]byte(text)); err != nil {
		t.Fatalf("write: %v", err)
	}
	buf := make([]byte, len(text))
	_ = to.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.ReadFull(to, buf); err != nil || string(buf) != text {
		t.Fatalf("got %q, %v, want %q", buf, err, text)
	}
}

func TestNilSwitchPassesEverything(t *testing.T) {
	var s *Switch
	a, b := pair(t, s)
	echoes(t, a, b, "through")
	if s.DropPacket() || s.IsCut() || s.PacketDelay() != 0 {
		t.Error("nil switch has a fault, want none")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if got := s.Listen(l); got != l {
		t.Errorf("nil switch wraps a listener, want it unchanged")
	}
}

func TestCutSwallowsAndThenClosesConnections(t *testing.T) {
	s := new(Switch)
	a, b := pair(t, s)
	echoes(t, a, b, "before")
	s.Cut(true)
	if _, err := a.Write([]byte("lost")); err != nil {
		t.Fatalf("write on a cut connection: got %v, want it swallowed", err)
	}
	if _, err := b.Write([]byte("lost too")); err != nil {
		t.Fatal(err)
	}
	// Both ends see the close, and nothing before it.
	for name, c := range map[string]net.Conn{"cut end": a, "far end": b} {
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
		got, err := io.ReadAll(c)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s is still open after the cut", name)
		}
		if len(got) > 0 {
			t.Errorf("%s: got %q, want nothing", name, got)
		}
	}
}

func TestCutRefusesDialsUntilHealed(t *testing.T) {
	s := new(Switch)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s.Cut(true)
	if _, err := s.Dial(t.Context(), "tcp", l.Addr().String()); !errors.Is(err, ErrCut) {
		t.Fatalf("dial while cut: got %v, want %v", err, ErrCut)
	}
	if !s.DropPacket() {
		t.Error("a packet passes while cut")
	}
	s.Cut(false)
	c, err := s.Dial(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatalf("dial after healing: %v", err)
	}
	c.Close()
	if s.DropPacket() {
		t.Error("a packet is dropped after healing")
	}
}

func TestCutListenerClosesWhatComes(t *testing.T) {
	s := new(Switch)
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := s.Listen(inner)
	defer l.Close()
	accepted := make(chan net.Conn)
	go func() {
		defer close(accepted)
		if c, err := l.Accept(); err == nil {
			accepted <- c
		}
	}()

	s.Cut(true)
	refused, err := net.Dial("tcp", inner.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer refused.Close()
	_ = refused.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := refused.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("connection to a cut node: got %v, want it closed", err)
	}

	s.Cut(false)
	c, err := net.Dial("tcp", inner.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	far := <-accepted
	if far == nil {
		t.Fatal("listener gave up, want the connection after healing")
	}
	defer far.Close()
	echoes(t, c, far, "again")
}

func TestDelayKeepsOrderAndDeliversBeforeClose(t *testing.T) {
	s := new(Switch)
	a, b := pair(t, s)
	echoes(t, a, b, "at once ")
	s.SetDelay(20*time.Millisecond, 0)
	start := time.Now()
	for _, text := range []string{"one ", "two ", "three"} {
		if _, err := a.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	_ = b.SetReadDeadline(time.Now().Add(5 * time.Second))
	got, err := io.ReadAll(b)
	if err != nil || string(got) != "one two three" {
		t.Fatalf("got %q, %v, want %q", got, err, "one two three")
	}
	if d := time.Since(start); d < 20*time.Millisecond {
		t.Errorf("arrived after %v, want not before the delay of 20ms", d)
	}
	if _, err := a.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("write after close: got %v, want %v", err, net.ErrClosed)
	}
}

func TestSwitchOverAnotherNetwork(t *testing.T) {
	n := memnet.New(1)
	s := Over(n.Host("a"))
	l, err := n.Host("b").Listen("tcp", ":7000")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, err := s.Dial(t.Context(), "tcp", "b:7000")
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	echoes(t, a, b, "in memory")
	s.Cut(true)
	if _, err := s.Dial(t.Context(), "tcp", "b:7000"); !errors.Is(err, ErrCut) {
		t.Errorf("dial while cut: got %v, want %v", err, ErrCut)
	}
	if c, err := s.Under().DialContext(t.Context(), "tcp", "b:7000"); err != nil {
		t.Errorf("dial below the switch: %v", err)
	} else {
		c.Close()
	}
}

func TestLossDropsPackets(t *testing.T) {
	s := new(Switch)
	s.SetDelay(0, 1)
	if !s.DropPacket() {
		t.Error("a packet passes at loss 1")
	}
	s.SetDelay(0, 0)
	if s.DropPacket() {
		t.Error("a packet is dropped at loss 0")
	}
}

func TestDialReportsAnAddressWithoutListener(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if c, err := new(Switch).Dial(ctx, "tcp", addr); err == nil {
		c.Close()
		t.Fatal("dial to a closed port succeeded")
	}
}
