package client

import (
	"crypto/rand"
	"errors"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/devicesync"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	bodyv1 "github.com/starling-swarm/starling/proto/starling/body/v1"
)

// Limits of what a body may say; a body that breaks one is dropped as a whole.
const (
	maxReceiptIDs  = 1_000
	maxName        = 256
	maxEmoji       = 64
	maxAttachments = 32
)

// applied gathers what one transaction of the receiving side did.
type applied struct {
	c        *Client
	now      time.Time
	events   []Event
	receipts map[ident.AccountID][]ident.MessageID // to acknowledge as delivered
	kick     [][33]byte                            // accounts and groups that legs wait for
	groups   []ident.GroupID                       // that changed
}

func (c *Client) newApplied() *applied {
	return &applied{c: c, now: c.net.Now(), receipts: map[ident.AccountID][]ident.MessageID{}}
}

// publish tells what happened, after the transaction.
func (a *applied) publish() {
	a.c.bus.publish(a.events...)
	a.c.timed.fire()
	for _, peer := range a.kick {
		a.c.out.kick(peer)
	}
	for _, id := range a.groups {
		a.c.groups.kick(id)
	}
	if len(a.groups) > 0 {
		a.c.groups.moved.fire()
		a.c.out.kick(a.c.me) // what the account's other devices are told of them
	}
}

// apply takes one opened envelope into the store. What cannot be opened or is malformed is dropped and counted: an
// error of this function is one of the store.
func (a *applied) apply(tx *store.Tx, o *opened) error {
	switch {
	case o.err != nil:
		a.unopened(tx, o)
		return tx.Err()
	case o.in != nil && o.in.Link != nil:
		a.askToLink(tx, o.in)
		return tx.Err()
	case o.in != nil:
		return a.incoming(tx, o)
	case o.doc != nil:
		return a.delta(tx, o)
	case o.kind == account.CopySent:
		return a.sentCopy(tx, o.copy, o.env.StoredAt)
	case o.kind == account.CopyDraft:
		return a.draft(tx, o.copy, o.env.StoredAt)
	case o.kind == account.CopyGroup:
		return a.ownGroupCopy(tx, o.copy)
	case o.kind == account.CopyHistory:
		return a.historyOffer(tx, o.copy)
	case o.kind == account.CopyFetched:
		return a.fetched(tx, o.copy, o.env.StoredAt)
	case o.kind == account.CopyAnnounce:
		// A forged or stale announcement changes nothing, so its error has nobody to go to.
		if err := a.c.keys.change(func(s *account.State) error { return s.ApplyAnnouncement(o.copy) }); errors.Is(err, fault.Internal) {
			return err
		}
	}
	return nil
}

// unopened counts what this device cannot read. Mail from before it joined is reported once; the rest is noise or
// forgery.
func (a *applied) unopened(tx *store.Tx, o *opened) {
	if errors.Is(o.err, fault.NotFound) && o.env.Namespace == envelope.Inbox {
		n := tx.Number("unopened") + 1
		tx.SetNumber("unopened", n)
		if n == 1 {
			a.events = append(a.events, Event{Kind: EventNotice, At: a.now,
				Text: "a message could not be opened: it was sealed to a key that this device does not have or has erased"})
		}
	}
	a.c.log.Debug("envelope not opened", "namespace", int(o.env.Namespace), "error", o.err)
}

// incoming takes in a message of another account (or of the own one to itself).
func (a *applied) incoming(tx *store.Tx, o *opened) error {
	in := o.in
	p, err := a.c.person(tx, in.Sender)
	if err != nil {
		return err
	}
	if in.Verified {
		if !tx.Seen(in.Sender, in.ID, a.now.UnixMilli()) {
			return tx.Err()
		}
		a.learnSender(tx, &p, in)
	}
	if a.c.isBlocked(in.Sender) {
		return tx.Err()
	}
	body, ok := decodeBody(in.Body)
	if !ok {
		return tx.Err()
	}
	if k := body.GetContest(); k != nil {
		return a.contest(tx, in, o.env.StoredAt, k)
	}
	if !in.Verified {
		tx.KeepUnverified(o.env.Seq, in.Sender, o.env.Encode())
		if body.GetText() == nil {
			return tx.Err() // nothing but a text is believed before its sender is known
		}
	}
	a.profile(tx, &p, in, body)
	if k := body.GetGroupReturn(); k != nil && in.Verified {
		return a.groupReturn(tx, in.Sender, k)
	}
	if k := body.GetGroupInvitation(); k != nil && in.Verified {
		return a.groupInvitation(tx, p, in.Sender, k.GetInvitation())
	}
	a.body(tx, p, in, body, o.env)
	return tx.Err()
}

