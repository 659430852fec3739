package statemachine

import (
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// Result is what one command gave.
type Result struct {
	Response *envelope.Response // Request: the answer; never nil for one
	Events   []Event            // what subscribers learn, in order
	Expired  int                // Expire: how many rows went
	More     bool               // Expire: Max stopped it, more is due
	Err      *fault.Error       // the command is malformed, or this replica's storage is broken (Corrupt)
}

// EventKind says what happened to a mailbox.
type EventKind uint8

const (
	Stored           EventKind = 1 // Envelope came in
	AuthorityChanged EventKind = 2 // subscriptions made under another key end with END(authority)
	Dropped          EventKind = 3 // the mailbox is gone
)

// Event is a change that subscribers of a mailbox learn of.
type Event struct {
	Kind      EventKind
	Mailbox   ident.MailboxID
	Envelope  envelope.Envelope // Stored
	Authority [32]byte          // AuthorityChanged: the new key
}

// Page is what ReadAfter found.
type Page struct {
	Envelopes []envelope.Envelope
	Seq       uint64 // last sequence number looked at: the next cursor
	More      bool   // there is more after Seq
}

// Mailbox is what a replica knows of a mailbox.
type Mailbox struct {
	Authority [32]byte
	Head      uint64 // last sequence number given
	CertsHead uint64 // sequence number of the newest certificate; 0: none
}
