package store

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/private"
)

var testKey = private.KeyOf([private.Size]byte{1, 2, 3})

func open(t testing.TB, path string) *DB {
	t.Helper()
	db, err := Open(path, testKey)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return db
}

func fresh(t testing.TB) *DB {
	t.Helper()
	db := open(t, filepath.Join(t.TempDir(), "store.db"))
	t.Cleanup(func() { db.Close() })
	return db
}

func newMessage(sender byte, text string) *Message {
	m := &Message{Text: text, Body: []byte(text), SentAt: 1, ReceivedAt: 2}
	rand.Read(m.ID[:])
	m.Sender[0], m.Sender[1] = ident.AccountType, sender
	m.Conversation = m.Sender.String()
	return m
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestMessagesComeBackAsTheyWentIn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	db := open(t, path)
	in := newMessage(1, "grüße")
	in.ReplyTo = &ident.MessageID{9}
	must(t, db.Update(func(tx *Tx) error {
		if !tx.AddMessage(in) {
			t.Error("first insert: got known, want new")
		}
		if again := *in; tx.AddMessage(&again) {
			t.Error("second insert: got new, want known")
		}
		in.State, in.Path, in.Replicas, in.StoredAt = 2, ident.Path{{1}, {2}, {3}}, 2, 7
		tx.SaveMessage(in)
		return nil
	}))
	must(t, db.Close())
	db = open(t, path)
	defer db.Close()
	must(t, db.View(func(tx *Tx) error {
		out, ok := tx.MessageOf(in.Sender, in.ID)
		if !ok || fmt.Sprintf("%+v", out) == "" || out.Text != in.Text || out.Path != in.Path ||
			*out.ReplyTo != *in.ReplyTo || out.StoredAt != 7 || out.Seq != in.Seq {
			t.Errorf("got %+v, want %+v", out, in)
		}
		return nil
	}))
}

func TestQueriesSelect(t *testing.T) {
	db := fresh(t)
	var all []*Message
	must(t, db.Update(func(tx *Tx) error {
		for i := range 6 {
			m := newMessage(byte(i%2), fmt.Sprint("text ", i))
			m.ReceivedAt, m.Mine = int64(i), i == 5
			tx.AddMessage(m)
			all = append(all, m)
		}
		tx.MarkHandedOut(all[0].ID)
		tx.MarkHandedOut(all[5].ID) // our own: nothing to hand out
		return nil
	}))
	for name, tt := range map[string]struct {
		q    Query
		want []int
	}{
		"all":          {Query{}, []int{0, 1, 2, 3, 4, 5}},
		"conversation": {Query{Conversation: all[0].Conversation}, []int{0, 2, 4}},
		"after":        {Query{After: all[3].Seq}, []int{4, 5}},
		"since":        {Query{Since: 4}, []int{4, 5}},
		"oldest two":   {Query{Limit: 2}, []int{0, 1}},
		"newest two":   {Query{Limit: 2, Newest: true}, []int{4, 5}},
		"to hand out":  {Query{NotHandedOut: true}, []int{1, 2, 3, 4}},
		"by ID":        {Query{IDPrefix: all[2].ID.String()[:9]}, []int{2}},
	} {
		must(t, db.View(func(tx *Tx) error {
			got, err := tx.Messages(tt.q)
			if err != nil || len(got) != len(tt.want) {
				t.Errorf("%s: got %d messages, %v, want %d", name, len(got), err, len(tt.want))
				return nil
			}
			for i, w := range tt.want {
				if got[i].ID != all[w].ID {
					t.Errorf("%s: message %d is %q, want %q", name, i, got[i].Text, all[w].Text)
				}
			}
			return nil
		}))
	}
	err := db.View(func(tx *Tx) error { _, err := tx.Messages(Query{IDPrefix: "xyz"}); return err })
	if !errors.Is(err, fault.Invalid) {
		t.Errorf("prefix xyz: got %v, want invalid", err)
	}
}

