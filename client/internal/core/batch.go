package core

import (
	"slices"
	"time"

	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/internal/ident"
)

// Fact is something that a transaction did, or that happened beside one, in the terms of the store. Rooms
// tell facts; package client makes events of them.
type Fact struct {
	Kind         FactKind
	At           time.Time
	Row          *store.Message // a message as it is after the change
	Link         *store.Link
	Device       *store.DeviceEvent
	History      *Transfer
	Contact      *ident.AccountID
	Group        *ident.GroupID
	Conversation string
	Text         string
	Cause        error
}

// FactKind says what a fact is about. The kinds are those of the events that package client makes of them,
// and described there.
type FactKind string

const (
	FactMessage      FactKind = "message"
	FactState        FactKind = "state"
	FactUpdate       FactKind = "update"
	FactTyping       FactKind = "typing"
	FactLink         FactKind = "link"
	FactDevice       FactKind = "device"
	FactContact      FactKind = "contact"
	FactConversation FactKind = "conversation"
	FactAccount      FactKind = "account"
	FactHistory      FactKind = "history"
	FactGroup        FactKind = "group"
	FactOnline       FactKind = "online"
	FactOffline      FactKind = "offline"
	FactNotice       FactKind = "notice"
)

// Transfer is how far a history has come on its way between two devices of the account.
type Transfer struct {
	Device   ident.DeviceID // the other one
	Outgoing bool           // this device sends
	Messages int
	Total    int
	Done     bool
	MadeAt   time.Time
}

// Batch gathers what one transaction did, for what comes after it is on disk.
type Batch struct {
	Now   time.Time // of the transaction, on the network's clock
	facts []Fact
	kicks []ident.PeerKey
	after []func()

	Receipts map[ident.AccountID][]ident.MessageID // messages whose senders are told that they were delivered
}

// Tell adds facts, which are published after the transaction in this order. at is the batch's time.
func (b *Batch) Tell(facts ...Fact) {
	for _, f := range facts {
		f.At = b.Now
		b.facts = append(b.facts, f)
	}
}

// Told reports whether the batch tells that a group changed.
func (b *Batch) Told(group ident.GroupID) bool {
	return slices.ContainsFunc(b.facts, func(f Fact) bool { return f.Kind == FactGroup && *f.Group == group })
}

// Kick makes the outbox look for legs to these accounts or groups after the transaction.
func (b *Batch) Kick(peers ...ident.Peer) {
	for _, p := range peers {
		if key := p.Key(); !slices.Contains(b.kicks, key) {
			b.kicks = append(b.kicks, key)
		}
	}
}

// Delivered notes a message whose sender is told that it was delivered.
func (b *Batch) Delivered(from ident.AccountID, id ident.MessageID) {
	if b.Receipts == nil {
		b.Receipts = map[ident.AccountID][]ident.MessageID{}
	}
	b.Receipts[from] = append(b.Receipts[from], id)
}

// Then runs f after the transaction, before its facts are published.
func (b *Batch) Then(f func()) { b.after = append(b.after, f) }