// learnSender keeps what a verified message told about its sender.
func (a *applied) learnSender(tx *store.Tx, p *person, in *account.Incoming) {
	changed := false
	if in.Chain != nil && (p.chain == nil || in.Chain.G() > p.chain.G()) {
		p.chain, changed = in.Chain, true
		a.events = append(a.events, a.c.noteChanges(tx, p, in.Events)...)
	}
	if in.Record != nil && (p.record == nil || p.record.Version().Less(in.Record.Version())) {
		p.record, changed = in.Record, true
	}
	if in.SeenG > p.KnowsG {
		p.KnowsG, changed = in.SeenG, true
	}
	if changed {
		a.c.savePerson(tx, *p)
	}
}

func (a *applied) profile(tx *store.Tx, p *person, in *account.Incoming, body *bodyv1.Body) {
	if in.Verified {
		a.learnProfile(tx, p, body.GetProfile())
	}
}

// learnProfile takes in what an account says of itself.
func (a *applied) learnProfile(tx *store.Tx, p *person, pr *bodyv1.Profile) {
	if pr == nil || pr.GetChangedAt() <= p.NameAt || p.Account == a.c.me {
		return
	}
	p.Name, p.NameAt = pr.GetName(), pr.GetChangedAt()
	a.c.savePerson(tx, *p)
	id := p.Account
	a.events = append(a.events, Event{Kind: EventContact, At: a.now, Contact: &id})
}

// body applies what a message says.
func (a *applied) body(tx *store.Tx, p person, in *account.Incoming, body *bodyv1.Body, env envelope.Envelope) {
	s := said{by: in.Sender, conversation: in.Sender.String(), stamp: store.Stamp{At: capped(in.SentAt, env.StoredAt), Change: in.ID}}
	if a.said(tx, s, body, in.Body) {
		return
	}
	switch k := body.GetKind().(type) {
	case *bodyv1.Body_Receipt:
		a.receipt(tx, in.Sender, k.Receipt)
	case *bodyv1.Body_Typing:
		id, text := in.Sender, ""
		if k.Typing.GetStopped() {
			text = "stopped"
		}
		if fresh := a.now.UnixMilli()-in.SentAt < typingFor.Milliseconds(); p.Approved && fresh {
			a.events = append(a.events, Event{Kind: EventTyping, At: a.now, Contact: &id, Text: text})
		}
	case *bodyv1.Body_RequestResponse, *bodyv1.Body_Draft, *bodyv1.Body_Removal, *bodyv1.Body_Notice:
		// An answer to a request tells nothing but the profile; drafts and removals come from own devices only, and notices
		// from the logs of groups.
	default:
		// Text, voice, and what only a later version can show: all of it belongs in the conversation.
		a.message(tx, p, in, body, env)
	}
}

// message adds a row to the conversation with the sender.
func (a *applied) message(tx *store.Tx, p person, in *account.Incoming, body *bodyv1.Body, env envelope.Envelope) {
	m := store.Message{ID: in.ID, Sender: in.Sender, Conversation: in.Sender.String(), Request: !p.Approved && in.Sender != a.c.me,
		Unverified: !in.Verified, Text: body.GetText().GetText(), Body: in.Body, SentAt: capped(in.SentAt, env.StoredAt),
		ReceivedAt: a.now.UnixMilli(), ReplyTo: replyTo(body), MailboxSeq: env.Seq, Mentioned: mentions(body.GetText(), a.c.me)}
	quiet := m.Request && !a.c.setting(devicesync.SettingRequests)
	m.HandedOut = quiet
	if !a.c.addMessage(tx, &m, body.GetExpire(), a.now.UnixMilli()) {
		old, ok := tx.MessageOf(in.Sender, in.ID)
		if !ok || !old.Unverified || !in.Verified {
			return
		}
		// The verified message replaces what was kept under its name.
		old.Unverified, old.Request = false, m.Request
		tx.SaveMessage(&old)
		tx.SetText(old.Seq, m.Text, m.Body)
		old.Text, old.Body = m.Text, m.Body
		m = old
		a.settle(tx, Ref{m.Sender, m.ID})
	}
	a.came(tx, m, quiet)
	if p.Approved && in.Verified {
		a.receipts[in.Sender] = append(a.receipts[in.Sender], in.ID)
	}
}

