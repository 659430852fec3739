package memnet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/nettest"
)

func TestStreamsKeepTheRulesOfNet(t *testing.T) {
	slow := Quality{Delay: time.Millisecond, Jitter: time.Millisecond}
	for name, q := range map[string]Quality{"perfect": {}, "slow": slow} {
		t.Run(name, func(t *testing.T) {
			nettest.TestConn(t, func() (net.Conn, net.Conn, func(), error) {
				n := New(1)
				n.Shape(q)
				l, err := n.Host("b").Listen("tcp", ":0")
				if err != nil {
					return nil, nil, nil, err
				}
				defer l.Close()
				c1, err := n.Host("a").DialContext(context.Background(), "tcp", l.Addr().String())
				if err != nil {
					return nil, nil, nil, err
				}
				c2, err := l.Accept()
				return c1, c2, func() { c1.Close(); c2.Close() }, err
			})
		})
	}
}

// pair returns both ends of a stream from host a to host b.
func pair(t *testing.T, n *Network) (a, b net.Conn) {
	t.Helper()
	l, err := n.Host("b").Listen("tcp", ":7000")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, err = n.Host("a").DialContext(t.Context(), "tcp", "b:7000")
	if err != nil {
		t.Fatal(err)
	}
	if b, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

func write(t *testing.T, c io.Writer, text string) {
	t.Helper()
	if n, err := c.Write([]byte(text)); n != len(text) || err != nil {
		t.Fatalf("write %q: got %d, %v, want all of it", text, n, err)
	}
}

func read(t *testing.T, c io.Reader, want string) {
	t.Helper()
	buf := make([]byte, len(want))
	if _, err := io.ReadFull(c, buf); err != nil || string(buf) != want {
		t.Fatalf("got %q, %v, want %q", buf, err, want)
	}
}

func TestAddresses(t *testing.T) {
	n := New(1)
	a, b := n.Host("a"), n.Host("b")
	for _, addr := range []string{":7000", "b:7001", b.IP() + ":7002", "0.0.0.0:7003", "[::]:7004"} {
		l, err := b.Listen("tcp", addr)
		if err != nil {
			t.Fatalf("listen on %s: %v", addr, err)
		}
		defer l.Close()
		port := l.Addr().(*net.TCPAddr).Port
		for _, host := range []string{"b", b.IP()} {
			c, err := a.DialContext(t.Context(), "tcp", fmt.Sprintf("%s:%d", host, port))
			if err != nil {
				t.Fatalf("dial: %v", err)
			}
			far, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			from, to, seen := c.LocalAddr().String(), c.RemoteAddr().String(), far.RemoteAddr().String()
			if to != l.Addr().String() || seen != from {
				t.Errorf("stream from %s to %s is seen there as from %s", from, to, seen)
			}
			c.Close()
			far.Close()
		}
	}
	if _, err := b.Listen("tcp", ":7000"); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("listen twice: got %v, want %v", err, syscall.EADDRINUSE)
	}
	if _, err := b.Listen("tcp", a.IP()+":7009"); !errors.Is(err, syscall.EADDRNOTAVAIL) {
		t.Errorf("listen at another host: got %v, want %v", err, syscall.EADDRNOTAVAIL)
	}
	if _, err := a.DialContext(t.Context(), "tcp", "b:9"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial a closed port: got %v, want %v", err, syscall.ECONNREFUSED)
	}
	var unknown *net.DNSError
	if _, err := a.DialContext(t.Context(), "tcp", "c:9"); !errors.As(err, &unknown) {
		t.Errorf("dial an unknown host: got %v, want a DNS error", err)
	}
}

func TestAClosedListenerResetsWhatNobodyAccepted(t *testing.T) {
	n := New(1)
	l, err := n.Host("b").Listen("tcp", ":7000")
	if err != nil {
		t.Fatal(err)
	}
	c, err := n.Host("a").DialContext(t.Context(), "tcp", "b:7000")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("read: got %v, want %v", err, syscall.ECONNRESET)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("accept: got %v, want %v", err, net.ErrClosed)
	}
	again, err := n.Host("b").Listen("tcp", ":7000")
	if err != nil {
		t.Fatalf("the port is not free: %v", err)
	}
	again.Close()
}

