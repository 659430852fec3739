package view

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/refs"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/render"
	"github.com/starling-swarm/starling/internal/ident"
)

// ticks show how far a message of ours has come.
var ticks = map[client.State]string{
	client.StateQueued: "…", client.StateStored: "✓", client.StateDelivered: "✓✓", client.StateRead: "◉",
	client.StateFailed: "!",
}

// WriteMessage prints a message for people; where it is known of a group. Continued lines are indented, so
// that no text can pass for a new message.
func WriteMessage(w io.Writer, st render.Style, m client.Message, where Place, now time.Time) {
	if m.Notice != nil {
		fmt.Fprintln(w, st.Dim(render.Clock(m.ReceivedAt, now)+" "+
			render.Printable(where.prefix()+"· "+m.Text)))
		return
	}
	name := m.FromName
	switch {
	case m.Mine:
		name = "me"
	case name == "":
		name = refs.ShortAccount(m.From)
	}
	marks := ""
	if m.MentionsMe {
		marks += st.Yellow(" (mentions you)")
	}
	if m.Request {
		// whole: it is what an answer is addressed to
		marks += st.Yellow(" (request from " + m.From.String() + ")")
	}
	if m.Unverified {
		marks += st.Yellow(" (unverified)")
	}
	if m.Edited {
		marks += st.Dim(" (edited)")
	}
	text := strings.ReplaceAll(render.PrintableText(m.Text), "\n", "\n    ")
	if len(m.Mentions) > 0 {
		text = refs.Highlight(text, where.of(m.Mentions), st.Cyan)
	}
	if m.Deleted {
		text = st.Dim("(deleted)")
	}
	if m.ReplyTo != nil {
		text = st.Dim("(to #"+m.ReplyTo.Short()+") ") + text
	}
	tick := ""
	if m.Mine {
		tick = " " + st.Green(ticks[m.State]) + " " + st.Dim(m.State.String())
	}
	at := m.ReceivedAt
	if m.Mine {
		at = m.SentAt
	}
	fmt.Fprintf(w, "%s %s%s%s: %s%s %s\n", st.Dim(render.Clock(at, now)),
		st.Cyan(render.Printable(where.prefix())), st.Bold(render.Printable(name)), marks, text, tick,
		st.Dim("#"+m.ID.Short()))
}

// WriteSent prints the outcome of one message for people; to is what they called the peer.
func WriteSent(w io.Writer, st render.Style, r client.Receipt, to string) {
	if id, err := ident.ParsePeer(to); err == nil {
		to = id.Short() + "…"
	}
	switch r.State {
	case client.StateQueued:
		fmt.Fprintf(w, "%s queued  #%s  to %s\n", st.Yellow("…"), r.ID.Short(), render.Printable(to))
		return
	case client.StateFailed:
		fmt.Fprintf(w, "%s failed  #%s  to %s\n", st.Red("!"), r.ID.Short(), render.Printable(to))
		return
	}
	line := fmt.Sprintf("%s %s  #%s  to %s", st.Green(ticks[r.State]), r.State, r.ID.Short(),
		render.Printable(to))
	if r.Replicas > 0 {
		line += fmt.Sprintf("  on %d replicas", r.Replicas)
	}
	if r.Path != ([3]ident.NodeID{}) {
		line += "  via " + arrowPath(r.Path)
	}
	if r.Stored.After(r.Queued) {
		line += "  " + render.Seconds(r.Stored.Sub(r.Queued))
	}
	fmt.Fprintln(w, line)
}

// arrowPath prints a path for people.
func arrowPath(path [3]ident.NodeID) string {
	return path[0].Short() + " → " + path[1].Short() + " → " + path[2].Short()
}
