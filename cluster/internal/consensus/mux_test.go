package consensus

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/starling-swarm/starling/internal/ident"
)

func startMux(t *testing.T, admit func(net.Conn, ident.SwarmID) error) (*Mux, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := NewMux(MuxConfig{Self: nodeID(0), Listener: l, Admit: admit,
		Dial: func(ctx context.Context, _ ident.NodeID) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", l.Addr().String())
		}})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("mux ended with %v", err)
		}
	})
	return m, l.Addr().String()
}

func closed(t *testing.T, c net.Conn) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	var timeout net.Error
	if n, err := c.Read(make([]byte, 1)); err == nil || errors.As(err, &timeout) && timeout.Timeout() {
		t.Errorf("got %d bytes, %v, want a closed connection", n, err)
	}
}

func TestPreambleChoosesTheGroup(t *testing.T) {
	m, addr := startMux(t, nil)
	self := ServerID{Node: nodeID(0), Incarnation: 1}
	one, err := m.open(1, self)
	if err != nil {
		t.Fatal(err)
	}
	defer one.Close()
	other, err := m.open(0x01020304, self)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()

	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte{1, 2, 3, 4, 'h', 'i'}); err != nil {
		t.Fatal(err)
	}
	far, err := other.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	got := make([]byte, 2)
	if _, err := io.ReadFull(far, got); err != nil || string(got) != "hi" {
		t.Errorf("got %q, %v, want what follows the preamble", got, err)
	}
}

func TestUnknownGroupAndTornPreambleAreClosed(t *testing.T) {
	_, addr := startMux(t, nil)
	for name, preamble := range map[string][]byte{"unknown group": {0, 0, 0, 9}, "torn preamble": {0, 0}} {
		t.Run(name, func(t *testing.T) {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if _, err := c.Write(preamble); err != nil {
				t.Fatal(err)
			}
			_ = c.(*net.TCPConn).CloseWrite()
			closed(t, c)
		})
	}
}

func TestRefusedPeerIsClosed(t *testing.T) {
	asked := make(chan ident.SwarmID, 1)
	m, _ := startMux(t, func(_ net.Conn, group ident.SwarmID) error {
		asked <- group
		return errors.New("not a member")
	})
	s, err := m.open(5, ServerID{Node: nodeID(0), Incarnation: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c, err := s.Dial("not an ID", time.Second)
	if err == nil {
		c.Close()
		t.Error("dial to an address that is no server ID succeeded")
	}
	text := s.Addr().String()
	if c, err = s.Dial(serverAddress(text), patience); err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	closed(t, c)
	if got := <-asked; got != 5 {
		t.Errorf("asked about group %d, want 5", got)
	}
}

func TestSilentStreamIsHeardByNobody(t *testing.T) {
	m, _ := startMux(t, nil)
	s, err := m.open(5, ServerID{Node: nodeID(0), Incarnation: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c, err := s.Dial(serverAddress(s.Addr().String()), patience)
	if err != nil {
		t.Fatal(err)
	}
	far, err := s.Accept()
	if err != nil {
		t.Fatal(err)
	}
	s.silence()
	closed(t, far)
	if _, err := c.Write([]byte("x")); err == nil {
		t.Error("a silent stream still writes")
	}
	if c, err := s.Dial(serverAddress(s.Addr().String()), time.Second); err == nil {
		c.Close()
		t.Error("a silent stream still dials")
	}
}

func TestLoggerPassesEachWarningOnce(t *testing.T) {
	var out bytes.Buffer
	l := newLogger(slog.New(slog.NewTextHandler(&out, nil))).Named("raft").With("peer", "p1")
	l.Info("not shown")
	for range 3 {
		l.Error("failed to heartbeat to", "error", "refused")
	}
	l.Warn("another")
	if got := strings.Count(out.String(), "\n"); got != 2 {
		t.Errorf("got %d lines, want 2:\n%s", got, out.String())
	}
	if !strings.Contains(out.String(),
		`level=WARN msg=raft event="failed to heartbeat to" peer=p1 error=refused`) {
		t.Errorf("got\n%s", out.String())
	}
}

func serverAddress(text string) raft.ServerAddress { return raft.ServerAddress(text) }
