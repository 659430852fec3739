package view

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/render"
)

// WriteConversations lists conversations.
func WriteConversations(w io.Writer, convs []client.Conversation, now time.Time) {
	if len(convs) == 0 {
		fmt.Fprintln(w, "no conversations yet")
		return
	}
	t := render.NewTable("NAME", "UNREAD", "LAST", "", "ID")
	for _, v := range convs {
		name := v.Name
		switch {
		case v.Type == "self":
			name = "me (note to self)"
		case name == "":
			name = render.Shorten(v.ID, 10)
		case v.Type == "group":
			name = "#" + name
		}
		switch {
		case v.Status == client.GroupInvited:
			name += " (invitation)"
		case v.Request:
			name += " (request)"
		case v.Status != "" && v.Status != client.GroupJoined:
			name += " (" + StatusWords(v.Status) + ")"
		}
		for _, mark := range []struct {
			on   bool
			word string
		}{{v.Pinned, "pinned"}, {v.Archived, "archived"}, {v.Hidden, "hidden"}, {v.Marked, "marked unread"},
			{v.MutedUntil.After(now), "muted"}} {
			if mark.on {
				name += " (" + mark.word + ")"
			}
		}
		unread := fmt.Sprint(v.Unread)
		if v.Mentions > 0 {
			unread += fmt.Sprintf(" (@%d)", v.Mentions)
		}
		t.Row(name, unread, render.Ago(v.LastAt, now),
			render.Shorten(strings.ReplaceAll(v.LastText, "\n", " "), 40), render.Shorten(v.ID, 10))
	}
	t.Write(w)
}
