//go:build unix

package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/directory"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/ident"
)

// swarm is a network of one mailbox that never dies: it takes everything, has mail to push, and remembers
// what it was given.
type swarm struct {
	mail   []envelope.Envelope // of the own mailbox
	moment func() time.Time

	mu     sync.Mutex
	stored map[envelope.Hash]envelope.Store
	seq    uint64
}

func (s *swarm) Run(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

func (s *swarm) Do(_ context.Context, _ string, m ident.MailboxID, b []byte,
	_ client.SignFunc) (*envelope.Response, ident.Path, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := envelope.DecodeRequest(b)
	if err != nil {
		return nil, ident.Path{}, err
	}
	resp := &envelope.Response{Failed: -1, Clock: s.Now().UnixMilli()}
	for _, op := range r.Ops {
		var res envelope.Result
		if put, ok := op.(envelope.Store); ok {
			h := envelope.HashOf(m, put.Namespace, put.Key, put.Body)
			_, res.Existed = s.stored[h]
			s.stored[h] = put
			s.seq++
			res.Seq = 1<<40 + s.seq
		}
		resp.Results = append(resp.Results, res)
	}
	return resp, ident.Path{}, nil
}

func (s *swarm) Subscribe(ctx context.Context, _ ident.MailboxID, build func() []byte, _ client.SignFunc,
	handle func(envelope.Envelope) error) error {
	sub, err := envelope.DecodeSubscribe(build())
	if err != nil {
		return err
	}
	for _, e := range s.mail {
		if e.Seq > sub.Cursor {
			if err := handle(e); err != nil {
				return err
			}
		}
	}
	<-ctx.Done()
	return ctx.Err()
}

func (s *swarm) Directory() *directory.Directory { return nil }

func (s *swarm) Now() time.Time { return s.moment() }

func (s *swarm) Times(context.Context, int, map[ident.NodeID]time.Time) (map[ident.NodeID]time.Time, error) {
	return map[ident.NodeID]time.Time{{1}: s.Now(), {2}: s.Now(), {3}: s.Now()}, nil
}

func (s *swarm) Elsewhere(ident.MailboxID) {}

func (s *swarm) Probe(context.Context) error { return nil }

func (s *swarm) Status() client.NetReport { return client.NetReport{Connected: true} }

// count returns how many different things of a kind were stored.
func (s *swarm) count(kind func(envelope.Store) bool) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, put := range s.stored {
		if kind(put) {
			n++
		}
	}
	return n
}

// stage is a profile on disk for processes to die in: Alice, who has a second device and knows Bob, with mail
// of his that she has not fetched.
type stage struct {
	dir  string
	bob  ident.AccountID
	mail []envelope.Envelope
}

// holding is a network that keeps what is pushed to itself.
type holding struct {
	client.Network
	mail chan envelope.Envelope
}

func (n holding) Subscribe(ctx context.Context, m ident.MailboxID, build func() []byte, sign client.SignFunc,
	_ func(envelope.Envelope) error) error {
	return n.Network.Subscribe(ctx, m, build, sign, func(e envelope.Envelope) error {
		n.mail <- e
		return nil
	})
}

func setStage(t testing.TB) *stage {
	t.Helper()
	cluster := shared(t)
	alice, words := create(t, cluster, "Alice")
	bob, _ := create(t, cluster, "Bob")
	alice2 := link(t, cluster, alice, words, "alice-2")
	alice.send(t, bob.id(), "hello")
	bob.message(t, "hello")
	bob.send(t, alice.id(), "hi")
	alice.message(t, "hi")
	for _, d := range []*device{alice, alice2, bob} {
		if err := d.Idle(patient(t)); err != nil {
			t.Fatal(err)
		}
	}
	if err := alice.SyncToHeads(patient(t)); err != nil {
		t.Fatal(err)
	}
	alice2.stop()
	alice.stop()
	st := &stage{dir: alice.cfg.Dir, bob: bob.id()}
	held := make(chan envelope.Envelope, 64)
	alice.cfg.SetNetwork(func(inner client.Network) client.Network { return holding{inner, held} })
	alice = alice.reopen(t)
	for _, text := range []string{"one", "two"} {
		sent := bob.send(t, alice.id(), text)
		if _, err := bob.Wait(patient(t), sent.ID, client.StateStored); err != nil {
			t.Fatal(err)
		}
	}
	for inbox := 0; inbox < 2; {
		select {
		case e := <-held:
			st.mail = append(st.mail, e)
			if e.Namespace == envelope.Inbox {
				inbox++
			}
		case <-patient(t).Done():
			t.Fatal("no mail was pushed")
		}
	}
	alice.stop()
	return st
}

// open opens the profile in dir over the swarm.
func (st *stage) open(dir string, s *swarm) (*client.Client, error) {
	cfg := client.Config{Dir: dir}
	cfg.Hurry()
	cfg.SetNetwork(func(client.Network) client.Network { return s })
	cfg.SetWall(s.Now)
	return client.Open(cfg)
}

