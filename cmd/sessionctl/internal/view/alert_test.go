package view

import (
	"strings"
	"testing"

	"github.com/starling-swarm/starling/client"
)

func TestAlertsSayWhatToType(t *testing.T) {
	a := &Alerts{Self: "sessionctl -p alice"}
	link := client.Event{Kind: client.EventLink, Link: &client.PendingLink{Label: "tab\x1b[2Jlet"}}
	got := a.Text(t.Context(), nil, link)
	if !strings.HasSuffix(got, ": sessionctl -p alice device approve CODE") || strings.Contains(got, "\x1b") {
		t.Errorf("got %q, want what to type, and no control characters", got)
	}
}

func TestAlertsOfNotices(t *testing.T) {
	cannot := client.Event{Kind: client.EventNotice, Text: "group #\x1bclub: cannot join: it is full"}
	line := client.Event{Kind: client.EventNotice, Text: "Bob joined", Message: &client.Message{}}
	for _, tc := range []struct {
		name    string
		event   client.Event
		joining bool
		want    string
	}{
		{"why a group cannot be joined", cannot, false, "group #\ufffdclub: cannot join: it is full"},
		{"the same while the command says so itself", cannot, true, ""},
		{"a line of a conversation", line, false, ""},
	} {
		if got := (&Alerts{Joining: tc.joining}).Text(t.Context(), nil, tc.event); got != tc.want {
			t.Errorf("%s: got %q, want %q", tc.name, got, tc.want)
		}
	}
}
