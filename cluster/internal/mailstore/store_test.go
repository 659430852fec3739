package mailstore_test

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/starling-swarm/starling/cluster/internal/mailstore"
	"github.com/starling-swarm/starling/cluster/internal/mailstore/storetest"
	"github.com/starling-swarm/starling/cluster/internal/statemachine"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

func open(t testing.TB, dir string) *mailstore.Store {
	t.Helper()
	s, err := mailstore.Open(dir, mailstore.Options{})
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Harness {
		s := open(t, t.TempDir())
		t.Cleanup(func() {
			if err := s.Check(); err != nil {
				t.Errorf("check: %v", err)
			}
		})
		r := storetest.NewReplica(storetest.Disk{Store: s}, statemachine.Config{Replicas: 1})
		return storetest.Harness{Mailboxes: r, Advance: r.Advance}
	})
}

// history makes the commands of a small swarm's life: configuration, a mailbox, mail, a rotation, deletes,
// expiry.
func history(t testing.TB) [][]byte {
	t.Helper()
	acc := storetest.NewAccount("history")
	now := int64(storetest.Epoch)
	var out [][]byte
	stamp := func() statemachine.Stamp {
		now += 1000
		return statemachine.Stamp{Time: now, Allowance: 1 << 30}
	}
	add := func(c statemachine.Command) { out = append(out, statemachine.EncodeCommand(c)) }
	request := func(r *envelope.Request, key ed25519.PrivateKey) {
		st := stamp()
		signed := storetest.Signer(envelope.LabelRequest, key)(ident.NodeID{1}, [32]byte{2}, now, r.Encode())
		add(&statemachine.Request{Stamp: st, Ingress: statemachine.Ingress{Node: ident.NodeID{1},
			Tag: [32]byte{2}, Signed: signed}})
	}
	add(&statemachine.Config{Stamp: stamp(), Number: 1, Slots: statemachine.AllSlots(), Replicas: 3})
	request(acc.Genesis(), acc.MailboxKey())
	for i := range 40 {
		request(acc.Request(nil, envelope.Store{Namespace: envelope.Inbox, TTL: uint32(10 + i),
			Body: bytes.Repeat([]byte{byte(i)}, 100*i)}), nil)
	}
	request(acc.Change(envelope.Rotate, 2, 1), acc.Authority(1))
	request(acc.Request(acc.Authority(2), envelope.DeleteBefore{Namespace: envelope.Inbox,
		Before: now - 10_000}), acc.Authority(2))
	add(&statemachine.Expire{Stamp: stamp(), UpTo: now, Max: 5})
	return out
}

// batches cuts commands into entries of n, numbered from index.
func batches(index uint64, commands [][]byte, n int) (out []mailstore.Batch) {
	for ; len(commands) > 0; index++ {
		n = min(n, len(commands))
		out = append(out, mailstore.Batch{Index: index, Term: 3, Commands: commands[:n]})
		commands = commands[n:]
	}
	return out
}

func snapshot(t testing.TB, s *mailstore.Store) []byte {
	t.Helper()
	snap, err := s.Snapshot()
	if err != nil {
		t.Fatalf("snapshot: %v", err)
	}
	defer snap.Release()
	var buf bytes.Buffer
	if err := snap.Persist(&buf); err != nil {
		t.Fatalf("persist: %v", err)
	}
	return buf.Bytes()
}

func TestEqualEntriesGiveEqualSnapshots(t *testing.T) {
	a, b := open(t, t.TempDir()), open(t, t.TempDir())
	commands := history(t)
	a.ApplyBatch(batches(1, commands, 1)) // all entries in one transaction
	for _, e := range batches(1, commands, 1) {
		b.ApplyBatch([]mailstore.Batch{e})
	}
	if index, term := b.Applied(); index != uint64(len(commands)) || term != 3 {
		t.Errorf("got applied %d in term %d, want %d in 3", index, term, len(commands))
	}
	if !bytes.Equal(snapshot(t, a), snapshot(t, b)) {
		t.Error("two replicas that were fed the same entries differ")
	}
	if err := a.Check(); err != nil {
		t.Errorf("check: %v", err)
	}
}