func (st *stage) swarm() *swarm {
	start := time.Now()
	at := func() time.Time { return time.UnixMilli(st.mail[0].StoredAt).Add(time.Minute + time.Since(start)) }
	return &swarm{mail: st.mail, moment: at, stored: map[envelope.Hash]envelope.Store{}}
}

func copyDir(t testing.TB, from string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	return to
}

// live runs a client, lets do work with it, and ends it; early if it ends itself, or when it dies.
func live(c *client.Client, died <-chan struct{}, do func(context.Context)) {
	ctx, stop := context.WithTimeout(context.Background(), patience)
	defer stop()
	go func() {
		select {
		case <-died:
			stop()
		case <-ctx.Done():
		}
	}()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.Run(ctx)
		stop()
	}()
	do(ctx)
	stop()
	<-ended
}

// work is what the process does that dies: it sends, it changes a document, it receives. done says what was
// acknowledged.
func (st *stage) work(ctx context.Context, c *client.Client, done func(what string)) {
	for i := range 2 {
		id := ident.MessageID{9, byte(i)}
		if _, err := c.Send(ctx, st.bob, client.Outgoing{ID: id, Text: fmt.Sprint("kept ", i)}); err == nil {
			done(id.String())
		}
	}
	if err := c.Nick(st.bob, "bobby"); err == nil {
		done("nick")
	}
	sub := c.Events()
	defer sub.Close()
	for ctx.Err() == nil {
		all, err := c.Messages(ctx, client.Filter{})
		if err == nil && len(all) == 6 {
			break
		}
		if _, err := sub.Next(ctx); err != nil {
			break
		}
	}
	c.Idle(ctx)
}

// check looks at a profile whose process died: what was acknowledged is there. Then it lets another process
// go on, and looks whether everything came about, and nothing twice. It returns what is wrong.
func (st *stage) check(t *testing.T, dir string, s *swarm, acknowledged map[string]bool) (wrong []string) {
	t.Helper()
	bad := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	c, err := st.open(dir, s)
	if err != nil {
		t.Fatalf("open after the death: %v", err)
	}
	nicked := func() bool {
		contacts, err := c.Contacts(t.Context())
		return err == nil && len(contacts) == 1 && contacts[0].Nick == "bobby"
	}
	for what := range acknowledged {
		if what == "nick" {
			if !nicked() {
				bad("the petname is lost")
			}
			continue
		}
		if all, err := c.Messages(t.Context(), client.Filter{IDPrefix: what}); err != nil || len(all) != 1 {
			bad("message %s, which was acknowledged: got %d rows, %v", what, len(all), err)
		}
	}
	live(c, nil, func(ctx context.Context) { st.work(ctx, c, func(string) {}) })
	all, err := c.Messages(t.Context(), client.Filter{})
	if err != nil {
		bad("messages: %v", err)
	}
	texts := map[string]int{}
	for _, m := range all {
		texts[m.Text]++
	}
	for _, text := range []string{"hello", "hi", "one", "two", "kept 0", "kept 1"} {
		if texts[text] != 1 {
			bad("%q is there %d times, want once", text, texts[text])
		}
	}
	if !nicked() {
		bad("there is no petname")
	}
	inbox := func(put envelope.Store) bool { return put.Namespace == envelope.Inbox }
	if n := s.count(inbox); n != 3 && n != 4 {
		bad("%d different envelopes for Bob, want two messages and one or two receipts", n)
	}
	if n := s.count(func(put envelope.Store) bool {
		return put.Namespace == envelope.Sync &&
			put.TTL > 0
	}); n != 2 {
		bad("%d different copies for the second device, want 2", n)
	}
	if n := s.count(func(put envelope.Store) bool {
		return put.Namespace == envelope.Sync &&
			put.TTL == 0
	}); n < 1 {
		bad("the petname was never shared")
	}
	if err := c.Close(); err != nil {
		bad("close: %v", err)
	}
	return wrong
}

// TestDeathAtEveryWriteOfTheStoreLosesNothing lets a process die at each write to its database and its
// secrets, one run for each.
func TestDeathAtEveryWriteOfTheStoreLosesNothing(t *testing.T) {
	st := setStage(t)
	stride := 1
	if testing.Short() {
		stride = 101
	}
	// A process waits more than it works, so several of them live and die at a time.
	const batch = 16
	for n := 0; ; n += batch * stride {
		var alive atomic.Bool
		t.Run(fmt.Sprint("from write ", n), func(t *testing.T) {
			for i := range batch {
				at := n + i*stride
				t.Run(fmt.Sprint("write ", at), func(t *testing.T) {
					t.Parallel()
					if st.dieAt(t, at) {
						alive.Store(true)
					}
				})
			}
		})
		if alive.Load() || t.Failed() {
			t.Logf("fewer than %d writes", n+batch*stride)
			return
		}
	}
}