// came tells of a new row. One that was deleted before it came is no news.
func (a *applied) came(tx *store.Tx, m store.Message, quiet bool) {
	kind := EventMessage
	if m.Deleted || quiet {
		kind = EventUpdate
	}
	msg := a.c.message(tx, m)
	a.events = append(a.events, Event{Kind: kind, At: a.now, Message: &msg})
}

func replyTo(body *bodyv1.Body) *ident.MessageID {
	if q := body.GetText().GetQuote(); q != nil {
		id := ident.MessageID(q.GetMessageId())
		return &id
	}
	return nil
}

// queueReceipts acknowledges what came from approved contacts, after a random delay: a node that hosts both mailboxes
// must not pair a message and its receipt by time.
func (a *applied) queueReceipts(tx *store.Tx) {
	for peer, ids := range a.receipts {
		if peer == a.c.me {
			continue
		}
		r := &bodyv1.Receipt{Kind: bodyv1.Receipt_KIND_DELIVERED, At: a.now.UnixMilli()}
		for _, id := range ids {
			r.MessageIds = append(r.MessageIds, id[:])
		}
		body, err := proto.Marshal(&bodyv1.Body{Kind: &bodyv1.Body_Receipt{Receipt: r}})
		if err != nil {
			continue // only for invalid UTF-8, of which there is none
		}
		leg := store.Leg{Kind: store.LegReceipt, Peer: peer.Key(), SentAt: a.now.UnixMilli(), Body: body,
			Due: a.now.Add(spread(a.c.pace.receiptMin, a.c.pace.receiptMax)).UnixMilli()}
		rand.Read(leg.Message[:])
		tx.AddLeg(&leg)
		a.kick = append(a.kick, peer)
	}
}

// receipt moves our messages on.
func (a *applied) receipt(tx *store.Tx, from ident.AccountID, r *bodyv1.Receipt) {
	for _, b := range r.GetMessageIds() {
		m, ok := tx.MessageOf(a.c.me, ident.MessageID(b))
		if !ok || m.Conversation != from.String() {
			continue
		}
		at := a.now.UnixMilli()
		switch r.GetKind() {
		case bodyv1.Receipt_KIND_DELIVERED:
			if m.DeliveredAt != 0 {
				continue
			}
			m.DeliveredAt = at
			m.State = max(m.State, uint8(StateDelivered))
		case bodyv1.Receipt_KIND_READ:
			if m.ReadAt != 0 {
				continue
			}
			m.ReadAt, m.State = at, uint8(StateRead)
			if m.DeliveredAt == 0 {
				m.DeliveredAt = at
			}
		default:
			continue
		}
		if m.StoredAt == 0 {
			m.StoredAt = at // another device sent it, or the acknowledgement is still under way
		}
		tx.SaveMessage(&m)
		rc := receiptOf(m)
		a.events = append(a.events, Event{Kind: EventState, At: a.now, Receipt: &rc})
	}
}

func (a *applied) updated(tx *store.Tx, m store.Message) {
	msg := a.c.message(tx, m)
	a.events = append(a.events, Event{Kind: EventUpdate, At: a.now, Message: &msg})
}