func TestSearchFollowsEditsAndDeletions(t *testing.T) {
	db := fresh(t)
	m := newMessage(1, "the quick brown fox")
	found := func(query string) (n int) {
		must(t, db.View(func(tx *Tx) error { n = len(tx.Search(query, 10)); return nil }))
		return n
	}
	must(t, db.Update(func(tx *Tx) error { tx.AddMessage(m); return nil }))
	if n := found("quick"); n != 1 {
		t.Errorf("quick: got %d, want 1", n)
	}
	must(t, db.Update(func(tx *Tx) error { tx.SetText(m.Seq, "the slow brown fox", nil); return nil }))
	if q, s := found("quick"), found("slow"); q != 0 || s != 1 {
		t.Errorf("after the edit: got quick %d, slow %d, want 0, 1", q, s)
	}
}

func TestFailedTransactionChangesNothing(t *testing.T) {
	db := fresh(t)
	boom := errors.New("boom")
	m := newMessage(1, "x")
	if err := db.Update(func(tx *Tx) error { tx.AddMessage(m); return boom }); !errors.Is(err, boom) {
		t.Errorf("update: got %v, want boom", err)
	}
	db.SetHook(func(point string) error {
		if point == "commit" {
			return boom
		}
		return nil
	})
	if err := db.Update(func(tx *Tx) error { tx.AddMessage(m); return nil }); !errors.Is(err, boom) {
		t.Errorf("update that dies before its commit: got %v, want boom", err)
	}
	db.SetHook(nil)
	if err := db.Update(func(tx *Tx) error {
		tx.Exec(
			"INSERT INTO nowhere VALUES (1)")
		return nil
	}); !errors.Is(err, fault.Internal) {
		t.Errorf("bad statement: got %v, want internal", err)
	}
	must(t, db.View(func(tx *Tx) error {
		if all, err := tx.Messages(Query{}); err != nil || len(all) != 0 {
			t.Errorf("got %d messages, %v, want none", len(all), err)
		}
		return nil
	}))
}

func TestOutboxKeepsOrderAndDueTimes(t *testing.T) {
	db := fresh(t)
	a, b := ident.AccountID{5, 1}, ident.AccountID{5, 2}
	next := func(peer ident.AccountID, now int64) (leg Leg, ok bool, at int64) {
		must(t, db.View(func(tx *Tx) error { leg, ok, at = tx.NextLeg(peer.Key(), now); return nil }))
		return leg, ok, at
	}
	first, late, copied := Leg{Kind: LegMessage, Peer: a.Key(),
		Message: ident.MessageID{1}}, Leg{Kind: LegReceipt, Peer: a.Key(), Due: 100},
		Leg{Kind: LegCopy, Peer: b.Key(), Message: ident.MessageID{1}, Due: Held}
	second := Leg{Kind: LegMessage, Peer: a.Key(), Message: ident.MessageID{2}, Sealed: []byte("sealed"),
		Certs: 4}
	must(t, db.Update(func(tx *Tx) error {
		for _, l := range []*Leg{&first, &late, &second, &copied} {
			tx.AddLeg(l)
		}
		return nil
	}))
	if l, ok, _ := next(a, 0); !ok || l.ID != first.ID || l.Sealed != nil {
		t.Errorf("next: got %+v, want the first leg, unsealed", l)
	}
	must(t, db.Update(func(tx *Tx) error { tx.DropLeg(first.ID); return nil }))
	if l, ok, _ := next(a, 0); !ok || l.ID != second.ID || string(l.Sealed) != "sealed" || l.Certs != 4 {
		t.Errorf("next: got %+v, want the second: the receipt is not due", l)
	}
	must(t, db.Update(func(tx *Tx) error { tx.DropLeg(second.ID); return nil }))
	if _, ok, at := next(a, 99); ok || at != 100 {
		t.Errorf("before the receipt is due: got %v, %d, want to wait until 100", ok, at)
	}
	if _, ok, at := next(b, 1<<50); ok || at != 0 {
		t.Errorf("held leg: got %v, %d, want never", ok, at)
	}
	must(t, db.Update(func(tx *Tx) error {
		if !tx.ReleaseLegs(ident.MessageID{1}, LegCopy, 50) ||
			tx.ReleaseLegs(ident.MessageID{1}, LegCopy, 60) {
			t.Error("release: want it to work once")
		}
		return nil
	}))
	if l, ok, _ := next(b, 50); !ok || l.ID != copied.ID {
		t.Errorf("released leg: got %+v, %v", l, ok)
	}
}

