package sessionapi

import (
	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/ident"
)

// Message is a message of a conversation; kind message.
type Message struct {
	ID           string       `json:"id"`
	Short        string       `json:"short"`
	Conversation string       `json:"conversation"`
	From         string       `json:"from"`
	FromName     string       `json:"from_name"`
	Request      bool         `json:"request"`
	Unverified   bool         `json:"unverified,omitempty"`
	Text         string       `json:"text"`
	SentAt       Millis       `json:"sent_at"`
	ReceivedAt   Millis       `json:"received_at"`
	Edited       bool         `json:"edited"`
	Deleted      bool         `json:"deleted"`
	ReplyTo      *string      `json:"reply_to"`
	Reactions    []Reaction   `json:"reactions"`
	Attachments  []Attachment `json:"attachments"`
	State        *string      `json:"state,omitempty"` // of our own messages
	Cursor       int64        `json:"cursor"`          // for listen --since
	Mentions     []string     `json:"mentions"`
	MentionsMe   bool         `json:"mentions_me,omitempty"`
	Notice       *Notice      `json:"notice,omitempty"` // nobody wrote it: it says what happened to a group
}

// Notice says what happened to a group.
type Notice struct {
	Kind    string   `json:"kind"`
	By      string   `json:"by,omitempty"`
	Members []string `json:"members"`
	Text    string   `json:"text,omitempty"` // the new name, role, ...
}

func noticeOf(n *client.Notice) *Notice {
	if n == nil {
		return nil
	}
	d := &Notice{Kind: string(n.Kind), Members: accountStrings(n.Members), Text: n.Text}
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

// Reaction is an emoji that somebody put on a message.
type Reaction struct {
	Emoji string `json:"emoji"`
	From  string `json:"from"`
}

// Attachment is a file that came with a message. Size is in bytes.
type Attachment struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	Type string `json:"type"`
	Size uint64 `json:"size"`
}

// MessageOf is the document of a message.
func MessageOf(m client.Message) Message {
	d := Message{
		ID: m.ID.String(), Short: m.ID.Short(), Conversation: m.Conversation,
		From: m.From.String(), FromName: m.FromName, Request: m.Request, Unverified: m.Unverified,
		Text: m.Text, SentAt: Millis(m.SentAt), ReceivedAt: Millis(m.ReceivedAt), Edited: m.Edited,
		Deleted:   m.Deleted,
		Reactions: []Reaction{}, Attachments: []Attachment{}, Cursor: m.Seq,
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
		d.Reactions = append(d.Reactions, Reaction{r.Emoji, r.From.String()})
	}
	for _, at := range m.Attachments {
		d.Attachments = append(d.Attachments, Attachment{ID: at.ID, Name: at.Name,
			Type: at.Type, Size: at.Size})
	}
	return d
}

// Sent is how far a message of ours has come; kind message.sent.
type Sent struct {
	ID       string    `json:"id"`
	Short    string    `json:"short"`
	To       string    `json:"to"`
	Status   string    `json:"status"`
	Replicas int       `json:"replicas"`
	Path     []string  `json:"path,omitempty"`
	Times    SentTimes `json:"times"`
}

// SentTimes says when a message of ours came how far.
type SentTimes struct {
	Queued    Millis `json:"queued"`
	Stored    Millis `json:"stored"`
	Delivered Millis `json:"delivered"`
	Read      Millis `json:"read"`
}

// SentOf is the document of a receipt.
func SentOf(r client.Receipt) Sent {
	return Sent{
		ID: r.ID.String(), Short: r.ID.Short(), To: r.Conversation, Status: r.State.String(),
		Replicas: r.Replicas, Path: pathIDs(r.Path),
		Times: SentTimes{Queued: Millis(r.Queued), Stored: Millis(r.Stored), Delivered: Millis(r.Delivered),
			Read: Millis(r.Read)},
	}
}

// Typing names the contact who was told that this account is writing; kind typing.
type Typing struct {
	To string `json:"to"`
}
