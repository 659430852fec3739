package client

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// EventKind says what an Event is about.
type EventKind string

const (
	// a message came, or one of our own was queued here or on another device; Event.Message
	EventMessage EventKind = "message"
	EventState   EventKind = "state"  // a message of ours moved on or an attempt failed; Event.Receipt
	EventUpdate  EventKind = "update" // a message changed (edit, reaction, deletion); Event.Message
	// a contact types, or stopped; Event.Contact, Event.Text is "stopped" then
	EventTyping  EventKind = "typing"
	EventLink    EventKind = "link"    // a device asks to be linked; Event.Link
	EventDevice  EventKind = "device"  // the device list changed; Event.Device
	EventContact EventKind = "contact" // a contact changed; Event.Contact
	// EventConversation: what is known of a conversation changed; Event.Conversation.
	EventConversation EventKind = "conversation"
	EventAccount      EventKind = "account" // the profile or the settings changed; Event.Text is the document
	// a history came further on its way to or from another device; Event.History
	EventHistory EventKind = "history"
	EventGroup   EventKind = "group"   // what Group returns changed; Event.Group
	EventOnline  EventKind = "online"  // the inbox subscription is live
	EventOffline EventKind = "offline" // it ended; Event.Cause
	EventNotice  EventKind = "notice"  // something the user should be told once; Event.Text
)

// Event is something that happened, after it is written to the store.
type Event struct {
	Kind    EventKind
	At      time.Time
	Message *Message
	Receipt *Receipt
	Link    *PendingLink
	Device  *DeviceEvent
	Contact *ident.AccountID
	History *HistoryTransfer
	Group   *ident.GroupID
	Cause   error
	Text    string

	Conversation string
}

// render makes events of facts. publish hands them to the subscribers.
func (c *Client) render(tx *store.Tx, facts []core.Fact) (publish func()) {
	events := make([]Event, len(facts))
	for i, f := range facts {
		events[i] = c.event(tx, f)
	}
	return func() { c.bus.publish(events...) }
}

func (c *Client) event(tx *store.Tx, f core.Fact) Event {
	e := Event{Kind: EventKind(f.Kind), At: f.At, Contact: f.Contact, Group: f.Group,
		Cause: f.Cause, Text: f.Text,
		Conversation: f.Conversation}
	switch {
	case f.Row != nil && f.Kind == core.FactState:
		r := receiptOf(*f.Row)
		e.Receipt = &r
	case f.Row != nil:
		m := c.message(tx, *f.Row)
		e.Message = &m
		if f.Kind == core.FactNotice {
			e.Text = m.Text
		}
	case f.Link != nil:
		l := pendingLink(*f.Link)
		e.Link = &l
	case f.History != nil:
		h := HistoryTransfer(*f.History)
		e.History = &h
	case f.Device != nil:
		d := deviceEvent(*f.Device)
		e.Device = &d
	}
	return e
}

// maxBehind is how many events wait for a subscriber before it is told that it missed some.
const maxBehind = 65_536

// bus hands events to subscribers. Publishing never blocks.
type bus struct {
	mu     sync.Mutex
	subs   map[*Subscription]struct{}
	closed bool
}

// Subscription delivers events in order, from the moment it was made.
type Subscription struct {
	bus    *bus
	wake   chan struct{}
	queue  []Event
	behind bool
	closed bool
}

// Events starts a subscription. Close it.
func (c *Client) Events() *Subscription {
	s := &Subscription{bus: &c.bus, wake: make(chan struct{}, 1)}
	c.bus.mu.Lock()
	defer c.bus.mu.Unlock()
	if c.bus.subs == nil {
		c.bus.subs = map[*Subscription]struct{}{}
	}
	c.bus.subs[s] = struct{}{}
	s.closed = c.bus.closed
	return s
}

func (b *bus) publish(events ...Event) {
	if len(events) == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for s := range b.subs {
		if len(s.queue)+len(events) > maxBehind {
			s.behind = true
			continue
		}
		s.queue = append(s.queue, events...)
		s.signal()
	}
}

func (b *bus) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	for s := range b.subs {
		s.closed = true
		s.signal()
	}
}

func (s *Subscription) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Next returns the next event. Errors: ctx's, NotFound after Close (of the subscription or the client),
// Limited if so many events waited that some were dropped (what they told of is in the store).
func (s *Subscription) Next(ctx context.Context) (Event, error) {
	for {
		e, ok, err := s.take()
		if ok || err != nil {
			return e, err
		}
		select {
		case <-s.wake:
		case <-ctx.Done():
			return Event{}, ctx.Err()
		}
	}
}

// nextOf returns at the next event that is news, or when changed is closed.
func (s *Subscription) nextOf(ctx context.Context, isNews func(Event) bool, changed <-chan struct{}) error {
	for {
		e, ok, err := s.take()
		switch {
		case errors.Is(err, fault.Limited):
			return nil // events were dropped: the store is read anew
		case err != nil:
			return err
		case ok && isNews(e):
			return nil
		case ok:
			continue
		}
		select {
		case <-s.wake:
		case <-changed:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *Subscription) take() (Event, bool, error) {
	s.bus.mu.Lock()
	defer s.bus.mu.Unlock()
	if len(s.queue) > 0 {
		e := s.queue[0]
		s.queue[0] = Event{}
		s.queue = s.queue[1:]
		return e, true, nil
	}
	if s.behind {
		s.behind = false
		return Event{}, false, fault.New(fault.Limited, "next event", "events were dropped: read the store")
	}
	if s.closed {
		return Event{}, false, fault.New(fault.NotFound, "next event", "the subscription is closed")
	}
	return Event{}, false, nil
}

// Close ends the subscription.
func (s *Subscription) Close() {
	s.bus.mu.Lock()
	defer s.bus.mu.Unlock()
	delete(s.bus.subs, s)
	s.closed = true
	s.signal()
}
