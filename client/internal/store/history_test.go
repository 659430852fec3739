package store

import (
	"fmt"
	"reflect"
	"testing"

	"github.com/starling-swarm/starling/internal/ident"
)

func TestHistoryPlanHasTheNewestFirst(t *testing.T) {
	db := fresh(t)
	var order []string
	must(t, db.Update(func(tx *Tx) error {
		for i := range 3 * (recentOfEach + 2) { // three conversations, in turn
			m := newMessage(byte(i%3), fmt.Sprint(i))
			tx.AddMessage(m)
			if i == 0 {
				tx.AddChange(Change{Message: m.ID, Author: m.Sender, Kind: ChangeEdit,
					Conversation: m.Conversation, Body: []byte("x")}, 1)
			}
		}
		tx.AddChange(Change{Message: ident.MessageID{9}, Kind: ChangeDelete}, 1) // its message is not there
		tx.SavePeer(&Peer{Account: ident.AccountID{5, 7}})
		refs, messages, conversations, top := tx.PlanHistory()
		if messages != 66 || conversations != 3 || top != 1<<32+66 {
			t.Errorf("got %d messages in %d conversations up to %d, want 66 in 3 up to %d", messages,
				conversations, top, int64(1<<32+66))
		}
		for _, r := range refs {
			switch r.Kind {
			case RefMessage:
				m, _ := tx.MessageAt(r.Seq)
				order = append(order, m.Text)
			case RefPeer:
				order = append(order, "peer")
			case RefChanges:
				order = append(order, "change")
			}
		}
		back, err := decodeRefs(encodeRefs(refs))
		if err != nil || len(back) != len(refs) {
			t.Errorf("refs: got %d, %v, want %d", len(back), err, len(refs))
		}
		for n := 1; n < 9; n++ {
			if _, err := decodeRefs(encodeRefs(refs[:1])[:n]); err == nil {
				t.Errorf("ref cut to %d bytes: got no error", n)
			}
		}
		return nil
	}))
	if got, want := order[:5], []string{"65", "64", "63", "62", "59"}; !reflect.DeepEqual(got, want) {
		t.Errorf("first: got %q, want the newest of each conversation, then those of the newest: %q", got,
			want)
	}
	if got, want := order[len(order)-9:], []string{"peer", "5", "4", "3", "2", "1", "0", "change",
		"change"}; !reflect.DeepEqual(got, want) {
		t.Errorf("last: got %q, want people, the oldest, and what has no message: %q", got, want)
	}
}

func TestHistoryGoesBelowWhatIsThere(t *testing.T) {
	db := fresh(t)
	must(t, db.Update(func(tx *Tx) error {
		if floor := tx.HistoryFloor(); floor != 1<<32 {
			t.Errorf("floor of an empty store: got %d, want %d", floor, int64(1<<32))
		}
		live, old := newMessage(1, "live"), newMessage(1, "old")
		tx.AddMessage(live)
		old.Seq = tx.HistoryFloor()
		if !tx.InsertHistory(old) || tx.InsertHistory(old) {
			t.Error("insert: want it to work once")
		}
		if again := *live; tx.InsertHistory(&again) {
			t.Error("a message that is there: got inserted, want it to stay")
		}
		all, err := tx.Messages(Query{})
		if err != nil || len(all) != 2 || all[0].Text != "old" || !all[0].HandedOut {
			t.Errorf("got %+v, %v, want the old one first, handed out", all, err)
		}
		next := newMessage(1, "next")
		if tx.AddMessage(next); next.Seq != live.Seq+1 {
			t.Errorf("next message: got seq %d, want %d", next.Seq, live.Seq+1)
		}
		return nil
	}))
	if err := db.Update(func(tx *Tx) error { tx.InsertHistory(newMessage(1, "x")); return nil }); err == nil {
		t.Error("a message without a place: got no error")
	}
}

func TestSpilledRefsMakeANewLastChunk(t *testing.T) {
	db := fresh(t)
	device := ident.DeviceID{1}
	a, b, c := Ref{Kind: RefMessage, Seq: 1}, Ref{Kind: RefMessage, Seq: 2}, Ref{Kind: RefPeer,
		Account: ident.AccountID{5}}
	must(t, db.Update(func(tx *Tx) error {
		tx.AddHistoryOut(device, []byte("manifest"), [][]Ref{{a, b}, {c}})
		tx.SpillChunk(device, 0, []Ref{a}, []Ref{b})
		tx.ChunkSent(device, 0)
		if unsent, all := tx.UnsentChunks(device); all != 3 || !reflect.DeepEqual(unsent, []int{1, 2}) {
			t.Errorf("chunks: got %v of %d unsent, want 1 and 2 of 3", unsent, all)
		}
		if refs, err := tx.Chunk(device, 2); err != nil || !reflect.DeepEqual(refs, []Ref{b}) {
			t.Errorf("new chunk: got %+v, %v, want %+v", refs, err, b)
		}
		if h := tx.HistoriesOut(); len(h) != 1 || h[0].Messages != 1 || h[0].Device != device {
			t.Errorf("got %+v, want one message stored", h)
		}
		tx.SetHistoryOut(device, HistoryDone)
		tx.DropHistoryOut(device)
		if h := tx.HistoriesOut(); len(h) != 0 {
			t.Errorf("after it was dropped: got %+v, want none", h)
		}
		return nil
	}))
}
