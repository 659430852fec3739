package client

import (
	"context"
	"encoding/hex"
	"time"

	"github.com/starling-swarm/starling/client/internal/content"
	"github.com/starling-swarm/starling/client/internal/conv"
	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	bodyv1 "github.com/starling-swarm/starling/proto/starling/body/v1"
)

// State is how far a message has come. Later states include the earlier ones.
type State uint8

const (
	StateReceived  = State(store.StateReceived)  // a message of somebody else
	StateQueued    = State(store.StateQueued)    // in the durable outbox
	StateStored    = State(store.StateStored)    // a majority of the recipient's swarm has it on disk
	StateDelivered = State(store.StateDelivered) // a device of the recipient has it
	StateRead      = State(store.StateRead)
	StateFailed    = State(store.StateFailed) // it will not be sent; Receipt.Cause says why
)

var stateNames = [...]string{"received", "queued", "stored", "delivered", "read", "failed"}

// String returns the state's word in JSON and tables.
func (s State) String() string {
	if int(s) >= len(stateNames) {
		return "unknown"
	}
	return stateNames[s]
}

// ParseState reads "queued", "stored", "delivered", "read" or "failed".
func ParseState(s string) (State, error) {
	for i, n := range stateNames {
		if n == s && State(i) >= StateQueued {
			return State(i), nil
		}
	}
	return 0, fault.New(fault.Invalid, "parse state", "%q, want stored, delivered or read", s)
}

// Message is one message of a conversation, of others or of our own.
type Message struct {
	Seq          int64 // local order of arrival: a cursor for Filter.After
	ID           ident.MessageID
	Conversation string // the peer's account ID (our own: note to self) or the group ID
	From         ident.AccountID
	FromName     string // what contacts or the sender's profile call them; may be empty
	Mine         bool
	Request      bool // the sender is not approved
	Unverified   bool // the sender's certificate is not known yet
	Unsupported  bool // a newer version sent something that this one cannot show
	Text         string
	SentAt       time.Time // by the sender's clock
	ReceivedAt   time.Time
	Edited       bool
	Deleted      bool
	ReplyTo      *ident.MessageID
	Reactions    []Reaction
	Attachments  []Attachment
	State        State     // of our own messages; StateReceived otherwise
	ExpiresAt    time.Time // when it disappears; zero: never, or not before it is read
	HandedOut    bool      // receive or listen --ack has printed it
	Mentions     []ident.AccountID
	MentionsMe   bool
	// not nil: nobody wrote it, it says what happened to the group; Text says it in words
	Notice *Notice
}

// Reaction is one person's emoji on a message.
type Reaction struct {
	Emoji string
	From  ident.AccountID
}

// Attachment describes a file that belongs to a message.
type Attachment struct {
	ID   string
	Name string
	Type string
	Size uint64
}

// Filter selects messages. The zero Filter selects all, oldest first.
type Filter struct {
	Conversation string           // "": every conversation
	After        int64            // only messages with a larger Seq
	Since        time.Time        // only messages received at or after
	Limit        int              // 0: no limit
	Newest       bool             // the Limit newest instead of the oldest; still returned oldest first
	NotHandedOut bool             // only messages of others that were not handed out
	ID           *ident.MessageID // only this one
	IDPrefix     string           // only IDs that begin with these hex digits
}

// Messages returns the messages that f selects, oldest first. A group's conversation has the order of the
// group's mailbox, the same for all members, unless f.After asks for what arrived later.
func (c *Client) Messages(ctx context.Context, f Filter) (out []Message, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	q := store.Query{Conversation: f.Conversation, After: f.After, Limit: f.Limit, Newest: f.Newest,
		NotHandedOut: f.NotHandedOut, IDPrefix: f.IDPrefix}
	if !f.Since.IsZero() {
		q.Since = f.Since.UnixMilli()
	}
	if f.ID != nil {
		q.IDPrefix = f.ID.String()
	}
	err = c.core.View(func(tx *store.Tx) error {
		rows, err := tx.Messages(q)
		for _, r := range rows {
			out = append(out, c.message(tx, r))
		}
		return err
	})
	return out, err
}

// Search returns the newest messages whose text has all the words of query, newest first.
func (c *Client) Search(ctx context.Context, query string, limit int) (out []Message, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	err = c.core.View(func(tx *store.Tx) error {
		for _, r := range tx.Search(query, limit) {
			out = append(out, c.message(tx, r))
		}
		return tx.Err()
	})
	return out, err
}

// MarkHandedOut records that messages were given to the user, for Filter.NotHandedOut. It is on disk when it
// returns.
func (c *Client) MarkHandedOut(ctx context.Context, ids ...ident.MessageID) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return c.core.Update(func(tx *store.Tx, _ *core.Batch) error {
		for _, id := range ids {
			tx.MarkHandedOut(id)
		}
		return nil
	})
}

// message joins a row with what else is known of it.
func (c *Client) message(tx *store.Tx, r store.Message) Message {
	m := Message{Seq: r.Seq, ID: r.ID, Conversation: r.Conversation, From: r.Sender,
		FromName: c.people.Name(tx, r.Sender), Mine: r.Mine,
		Request: r.Request, Unverified: r.Unverified, Text: r.Text, SentAt: core.FromMS(r.SentAt),
		ReceivedAt: core.FromMS(r.ReceivedAt), Edited: r.Edited,
		Deleted: r.Deleted, ReplyTo: r.ReplyTo, State: State(r.State), ExpiresAt: core.FromMS(r.ExpiresAt),
		HandedOut: r.HandedOut, MentionsMe: r.Mentioned}
	if r.Deleted {
		return m
	}
	tx.Reactions(r.ID, r.Sender, r.Conversation, func(sender ident.AccountID, emoji string) {
		m.Reactions = append(m.Reactions, Reaction{Emoji: emoji, From: sender})
	})
	body, ok := content.DecodeBody(r.Body)
	if !ok {
		return m
	}
	switch k := body.GetKind().(type) {
	case *bodyv1.Body_Text:
		m.Attachments, m.Mentions = attachments(k.Text.GetAttachments()...), content.Mentioned(k.Text)
	case *bodyv1.Body_Edit:
		m.Attachments, m.Mentions = attachments(k.Edit.GetText().GetAttachments()...),
			content.Mentioned(k.Edit.GetText())
	case *bodyv1.Body_Voice:
		m.Attachments = attachments(k.Voice.GetAudio())
	case *bodyv1.Body_Notice:
		n := conv.NoticeOf(k.Notice)
		m.Notice = &Notice{Kind: NoticeKind(n.Kind), By: n.By, Members: n.Members, Text: n.Text}
		m.Text = c.rows.NoticeText(tx, n)
	default:
		m.Unsupported = true
	}
	return m
}

func attachments(in ...*bodyv1.Attachment) (out []Attachment) {
	for _, a := range in {
		if a != nil {
			out = append(out, Attachment{ID: hex.EncodeToString(a.GetBlobId()), Name: a.GetName(),
				Type: a.GetMediaType(), Size: a.GetSize()})
		}
	}
	return out
}
