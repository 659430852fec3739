package store

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/starling-swarm/starling/internal/ident"
)

// TestOrderOfChangesDoesNotMatter applies the same changes in two orders, some twice, and compares what is
// kept.
func TestOrderOfChangesDoesNotMatter(t *testing.T) {
	db := fresh(t)
	author, n := ident.AccountID{ident.AccountType, 9}, byte(0)
	rapid.Check(t, func(t *rapid.T) {
		n++
		ids := [2]ident.MessageID{{n, 1}, {n, 2}} // the same changes on two messages
		type step struct {
			emoji string // "": an edit
			Stamp
			removed bool
		}
		steps := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step {
			return step{rapid.SampledFrom([]string{"", "+", "-"}).Draw(t, "emoji"),
				Stamp{rapid.Int64Range(1, 4).Draw(t, "at"), ident.MessageID{rapid.Byte().Draw(t, "change")}},
				rapid.Bool().Draw(t, "removed")}
		}), 1, 8).Draw(t, "steps")
		seen := map[Stamp]bool{} // a change has one stamp
		var unique []step
		for _, s := range steps {
			if !seen[s.Stamp] {
				seen[s.Stamp], unique = true, append(unique, s)
			}
		}
		other := rapid.Permutation(append(unique, unique[0])).Draw(t, "other order")
		states := [2]string{}
		for i, order := range [][]step{unique, other} {
			err := db.Update(func(tx *Tx) error {
				for _, s := range order {
					if s.emoji == "" {
						tx.AddChange(Change{Message: ids[i], Author: author, Kind: ChangeEdit,
							Conversation: "c", Stamp: s.Stamp, Body: fmt.Append(nil, s.Stamp)}, 1)
						continue
					}
					tx.React(Reaction{Message: ids[i], Author: author, Sender: author, Emoji: s.emoji,
						Conversation: "c", Stamp: s.Stamp, Removed: s.removed})
				}
				for _, c := range tx.Changes(ids[i], author) {
					states[i] += fmt.Sprint(c.Kind, string(c.Body))
				}
				tx.Reactions(ids[i], author, "c", func(_ ident.AccountID,
					emoji string) {
					states[i] += emoji
				})
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		if states[0] != states[1] {
			t.Errorf("%v: got %q, in the order %v %q", unique, states[0], other, states[1])
		}
	})
}

func TestClearingTakesWhatWasThereAndNothingElse(t *testing.T) {
	db := fresh(t)
	theirs := func(seq uint64, text string) *Message {
		m := newMessage(1, text)
		m.MailboxSeq = seq
		return m
	}
	early, late, own, other := theirs(5, "early"), theirs(9, "late"), newMessage(1, "own"), newMessage(2,
		"other")
	own.Mine, own.SentAt, other.MailboxSeq = true, 100, 5
	must(t, db.Update(func(tx *Tx) error {
		for _, m := range []*Message{early, late, own, other} {
			tx.AddMessage(m)
		}
		tx.React(Reaction{Message: early.ID, Author: early.Sender, Sender: early.Sender, Emoji: "+",
			Conversation: early.Conversation, Stamp: Stamp{At: 1}})
		if seq, at := tx.NewestOf(early.Conversation); seq != 9 || at != 100 {
			t.Errorf("newest: got %d, %d, want 9, 100", seq, at)
		}
		if n := tx.Clear(early.Conversation, 5, 99); n != 1 {
			t.Errorf("cleared %d messages, want 1", n)
		}
		if n := tx.Clear(early.Conversation, 5, 100); n != 1 {
			t.Errorf("cleared %d more messages, want our own", n)
		}
		tx.Reactions(early.ID, early.Sender, early.Conversation,
			func(ident.AccountID, string) { t.Error("a reaction on a cleared message is left") })
		all, err := tx.Messages(Query{})
		if err != nil || len(all) != 2 || all[0].Text != "late" || all[1].Text != "other" {
			t.Errorf("got %v, %v, want late and other", all, err)
		}
		return nil
	}))
	// The newest row is gone: its place is not given to another, or a listener's cursor would skip it.
	must(t, db.Update(func(tx *Tx) error {
		tx.RemoveMessage(other)
		next := newMessage(3, "next")
		if tx.AddMessage(next); next.Seq <= other.Seq {
			t.Errorf("seq after a removal: got %d, want more than %d", next.Seq, other.Seq)
		}
		return nil
	}))
}

func TestTimersRunFromReading(t *testing.T) {
	db := fresh(t)
	m := newMessage(1, "soon gone")
	m.MailboxSeq, m.ExpireAfter = 4, 10
	must(t, db.Update(func(tx *Tx) error {
		tx.AddMessage(m)
		if tx.NextExpiry() != 0 || tx.StartTimers(m.Conversation, 3, 1000) {
			t.Error("the time of an unread message runs")
		}
		if !tx.StartTimers(m.Conversation, 4, 1000) || tx.StartTimers(m.Conversation, 4, 5000) {
			t.Error("start: want it to work once")
		}
		if at := tx.NextExpiry(); at != 11_000 || len(tx.Expired(10_999)) != 0 ||
			len(tx.Expired(11_000)) != 1 {
			t.Errorf("expiry: got %d, want 11000", at)
		}
		return nil
	}))
}

func TestNewestDraftCounts(t *testing.T) {
	db := fresh(t)
	must(t, db.Update(func(tx *Tx) error {
		if !tx.SetDraft("c", "new", 20) || tx.SetDraft("c", "old", 10) || tx.SetDraft("c", "new", 20) {
			t.Error("set draft: want only what is newer to count")
		}
		if text, at := tx.Draft("c"); text != "new" || at != 20 {
			t.Errorf("got %q at %d, want new at 20", text, at)
		}
		tx.AddChange(Change{Message: ident.MessageID{1}, Kind: ChangeDelete, Stamp: Stamp{At: 5}}, 100)
		tx.ForgetChanges(100)
		if len(tx.Changes(ident.MessageID{1}, ident.AccountID{})) != 1 {
			t.Error("a change that is new was forgotten")
		}
		tx.ForgetChanges(101)
		if len(tx.Changes(ident.MessageID{1}, ident.AccountID{})) != 0 {
			t.Error("an old change without its message was kept")
		}
		return nil
	}))
}