// dieAt lets a process die at its write n and looks at what is left. It reports whether there were fewer
// writes.
func (st *stage) dieAt(t *testing.T, n int) (alive bool) {
	dir, s := copyDir(t, st.dir), st.swarm()
	disk := watch(dir, n)
	defer unwatch(dir)
	acknowledged := map[string]bool{}
	if c, err := st.open(dir, s); err == nil {
		c.SetSecretsHook(func(string) error { return disk.write() })
		live(c, disk.died, func(ctx context.Context) {
			st.work(ctx, c,
				func(what string) { acknowledged[what] = true })
		})
		c.Close() // writes nothing any more
	}
	select {
	case <-disk.died:
	default:
		alive = true
	}
	unwatch(dir)
	for _, w := range st.check(t, dir, s, acknowledged) {
		t.Error(w)
	}
	return alive
}

// TestLossesAndDoublesAreNoticed is the control: a disk that forgot what was acknowledged, and a message
// sealed twice.
func TestLossesAndDoublesAreNoticed(t *testing.T) {
	st := setStage(t)
	dir, s := copyDir(t, st.dir), st.swarm()
	c, err := st.open(dir, s)
	if err != nil {
		t.Fatal(err)
	}
	acknowledged := map[string]bool{}
	live(c, nil, func(ctx context.Context) {
		st.work(ctx, c,
			func(what string) { acknowledged[what] = true })
	})
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if wrong := st.check(t, dir, s, acknowledged); len(wrong) != 0 || len(acknowledged) != 3 {
		t.Fatalf("without any death: %q, %d acknowledged", wrong, len(acknowledged))
	}
	// The same swarm, and a disk from before: the messages and the petname are gone, and go out once more.
	wrong := st.check(t, copyDir(t, st.dir), s, acknowledged)
	if len(wrong) < len(acknowledged)+2 {
		t.Errorf("noticed only %q", wrong)
	}
}

// TestKilledChild is the process that the next test kills.
func TestKilledChild(t *testing.T) {
	dir := os.Getenv("STARLING_TEST_DIE_IN")
	if dir == "" {
		t.Skip("only as a child of another test")
	}
	n, err := strconv.Atoi(os.Getenv("STARLING_TEST_DIE_AT"))
	if err != nil {
		t.Fatal(err)
	}
	ms, err := strconv.ParseInt(os.Getenv("STARLING_TEST_NOW"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	disk := watch(dir, n)
	disk.kill = func() {
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
	st := &stage{}
	s := &swarm{moment: func() time.Time { return time.UnixMilli(ms) },
		stored: map[envelope.Hash]envelope.Store{}}
	c, err := st.open(dir, s)
	if err != nil {
		t.Fatal(err)
	}
	c.SetSecretsHook(func(string) error { return disk.write() })
	live(c, nil, func(ctx context.Context) {
		if err := c.WaitOnline(ctx); err != nil {
			t.Error(err)
		}
		if err := c.Round(ctx); err != nil {
			t.Error(err)
		}
	})
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// spawn runs TestKilledChild and reports whether it was killed.
func (st *stage) spawn(t *testing.T, dir string, n int, now time.Time) (killed bool) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilledChild$", "-test.count=1")
	cmd.Env = append(os.Environ(), "STARLING_TEST_DIE_IN="+dir, fmt.Sprint("STARLING_TEST_DIE_AT=", n),
		fmt.Sprint("STARLING_TEST_NOW=", now.UnixMilli()))
	out, err := cmd.CombinedOutput()
	if err == nil {
		return false
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() && ws.Signal() == syscall.SIGKILL {
			return true
		}
	}
	t.Fatalf("child: %v\n%s", err, out)
	return false
}

// P7: a process that is killed at any write point while it erases leaves no erased seed on its disk.
func TestErasedSeedsAreGoneWhereverTheProcessIsKilled(t *testing.T) {
	alice, _ := create(t, shared(t), "Alice")
	alice.round(t)
	seeds := alice.Seeds()
	alice.stop()
	st := &stage{dir: alice.cfg.Dir}
	later := time.Now().Add(5 * 24 * time.Hour)
	if len(seeds) == 0 || !found(client.Scan(t, st.dir), seeds) {
		t.Fatalf("the oracle is blind: it does not find any of %d seeds that are still needed", len(seeds))
	}
	stride := 1
	if testing.Short() {
		stride = 9
	}
	for n := 0; ; n += stride {
		dir := copyDir(t, st.dir)
		killed := st.spawn(t, dir, n, later)
		if !killed {
			if n == 0 {
				t.Error("the child does not write anything")
			}
			if found(client.Scan(t, dir), seeds) {
				t.Error("a seed is on the disk after its erasure")
			}
			t.Logf("%d writes", n)
			return
		}
		// Whoever wakes next finishes, and then no seed is left: neither as bytes nor under any key in the
		// directory.
		if st.spawn(t, dir, -1, later) {
			t.Fatal("the second child was killed")
		}
		if found(client.Scan(t, dir), seeds) {
			t.Errorf("killed at write %d: a seed is on the disk after the next process erased it", n)
		}
	}
}

// found reports whether any of the seeds is in what can be read.
func found(readable [][]byte, seeds map[client.DayKey][32]byte) bool {
	for _, b := range readable {
		for _, seed := range seeds {
			if bytes.Contains(b, seed[:]) {
				return true
			}
		}
	}
	return false
}