func TestReopenedStoreSkipsWhatItHas(t *testing.T) {
	dir := t.TempDir()
	commands := history(t)
	entries := batches(1, commands, 4)
	s := open(t, dir)
	s.ApplyBatch(entries[:3])
	if err := s.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	s = open(t, dir)
	if index, term := s.Applied(); index != 3 || term != 3 {
		t.Fatalf("got applied %d in term %d after reopening, want 3 in 3", index, term)
	}
	if s.Clock() == 0 || s.Config().Number != 1 {
		t.Errorf("got clock %d and configuration %d after reopening, want both", s.Clock(), s.Config().Number)
	}
	results := s.ApplyBatch(entries)
	for i, r := range results {
		if skipped := r == nil; skipped != (i < 3) {
			t.Errorf("entry %d: got skipped %v, want %v", i+1, skipped, i < 3)
		}
	}
	whole := open(t, t.TempDir())
	whole.ApplyBatch(entries)
	if !bytes.Equal(snapshot(t, s), snapshot(t, whole)) {
		t.Error("a store that was reopened half-way differs from one that was not")
	}
}

func TestEmptyEntryMovesTheIndex(t *testing.T) {
	s := open(t, t.TempDir())
	s.ApplyBatch([]mailstore.Batch{{Index: 9, Term: 2}})
	if index, term := s.Applied(); index != 9 || term != 2 {
		t.Errorf("got applied %d in term %d, want 9 in 2", index, term)
	}
}

