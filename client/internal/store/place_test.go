package store

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ncruces/go-sqlite3"

	"github.com/starling-swarm/starling/internal/ident"
)

// TestGroupsAreReadInTheOrderOfTheirMailbox: two devices that sent at the same time saw different orders of
// arrival.
func TestGroupsAreReadInTheOrderOfTheirMailbox(t *testing.T) {
	group, direct := groupID(1).String(), ident.AccountID{ident.AccountType, 1}.String()
	for _, tc := range []struct {
		conversation string
		q            Query
		after        bool // the first that came
		want         string
	}{
		{group, Query{}, false, "20 30 40 0a 0b"},
		{group, Query{Newest: true, Limit: 3}, false, "40 0a 0b"},
		{group, Query{Limit: 2}, false, "20 30"},
		{group, Query{}, true, "0a 20 40 0b"},
		{direct, Query{}, false, "30 0a 20 40 0b"},
	} {
		db := fresh(t)
		var got []string
		must(t, db.Update(func(tx *Tx) error {
			for _, text := range []string{"30", "0a", "20", "40", "0b"} { // by arrival; "0.": not there yet
				m := newMessage(1, text)
				m.Conversation = tc.conversation
				fmt.Sscanf(text, "%d", &m.MailboxSeq)
				tx.AddMessage(m)
				if tc.after && text == "30" {
					tc.q.After = m.Seq
				}
			}
			tc.q.Conversation = tc.conversation
			all, err := tx.Messages(tc.q)
			for _, m := range all {
				got = append(got, m.Text)
			}
			return err
		}))
		if s := strings.Join(got, " "); s != tc.want {
			t.Errorf("%.2s with %+v: got %s, want %s", tc.conversation, tc.q, s, tc.want)
		}
	}
}

func TestNewestOfAGroupAreFoundByIndex(t *testing.T) {
	db := fresh(t)
	must(t, db.View(func(tx *Tx) error {
		tx.Query("EXPLAIN QUERY PLAN SELECT id FROM messages WHERE conversation = ? AND conversation "+
			">= '03' AND conversation < '04' ORDER BY mailbox_seq = 0 DESC, mailbox_seq DESC, "+
			"seq DESC LIMIT 20", []any{groupID(1).String()},
			func(s *sqlite3.Stmt) bool {
				if step := s.ColumnText(3); !strings.Contains(step, "messages_in_groups") {
					t.Errorf("got plan %q, want the index messages_in_groups alone", step)
				}
				return true
			})
		return tx.Err()
	}))
}