func TestHalfCloseAndClose(t *testing.T) {
	a, b := pair(t, New(1))
	write(t, a, "question")
	if err := a.(*conn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(b); string(got) != "question" || err != nil {
		t.Fatalf("got %q, %v, want the question and its end", got, err)
	}
	write(t, b, "answer")
	read(t, a, "answer")
	if _, err := a.Write([]byte("more")); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("write after CloseWrite: got %v, want %v", err, syscall.EPIPE)
	}
	write(t, b, "last words")
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(a); string(got) != "last words" || err != nil {
		t.Errorf("after Close: got %q, %v, want what was written before", got, err)
	}
	if _, err := b.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("write after Close: got %v, want %v", err, net.ErrClosed)
	}
	if err := b.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("second Close: got %v, want %v", err, net.ErrClosed)
	}
}

func TestWritersOfAClosedPeerAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(1)
		n.Shape(Quality{Delay: 10 * time.Millisecond})
		a, b := pair(t, n)
		b.Close()
		write(t, a, "nobody has said no yet")
		time.Sleep(11 * time.Millisecond)
		if _, err := a.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("got %v, want %v", err, syscall.EPIPE)
		}
	})
}

func TestAWriterWaitsForItsReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t, New(1))
		sent := bytes.Repeat([]byte("0123456789abcdef"), maxQueued/16+100)
		written := make(chan error, 1)
		go func() {
			_, err := a.Write(sent)
			written <- err
		}()
		synctest.Wait()
		select {
		case err := <-written:
			t.Fatalf("write of %d bytes returned %v, want it to wait", len(sent), err)
		default:
		}
		got := make([]byte, len(sent))
		if _, err := io.ReadFull(b, got); err != nil || !bytes.Equal(got, sent) {
			t.Fatalf("what arrived differs, %v", err)
		}
		if err := <-written; err != nil {
			t.Errorf("write: %v", err)
		}
	})
}

func TestDelayOfStreamsAndDials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(1)
		n.Shape(Quality{Delay: 20 * time.Millisecond})
		n.Shape(Quality{Delay: time.Second}, "far")
		began := time.Now()
		took := func(what string, want time.Duration) {
			t.Helper()
			if got := time.Since(began); got != want {
				t.Errorf("%s: took %v, want %v", what, got, want)
			}
			began = time.Now()
		}
		a, b := pair(t, n)
		took("dial", 40*time.Millisecond)
		write(t, a, "one ")
		write(t, a, "two")
		took("write", 0)
		read(t, b, "one two")
		took("read", 20*time.Millisecond)
		a.Close()
		if _, err := b.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("got %v, want %v", err, io.EOF)
		}
		took("end", 20*time.Millisecond)
		_, err := n.Host("far").DialContext(t.Context(), "tcp", "b:9")
		if !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("got %v, want %v", err, syscall.ECONNREFUSED)
		}
		took("dial from afar", 2*time.Second)
	})
}

func TestDeadlinesInFakeTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _ := pair(t, New(1))
		began := time.Now()
		a.SetReadDeadline(began.Add(time.Hour))
		go func() {
			time.Sleep(time.Minute)
			a.SetReadDeadline(began.Add(2 * time.Hour)) // of a read that waits already
		}()
		_, err := a.Read(make([]byte, 1))
		if took := time.Since(began); !errors.Is(err, os.ErrDeadlineExceeded) || took != 2*time.Hour {
			t.Errorf("got %v after %v, want %v after 2h", err, took, os.ErrDeadlineExceeded)
		}
	})
}

func TestPartitionKeepsWhatIsSentUntilItHeals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(1)
		n.Shape(Quality{Delay: 10 * time.Millisecond})
		a, b := pair(t, n)
		write(t, a, "before ")
		time.Sleep(11 * time.Millisecond)
		write(t, a, "under way ")
		n.Partition("b")
		write(t, a, "during")
		read(t, b, "before ")
		b.SetReadDeadline(time.Now().Add(time.Hour))
		if got, err := b.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("across the partition: got %d bytes, %v, want a timeout", got, err)
		}
		b.SetReadDeadline(time.Time{})
		time.AfterFunc(time.Minute, n.Heal)
		read(t, b, "under way during")
	})
}

func TestADialAcrossAPartitionWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(1)
		l, err := n.Host("b").Listen("tcp", ":7000")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		n.Partition("b", "c")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = n.Host("a").DialContext(ctx, "tcp", "b:7000")
		timeout, ok := err.(net.Error)
		if !ok || !timeout.Timeout() || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want a timeout", err)
		}
		for from, wait := range map[string]time.Duration{"c": 0, "a": time.Hour} { // c is on b's side
			began := time.Now()
			if wait > 0 {
				time.AfterFunc(wait, n.Heal)
			}
			c, err := n.Host(from).DialContext(t.Context(), "tcp", "b:7000")
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if got := time.Since(began); got > wait {
				t.Errorf("dial from %s took %v, want at most %v", from, got, wait)
			}
		}
	})
}

