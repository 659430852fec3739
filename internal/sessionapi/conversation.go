package sessionapi

import "github.com/starling-swarm/starling/client"

// Conversations are those of an account: pinned ones, then newest first; kind conv.list.
type Conversations struct {
	Conversations []Conversation `json:"conversations"`
}

// Conversation is one with a person, a group or oneself; kind conversation.
type Conversation struct {
	ID         string `json:"id"`
	Type       string `json:"type"`
	Name       string `json:"name"`
	Unread     int    `json:"unread"`
	Mentions   int    `json:"mentions"` // unread messages that name this account
	LastAt     Millis `json:"last_at"`
	Request    bool   `json:"request"`
	Pinned     bool   `json:"pinned"`
	Archived   bool   `json:"archived"`
	MutedUntil Millis `json:"muted_until"`
	Hidden     bool   `json:"hidden"`
	Marked     bool   `json:"marked_unread"`
	Expire     string `json:"expire,omitempty"` // as conv expire takes it
	Draft      string `json:"draft,omitempty"`
	Status     string `json:"status,omitempty"` // of a group, as group show has it
}

// ConversationOf is the document of a conversation.
func ConversationOf(v client.Conversation) Conversation {
	d := Conversation{
		ID: v.ID, Type: v.Type, Name: v.Name, Unread: v.Unread, Mentions: v.Mentions,
		LastAt:  Millis(v.LastAt),
		Request: v.Request, Pinned: v.Pinned, Archived: v.Archived, MutedUntil: Millis(v.MutedUntil),
		Hidden: v.Hidden, Marked: v.Marked, Expire: "", Draft: v.Draft, Status: string(v.Status),
	}
	if v.Timer.After > 0 {
		d.Expire = FormatTimer(v.Timer)
	}
	return d
}

// Read says how many messages were marked as read; kind read.
type Read struct {
	Conversation string `json:"conversation"`
	Messages     int    `json:"messages"`
}

// FormatTimer says a timer as it is typed.
func FormatTimer(t client.Timer) string {
	switch {
	case t.After == 0:
		return "off"
	case t.AfterRead:
		return t.After.String() + ":read"
	}
	return t.After.String()
}