func TestReadsAndPushes(t *testing.T) {
	s := open(t, t.TempDir())
	commands := history(t)
	var pushed []uint64
	for _, res := range s.ApplyBatch(batches(1, commands, 8)) {
		for _, r := range res {
			for _, e := range r.(statemachine.Result).Events {
				if e.Kind == statemachine.Stored && e.Envelope.Namespace == envelope.Inbox {
					pushed = append(pushed, e.Envelope.Seq)
				}
			}
		}
	}
	if len(pushed) != 40 {
		t.Errorf("got %d envelopes to push, want 40", len(pushed))
	}
	acc := storetest.NewAccount("history")
	box, err := s.Mailbox(acc.Mailbox())
	if err != nil || box.CertsHead != 44 || box.Head != 46 {
		t.Errorf("got %+v (%v), want certificate head 44 of head 46", box, err)
	}
	if _, err := s.Mailbox(ident.MailboxID{1}); !errors.Is(err, fault.NotFound) {
		t.Errorf("absent mailbox: got %v, want not found", err)
	}
	page, err := s.ReadAfter(acc.Mailbox(), []envelope.Namespace{envelope.Inbox, envelope.Certs}, 42, 2, 0)
	if err != nil || len(page.Envelopes) != 2 || page.Envelopes[0].Seq != 43 || page.Envelopes[1].Seq != 44 ||
		page.Seq == 0 {
		t.Errorf("got %+v (%v), want seqs 43 and 44", page, err)
	}
	if _, err := s.ReadAfter(ident.MailboxID{1}, []envelope.Namespace{envelope.Inbox}, 0, 0,
		0); !errors.Is(err, fault.NotFound) {
		t.Errorf("absent mailbox: got %v, want not found", err)
	}
	if at, ok := s.NextExpiry(); !ok || at == 0 {
		t.Errorf("got next expiry %d, %v, want one", at, ok)
	}
	st, err := s.Stats()
	slot, serr := s.Slot(acc.Mailbox().Slot())
	if err != nil || serr != nil || st.Mailboxes != 1 || st.Envelopes == 0 || st.Envelopes != slot.Count ||
		st.Bytes != slot.Bytes {
		t.Errorf("got %+v (%v) and slot %+v (%v), want the one mailbox's", st, err, slot, serr)
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	_ = s.Close()
	mailstore.SetSchema(t, filepath.Join(dir, mailstore.FileName), 2)
	_, err := mailstore.Open(dir, mailstore.Options{})
	if !errors.Is(err, fault.Invalid) || !errors.Is(err, mailstore.ErrNewer) {
		t.Fatalf("got %v, want invalid: made by a newer version", err)
	}
	want := "open mailbox store: schema 2, want at most 1: made by a newer version: upgrade this node"
	if err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
}

func TestSecondOpenIsRefused(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	if _, err := mailstore.Open(dir, mailstore.Options{}); !errors.Is(err, fault.Unavailable) {
		t.Errorf("got %v, want unavailable", err)
	}
}

func TestClosedStoreIsUnavailable(t *testing.T) {
	s := open(t, t.TempDir())
	s.ApplyBatch(batches(1, history(t), 100))
	_ = s.Close()
	if _, err := s.Mailbox(ident.MailboxID{}); !errors.Is(err, fault.Unavailable) {
		t.Errorf("read: got %v, want unavailable", err)
	}
	res := s.ApplyBatch([]mailstore.Batch{{Index: 99, Commands: [][]byte{{}}}})
	if got := res[0][0].(statemachine.Result); !errors.Is(got.Err, fault.Unavailable) {
		t.Errorf("apply: got %v, want unavailable", got.Err)
	}
}

func TestFreshStoreIsSmall(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	st, err := os.Stat(filepath.Join(dir, mailstore.FileName))
	if err != nil {
		t.Fatal(err)
	}
	if st.Size() > 2<<20 {
		t.Errorf("got a fresh store of %d bytes, want at most 2 MiB", st.Size())
	}
}

func TestFlippedBitsAreFoundAndNeverServed(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	commands := history(t)
	s.ApplyBatch(batches(1, commands, 8))
	_ = s.Close()
	path := filepath.Join(dir, mailstore.FileName)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	acc := storetest.NewAccount("history")
	body := bytes.Repeat([]byte{39}, 100) // inside the newest message
	at := bytes.Index(whole, body)
	if at < 0 {
		t.Fatal("the message is not in the file")
	}
	var told []error
	s, err = mailstore.Open(dir, mailstore.Options{OnFatal: func(err error) { told = append(told, err) }})
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	defer s.Close()
	flip(t, path, int64(at+50), body[0]^4) // under the running store
	for range 2 {
		if _, err := s.ReadAfter(acc.Mailbox(), []envelope.Namespace{envelope.Inbox}, 0, 0,
			0); !errors.Is(err, fault.Corrupt) {
			t.Errorf("read: got %v, want corrupt", err)
		}
	}
	res := s.ApplyBatch([]mailstore.Batch{{Index: 99, Commands: [][]byte{commands[0]}}})
	if got := res[0][0].(statemachine.Result); !errors.Is(got.Err, fault.Corrupt) {
		t.Errorf("apply: got %v, want corrupt", got.Err)
	}
	if err := s.Check(); !errors.Is(err, fault.Corrupt) {
		t.Errorf("check: got %v, want corrupt", err)
	}
	if index, _ := s.Applied(); index == 99 {
		t.Error("a broken store moved its applied index")
	}
	if len(told) != 1 || !errors.Is(told[0], fault.Corrupt) {
		t.Errorf("got fatal errors %v, want one: corrupt", told)
	}
	if _, err := mailstore.Open(dir, mailstore.Options{}); err == nil {
		t.Error("a damaged store was opened again")
	}
	// A snapshot of a sound replica heals it.
	sound := open(t, t.TempDir())
	sound.ApplyBatch(batches(1, commands, 8))
	if err := s.Restore(bytes.NewReader(snapshot(t, sound))); err != nil {
		t.Fatalf("restore: %v", err)
	}
	if err := s.Check(); err != nil {
		t.Errorf("check after restore: %v", err)
	}
}

// TestNoDamageIsServed flips one bit in every 512 bytes of the file. Whatever bbolt makes of it, no answer
// may differ from the sound store's, and no panic may leave the package.
func TestNoDamageIsServed(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	s.ApplyBatch(batches(1, history(t), 8))
	acc := storetest.NewAccount("history")
	all := []envelope.Namespace{envelope.Inbox, envelope.Certs, envelope.Days, envelope.Devices}
	want, err := s.ReadAfter(acc.Mailbox(), all, 0, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
	path := filepath.Join(dir, mailstore.FileName)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	whole = bytes.TrimRight(whole, "\x00")
	whole = append(whole, make([]byte, 64<<10)...)
	step := 1024
	if testing.Short() {
		step = 4096 + 1024
	}
	found := 0
	for at := 8192 + 24; at < len(whole); at += step { // bbolt checks its two meta pages by itself
		damaged := bytes.Clone(whole)
		damaged[at] ^= 1
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := mailstore.Open(dir, mailstore.Options{})
		if err != nil {
			if !errors.Is(err, fault.Corrupt) {
				t.Errorf("byte %d: open: got %v, want corrupt", at, err)
			}
			found++
			continue
		}
		got, err := s.ReadAfter(acc.Mailbox(), all, 0, 0, 0)
		checked := s.Check()
		switch {
		case err == nil && checked == nil || errors.Is(checked, fault.Corrupt):
		default:
			t.Errorf("byte %d: got %v and %v, want corrupt", at, err, checked)
		}
		if err == nil {
			for i, e := range got.Envelopes {
				if i >= len(want.Envelopes) || !bytes.Equal(e.Body, bodyOf(want, e.Seq)) {
					t.Errorf("byte %d: a changed envelope %d was served", at, e.Seq)
				}
			}
		}
		if checked != nil {
			found++
		}
		_ = s.Close()
	}
	if found == 0 {
		t.Error("no damage was found: the test missed the rows")
	}
}

func bodyOf(p statemachine.Page, seq uint64) []byte {
	for _, e := range p.Envelopes {
		if e.Seq == seq {
			return e.Body
		}
	}
	return []byte("there is no such envelope")
}

func flip(t *testing.T, path string, at int64, b byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte{b}, at); err != nil {
		t.Fatal(err)
	}
}

func TestDiscardedStoreIsReplaced(t *testing.T) {
	dir := t.TempDir()
	_ = open(t, dir).Close()
	path := filepath.Join(dir, mailstore.FileName)
	flip(t, path, 0, 0xff)
	flip(t, path, 16, 0xff)
	flip(t, path, 4096+16, 0xff)
	if _, err := mailstore.Open(dir, mailstore.Options{}); !errors.Is(err, fault.Corrupt) {
		t.Fatalf("got %v, want corrupt", err)
	}
	if err := mailstore.Discard(dir); err != nil {
		t.Fatal(err)
	}
	if index, _ := open(t, dir).Applied(); index != 0 {
		t.Errorf("got applied %d, want an empty store", index)
	}
	if _, err := os.Stat(path + ".damaged"); err != nil {
		t.Errorf("the damaged file is gone: %v", err)
	}
}

func TestCutFileIsCorrupt(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	s.ApplyBatch(batches(1, history(t), 8))
	_ = s.Close()
	path := filepath.Join(dir, mailstore.FileName)
	for _, size := range []int64{3 * 4096, 8192, 4096, 100, 0} {
		if err := os.Truncate(path, size); err != nil {
			t.Fatal(err)
		}
		s, err := mailstore.Open(dir, mailstore.Options{})
		if err == nil {
			err = s.Check()
			_ = s.Close()
		}
		if !errors.Is(err, fault.Corrupt) {
			t.Errorf("cut to %d bytes: got %v, want corrupt", size, err)
		}
	}
}

// TestReadersNeverSeeHalfABatch reads while entries are applied and snapshots restored: a batch of two stores
// shows both or none.
func TestReadersNeverSeeHalfABatch(t *testing.T) {
	s := open(t, t.TempDir())
	acc := storetest.NewAccount("history")
	s.ApplyBatch(batches(1, history(t)[:2], 1))
	early := snapshot(t, s)
	entries := 30
	done := make(chan error, 2)
	stop := make(chan struct{})
	for range 2 {
		go func() {
			for {
				select {
				case <-stop:
					done <- nil
					return
				default:
				}
				p, err := s.ReadAfter(acc.Mailbox(), []envelope.Namespace{envelope.Sync}, 0, 0, 0)
				if err != nil || len(p.Envelopes)%2 != 0 {
					done <- fmt.Errorf("got %d envelopes (%v), want an even number", len(p.Envelopes), err)
					return
				}
			}
		}()
	}
	for round := range 2 {
		for i := range entries {
			now := int64(storetest.Epoch + 10_000 + i)
			r := acc.Request(acc.Authority(1),
				envelope.Store{Namespace: envelope.Sync,
					Body: []byte{byte(i), 1}},
				envelope.Store{Namespace: envelope.Sync, Body: []byte{byte(i), 2}})
			signed := storetest.Signer(envelope.LabelRequest, acc.Authority(1))(ident.NodeID{1}, [32]byte{},
				now, r.Encode())
			c := statemachine.EncodeCommand(&statemachine.Request{Stamp: statemachine.Stamp{Time: now,
				Allowance: 10_000}, Ingress: statemachine.Ingress{Node: ident.NodeID{1}, Signed: signed}})
			res := s.ApplyBatch([]mailstore.Batch{{Index: uint64(3 + i), Term: 1, Commands: [][]byte{c}}})
			if err := res[0][0].(statemachine.Result).Response.Err(); err != nil {
				t.Fatalf("round %d, entry %d: %v", round, i, err)
			}
		}
		if err := s.Restore(bytes.NewReader(early)); err != nil {
			t.Fatalf("restore: %v", err)
		}
	}
	close(stop)
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
