package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/ident"
)

// messageDoc is a message in JSON, for receive, listen and log.
type messageDoc struct {
	ID           string          `json:"id"`
	Short        string          `json:"short"`
	Conversation string          `json:"conversation"`
	From         string          `json:"from"`
	FromName     string          `json:"from_name"`
	Request      bool            `json:"request"`
	Unverified   bool            `json:"unverified,omitempty"`
	Text         string          `json:"text"`
	SentAt       millis          `json:"sent_at"`
	ReceivedAt   millis          `json:"received_at"`
	Edited       bool            `json:"edited"`
	Deleted      bool            `json:"deleted"`
	ReplyTo      *string         `json:"reply_to"`
	Reactions    []reactionDoc   `json:"reactions"`
	Attachments  []attachmentDoc `json:"attachments"`
	State        *string         `json:"state,omitempty"` // of our own messages
	Cursor       int64           `json:"cursor"`          // for listen --since
	Mentions     []string        `json:"mentions"`
	MentionsMe   bool            `json:"mentions_me,omitempty"`
	Notice       *noticeDoc      `json:"notice,omitempty"` // nobody wrote it: it says what happened to a group
}

type noticeDoc struct {
	Kind    string   `json:"kind"`
	By      string   `json:"by,omitempty"`
	Members []string `json:"members"`
	Text    string   `json:"text,omitempty"` // the new name, role, ...
}

func noticeOf(n *client.Notice) *noticeDoc {
	if n == nil {
		return nil
	}
	d := &noticeDoc{Kind: string(n.Kind), Members: accountStrings(n.Members), Text: n.Text}
	if n.By != (ident.AccountID{}) {
		d.By = n.By.String()
	}
	return d
}

func accountStrings(ids []ident.AccountID) []string {
	out := []string{}
	for _, id := range ids {
		out = append(out, id.String())
	}
	return out
}

type reactionDoc struct {
	Emoji string `json:"emoji"`
	From  string `json:"from"`
}

type attachmentDoc struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	Type string `json:"type"`
	Size uint64 `json:"size"`
}

func messageOf(m client.Message) messageDoc {
	d := messageDoc{
		ID: m.ID.String(), Short: m.ID.Short(), Conversation: m.Conversation,
		From: m.From.String(), FromName: m.FromName, Request: m.Request, Unverified: m.Unverified,
		Text: m.Text, SentAt: millis(m.SentAt), ReceivedAt: millis(m.ReceivedAt), Edited: m.Edited, Deleted: m.Deleted,
		Reactions: []reactionDoc{}, Attachments: []attachmentDoc{}, Cursor: m.Seq,
		Mentions: accountStrings(m.Mentions), MentionsMe: m.MentionsMe, Notice: noticeOf(m.Notice),
	}
	if m.ReplyTo != nil {
		id := m.ReplyTo.String()
		d.ReplyTo = &id
	}
	if m.Mine {
		s := m.State.String()
		d.State = &s
	}
	for _, r := range m.Reactions {
		d.Reactions = append(d.Reactions, reactionDoc{r.Emoji, r.From.String()})
	}
	for _, at := range m.Attachments {
		d.Attachments = append(d.Attachments, attachmentDoc{at.ID, at.Name, at.Type, at.Size})
	}
	return d
}

// ticks show how far a message of ours has come.
var ticks = map[client.State]string{
	client.StateQueued: "…", client.StateStored: "✓", client.StateDelivered: "✓✓", client.StateRead: "◉", client.StateFailed: "!",
}

