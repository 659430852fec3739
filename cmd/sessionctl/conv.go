package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/starling-swarm/starling/client"
)

type convListDoc struct {
	Conversations []convDoc `json:"conversations"`
}

type convDoc struct {
	ID         string `json:"id"`
	Type       string `json:"type"`
	Name       string `json:"name"`
	Unread     int    `json:"unread"`
	Mentions   int    `json:"mentions"` // unread messages that name this account
	LastAt     millis `json:"last_at"`
	Request    bool   `json:"request"`
	Pinned     bool   `json:"pinned"`
	Archived   bool   `json:"archived"`
	MutedUntil millis `json:"muted_until"`
	Hidden     bool   `json:"hidden"`
	Marked     bool   `json:"marked_unread"`
	Expire     string `json:"expire,omitempty"` // as conv expire takes it
	Draft      string `json:"draft,omitempty"`
	Status     string `json:"status,omitempty"` // of a group, as group show has it
}

func convOf(v client.Conversation) convDoc {
	d := convDoc{
		v.ID, v.Type, v.Name, v.Unread, v.Mentions, millis(v.LastAt), v.Request, v.Pinned, v.Archived, millis(v.MutedUntil), v.Hidden, v.Marked, "", v.Draft, string(v.Status),
	}
	if v.Timer.After > 0 {
		d.Expire = timerWords(v.Timer)
	}
	return d
}

func (a *app) convCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "conv",
		Short:   "The conversations of this account",
		GroupID: "talk",
		Example: "  sessionctl conv list",
	}
	var all bool
	list := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List conversations: pinned ones, then newest first",
		Example: "  sessionctl conv list --json",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.fresh(cmd, false)
			if err != nil {
				return err
			}
			list := c.Conversations
			if all {
				list = c.AllConversations
			}
			convs, err := list(cmd.Context())
			if err != nil {
				return err
			}
			doc := convListDoc{[]convDoc{}}
			for _, v := range convs {
				doc.Conversations = append(doc.Conversations, convOf(v))
			}
			return a.answer("conv.list", doc, func(w io.Writer, _ style) { writeConvs(w, convs, time.Now()) })
		},
	}
	list.Flags().BoolVar(&all, "all", false, "hidden ones, too")
	c.AddCommand(list)
	c.AddCommand(a.convChangeCommands()...)
	return c
}

func writeConvs(w io.Writer, convs []client.Conversation, now time.Time) {
	if len(convs) == 0 {
		fmt.Fprintln(w, "no conversations yet")
		return
	}
	t := newTable("NAME", "UNREAD", "LAST", "", "ID")
	for _, v := range convs {
		name := v.Name
		switch {
		case v.Type == "self":
			name = "me (note to self)"
		case name == "":
			name = cut(v.ID, 10)
		case v.Type == "group":
			name = "#" + name
		}
		switch {
		case v.Status == client.GroupInvited:
			name += " (invitation)"
		case v.Request:
			name += " (request)"
		case v.Status != "" && v.Status != client.GroupJoined:
			name += " (" + statusWords(v.Status) + ")"
		}
		for _, mark := range []struct {
			on   bool
			word string
		}{{v.Pinned, "pinned"}, {v.Archived, "archived"}, {v.Hidden, "hidden"}, {v.Marked, "marked unread"}, {v.MutedUntil.After(now), "muted"}} {
			if mark.on {
				name += " (" + mark.word + ")"
			}
		}
		unread := fmt.Sprint(v.Unread)
		if v.Mentions > 0 {
			unread += fmt.Sprintf(" (@%d)", v.Mentions)
		}
		t.row(name, unread, ago(v.LastAt, now), cut(strings.ReplaceAll(v.LastText, "\n", " "), 40), cut(v.ID, 10))
	}
	t.write(w)
}

// cut shortens s to n characters with an ellipsis.
func cut(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	return string(r[:n]) + "…"
}