// sentCopy takes in a message that another own device sent. Whether its recipient is approved, the contacts document says:
// its delta leaves before the copy.
func (a *applied) sentCopy(tx *store.Tx, b []byte, storedAt int64) error {
	cp, err := account.DecodeSentCopy(b)
	if err == nil && cp.To[0] == ident.GroupType {
		return a.groupCopy(tx, cp, storedAt)
	}
	if err != nil || cp.To[0] != ident.AccountType {
		return nil
	}
	peer := ident.AccountID(cp.To)
	p, err := a.c.person(tx, peer)
	if err != nil {
		return nil // no account can have that ID
	}
	if p.chain == nil {
		p.chain = cp.Certs
	}
	if peer != a.c.me && !p.Named {
		p.Named = true
		a.c.records.wake() // messages that were kept unverified can be looked at now
	}
	if peer != a.c.me {
		a.c.savePerson(tx, p)
	}
	body, ok := decodeBody(cp.Body)
	if !ok {
		return tx.Err()
	}
	sentAt := capped(cp.SentAt, storedAt)
	s := said{by: a.c.me, conversation: peer.String(), stamp: store.Stamp{At: sentAt, Change: cp.ID}}
	if a.said(tx, s, body, cp.Body) {
		return tx.Err()
	}
	m := store.Message{ID: cp.ID, Sender: a.c.me, Conversation: peer.String(), Mine: true, Text: body.GetText().GetText(), Body: cp.Body,
		SentAt: sentAt, ReceivedAt: a.now.UnixMilli(), ReplyTo: replyTo(body), HandedOut: true, State: uint8(StateStored), StoredAt: a.now.UnixMilli()}
	a.c.endDraft(tx, m.Conversation, sentAt)
	if a.c.addMessage(tx, &m, body.GetExpire(), a.now.UnixMilli()) {
		a.came(tx, m, false)
	}
	return tx.Err()
}

// decodeBody reads a body and checks every length that later code relies on.
func decodeBody(b []byte) (*bodyv1.Body, bool) {
	body := new(bodyv1.Body)
	if proto.Unmarshal(b, body) != nil || len(body.GetProfile().GetName()) > maxName {
		return nil, false
	}
	ok := true
	switch k := body.GetKind().(type) {
	case *bodyv1.Body_Text:
		ok = validText(k.Text)
	case *bodyv1.Body_Edit:
		ok = len(k.Edit.GetMessageId()) == 16 && validText(k.Edit.GetText())
	case *bodyv1.Body_Reaction:
		ok = len(k.Reaction.GetMessageId()) == 16 && len(k.Reaction.GetAuthor()) == 33 && len(k.Reaction.GetEmoji()) <= maxEmoji && k.Reaction.GetEmoji() != ""
	case *bodyv1.Body_Deletion:
		ok = validDeletion(k.Deletion)
	case *bodyv1.Body_Receipt:
		ok = validIDs(k.Receipt.GetMessageIds())
	case *bodyv1.Body_Removal:
		ok = validRefs(k.Removal.GetMessages())
	case *bodyv1.Body_GroupReturn:
		ok = validReturn(k.GroupReturn)
	case *bodyv1.Body_Pin:
		ok = validRefs([]*bodyv1.MessageRef{k.Pin.GetMessage()})
	case *bodyv1.Body_Notice:
		ok = validNotice(k.Notice)
	}
	return body, ok
}

func validText(t *bodyv1.Text) bool {
	if q := t.GetQuote(); q != nil && (len(q.GetMessageId()) != 16 || len(q.GetAuthor()) != 33 || len(q.GetExcerpt()) > 4*maxExcerpt) {
		return false
	}
	return len(t.GetText()) <= MaxText && len(t.GetAttachments()) <= maxAttachments && validMentions(t.GetMentions())
}

func validDeletion(d *bodyv1.Deletion) bool {
	ids, refs := d.GetMessageIds(), d.GetMessages()
	return len(ids)+len(refs) > 0 && (len(ids) == 0 || validIDs(ids)) && (len(refs) == 0 || validRefs(refs))
}

func validReturn(r *bodyv1.GroupReturn) bool {
	return len(r.GetGroupId()) == 33 && r.GetGroupId()[0] == ident.GroupType && len(r.GetRequest()) <= account.MaxGroupCopy && len(r.GetWelcome()) <= account.MaxGroupCopy
}

func validRefs(refs []*bodyv1.MessageRef) bool {
	if len(refs) == 0 || len(refs) > maxReceiptIDs {
		return false
	}
	for _, r := range refs {
		if len(r.GetMessageId()) != 16 || len(r.GetAuthor()) != 33 {
			return false
		}
	}
	return true
}

func validIDs(ids [][]byte) bool {
	if len(ids) == 0 || len(ids) > maxReceiptIDs {
		return false
	}
	for _, id := range ids {
		if len(id) != 16 {
			return false
		}
	}
	return true
}