func TestSeenAndApproval(t *testing.T) {
	db := fresh(t)
	m := newMessage(1, "please")
	m.Request = true
	must(t, db.Update(func(tx *Tx) error {
		if !tx.Seen(m.Sender, m.ID, 10) || tx.Seen(m.Sender, m.ID, 11) {
			t.Error("seen: want first, then known")
		}
		tx.ForgetSeen(11)
		if !tx.Seen(m.Sender, m.ID, 12) {
			t.Error("seen after it was forgotten: want first")
		}
		tx.AddMessage(m)
		tx.SavePeer(&Peer{Account: m.Sender, Approved: true, KnowsG: 3})
		tx.ClearRequests(m.Sender)
		if got, _ := tx.MessageOf(m.Sender, m.ID); got.Request {
			t.Error("request mark: want it gone once the sender is approved")
		}
		if p := tx.Peer(m.Sender); !p.Approved || p.KnowsG != 3 {
			t.Errorf("peer: got %+v", p)
		}
		return nil
	}))
}

func TestFilesHoldNothingInClear(t *testing.T) {
	dir := t.TempDir()
	db := open(t, filepath.Join(dir, "store.db"))
	const secret = "attack at dawn, bring the red umbrella"
	for range 20 {
		must(t, db.Update(func(tx *Tx) error { tx.AddMessage(newMessage(1, secret)); return nil }))
	}
	check := func(when string) {
		files, err := os.ReadDir(dir)
		must(t, err)
		for _, f := range files {
			b, err := os.ReadFile(filepath.Join(dir, f.Name()))
			must(t, err)
			if bytes.Contains(b, []byte("umbrella")) || bytes.Contains(b, []byte("SQLite format")) {
				t.Errorf("%s: %s holds text in clear", when, f.Name())
			}
		}
	}
	check("open")
	must(t, db.Close())
	check("closed")
}

func TestWrongKeyAndNewerFormatAreRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	db := open(t, path)
	must(t, db.Update(func(tx *Tx) error { tx.SetNumber("n", 5); return nil }))
	must(t, db.Close())
	if _, err := Open(path, private.KeyOf([private.Size]byte{9})); !errors.Is(err, fault.Corrupt) {
		t.Errorf("wrong key: got %v, want corrupt", err)
	}
	db = open(t, path)
	must(t, db.conn.Exec("PRAGMA user_version=99"))
	must(t, db.Close())
	if _, err := Open(path, testKey); !errors.Is(err, fault.Invalid) {
		t.Errorf("newer format: got %v, want invalid", err)
	}
}

// TestDeathKeepsWhatWasCommitted copies the files of an open store, as a process that dies leaves them.
func TestDeathKeepsWhatWasCommitted(t *testing.T) {
	dir, copied := t.TempDir(), t.TempDir()
	db := open(t, filepath.Join(dir, "store.db"))
	defer db.Close()
	m := newMessage(1, "kept")
	must(t, db.Update(func(tx *Tx) error { tx.AddMessage(m); return nil }))
	must(t, db.UpdateLazy(func(tx *Tx) error {
		tx.Advance("cursor", 7)
		tx.Advance("cursor",
			3)
		return nil
	}))
	files, err := os.ReadDir(dir)
	must(t, err)
	for _, f := range files {
		b, err := os.ReadFile(filepath.Join(dir, f.Name()))
		must(t, err)
		must(t, os.WriteFile(filepath.Join(copied, f.Name()), b, 0o600))
	}
	after := open(t, filepath.Join(copied, "store.db"))
	defer after.Close()
	must(t, after.View(func(tx *Tx) error {
		if _, ok := tx.MessageOf(m.Sender, m.ID); !ok || tx.Number("cursor") != 7 {
			t.Errorf("after death: message %v, cursor %d, want it and 7", ok, tx.Number("cursor"))
		}
		return nil
	}))
}

func BenchmarkReceive(b *testing.B) {
	for name, update := range map[string]func(*DB, func(*Tx) error) error{"lazy": (*DB).UpdateLazy,
		"durable": (*DB).Update} {
		b.Run(name, func(b *testing.B) {
			db := fresh(b)
			text := string(make([]byte, 1024))
			for b.Loop() {
				err := update(db, func(tx *Tx) error {
					m := newMessage(1, text)
					tx.Seen(m.Sender, m.ID, 1)
					tx.AddMessage(m)
					tx.Advance("cursor", uint64(m.Seq))
					return nil
				})
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