// writeMessage prints a message for people; where it is known of a group. Continued lines are indented, so that no text can
// pass for a new message.
func writeMessage(w io.Writer, st style, m client.Message, where place, now time.Time) {
	if m.Notice != nil {
		fmt.Fprintln(w, st.dim(clock(m.ReceivedAt, now)+" "+printable(where.prefix()+"· "+m.Text)))
		return
	}
	name := m.FromName
	switch {
	case m.Mine:
		name = "me"
	case name == "":
		name = shortAccount(m.From)
	}
	marks := ""
	if m.MentionsMe {
		marks += st.yellow(" (mentions you)")
	}
	if m.Request {
		marks += st.yellow(" (request from " + m.From.String() + ")") // whole: it is what an answer is addressed to
	}
	if m.Unverified {
		marks += st.yellow(" (unverified)")
	}
	if m.Edited {
		marks += st.dim(" (edited)")
	}
	text := strings.ReplaceAll(printableText(m.Text), "\n", "\n    ")
	if len(m.Mentions) > 0 {
		text = highlight(text, where.of(m.Mentions), st.cyan)
	}
	if m.Deleted {
		text = st.dim("(deleted)")
	}
	if m.ReplyTo != nil {
		text = st.dim("(to #"+m.ReplyTo.Short()+") ") + text
	}
	tick := ""
	if m.Mine {
		tick = " " + st.green(ticks[m.State]) + " " + st.dim(m.State.String())
	}
	at := m.ReceivedAt
	if m.Mine {
		at = m.SentAt
	}
	fmt.Fprintf(w, "%s %s%s%s: %s%s %s\n", st.dim(clock(at, now)), st.cyan(printable(where.prefix())), st.bold(printable(name)), marks, text, tick, st.dim("#"+m.ID.Short()))
}

// sentDoc is the outcome of one message of send.
type sentDoc struct {
	ID       string   `json:"id"`
	Short    string   `json:"short"`
	To       string   `json:"to"`
	Status   string   `json:"status"`
	Replicas int      `json:"replicas"`
	Path     []string `json:"path,omitempty"`
	Times    timesDoc `json:"times"`
}

type timesDoc struct {
	Queued    millis `json:"queued"`
	Stored    millis `json:"stored"`
	Delivered millis `json:"delivered"`
	Read      millis `json:"read"`
}

func sentOf(r client.Receipt) sentDoc {
	return sentDoc{
		ID: r.ID.String(), Short: r.ID.Short(), To: r.Conversation, Status: r.State.String(),
		Replicas: r.Replicas, Path: pathIDs(r.Path),
		Times: timesDoc{millis(r.Queued), millis(r.Stored), millis(r.Delivered), millis(r.Read)},
	}
}

func pathIDs(path [3]ident.NodeID) []string {
	if path == ([3]ident.NodeID{}) {
		return nil
	}
	return []string{path[0].String(), path[1].String(), path[2].String()}
}

// arrowPath prints a path for people.
func arrowPath(path [3]ident.NodeID) string {
	return path[0].Short() + " → " + path[1].Short() + " → " + path[2].Short()
}

// writeSent prints the outcome of one message for people; to is what they called the peer.
func writeSent(w io.Writer, st style, r client.Receipt, to string) {
	if id, err := ident.ParsePeer(to); err == nil {
		to = id.Short() + "…"
	}
	switch r.State {
	case client.StateQueued:
		fmt.Fprintf(w, "%s queued  #%s  to %s\n", st.yellow("…"), r.ID.Short(), printable(to))
		return
	case client.StateFailed:
		fmt.Fprintf(w, "%s failed  #%s  to %s\n", st.red("!"), r.ID.Short(), printable(to))
		return
	}
	line := fmt.Sprintf("%s %s  #%s  to %s", st.green(ticks[r.State]), r.State, r.ID.Short(), printable(to))
	if r.Replicas > 0 {
		line += fmt.Sprintf("  on %d replicas", r.Replicas)
	}
	if r.Path != ([3]ident.NodeID{}) {
		line += "  via " + arrowPath(r.Path)
	}
	if r.Stored.After(r.Queued) {
		line += "  " + seconds(r.Stored.Sub(r.Queued))
	}
	fmt.Fprintln(w, line)
}

// shortAccount is an account ID cut to what people compare at a glance.
func shortAccount(id ident.AccountID) string { return id.String()[:10] + "…" }