func TestAOneWayCutStopsOneDirection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(1)
		a, b := pair(t, n)
		n.Cut("b", "a")
		write(t, a, "there")
		read(t, b, "there")
		write(t, b, "and back")
		a.SetReadDeadline(time.Now().Add(time.Minute))
		if _, err := a.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("against the cut: got %v, want a timeout", err)
		}
		n.Heal()
		a.SetReadDeadline(time.Time{})
		read(t, a, "and back")
	})
}

func TestResetBreaksBothEnds(t *testing.T) {
	n := New(1)
	a, b := pair(t, n)
	n.Reset("b", "a")
	for _, c := range []net.Conn{a, b} {
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("read: got %v, want %v", err, syscall.ECONNRESET)
		}
		if _, err := c.Write([]byte("x")); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("write: got %v, want %v", err, syscall.ECONNRESET)
		}
	}
	a, b = pair(t, n)
	write(t, a, "again")
	read(t, b, "again")
}

// arrivals sends a hundred packets and returns the numbers of those that arrive, in their order.
func arrivals(t *testing.T, seed uint64, q Quality) (got []byte) {
	synctest.Test(t, func(t *testing.T) {
		n := New(seed)
		n.Shape(q)
		a, err := n.Host("a").ListenPacket("udp", ":0")
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		b, err := n.Host("b").ListenPacket("udp", ":0")
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		for i := range 100 {
			if _, err := a.WriteTo([]byte{byte(i)}, b.LocalAddr()); err != nil {
				t.Fatal(err)
			}
		}
		b.SetReadDeadline(time.Now().Add(time.Second))
		for {
			buf := make([]byte, 10)
			k, from, err := b.ReadFrom(buf)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return
			}
			if err != nil || k != 1 || from.String() != a.LocalAddr().String() {
				t.Fatalf("got %d bytes from %v, %v, want one from %v", k, from, err, a.LocalAddr())
			}
			got = append(got, buf[0])
		}
	})
	return got
}

func TestPacketsFollowTheSeed(t *testing.T) {
	whole := arrivals(t, 1, Quality{})
	if len(whole) != 100 || !slices.IsSorted(whole) {
		t.Errorf("perfect network: got %v, want all in order", whole)
	}
	q := Quality{Delay: time.Millisecond, Jitter: 50 * time.Millisecond, Loss: 0.3}
	first, again, other := arrivals(t, 1, q), arrivals(t, 1, q), arrivals(t, 2, q)
	if !bytes.Equal(first, again) || bytes.Equal(first, other) {
		t.Errorf("seed 1 gave %v and %v, seed 2 %v: want the same for one seed only", first, again, other)
	}
	if len(first) < 50 || len(first) > 90 || slices.IsSorted(first) {
		t.Errorf("got packets %v, want some of the hundred lost and some overtaken", first)
	}
}

func TestPacketsDoNotCrossACut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(1)
		a, err := n.Host("a").ListenPacket("udp", ":7000")
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		b, err := n.Host("b").ListenPacket("udp", ":7000")
		if err != nil {
			t.Fatal(err)
		}
		n.Cut("a", "b")
		a.WriteTo([]byte("lost"), b.LocalAddr())
		n.Heal()
		a.WriteTo([]byte("comes"), b.LocalAddr())
		buf := make([]byte, 10)
		if k, _, err := b.ReadFrom(buf); err != nil || string(buf[:k]) != "comes" {
			t.Errorf("got %q, %v, want what was sent after the cut", buf[:k], err)
		}
		time.AfterFunc(time.Second, func() { b.Close() })
		if _, _, err := b.ReadFrom(buf); !errors.Is(err, net.ErrClosed) {
			t.Errorf("read of a closed port: got %v, want %v", err, net.ErrClosed)
		}
	})
}

func TestALostSegmentComesLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(1)
		a, b := pair(t, n)
		n.Shape(Quality{Loss: 1})
		began := time.Now()
		write(t, a, "lost and ")
		write(t, a, "sent again")
		read(t, b, "lost and sent again")
		if got := time.Since(began); got != retransmit {
			t.Errorf("took %v, want %v", got, retransmit)
		}
	})
}
