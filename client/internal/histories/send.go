package histories

import (
	"context"
	"crypto/rand"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/devicesync/history"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/private"
)

// Stages of a history that is sent.
const (
	stagePlanned = 0
	stageOffered = 1 // the mailbox is there and the new device knows of it
)

// chunksAtOnce is how many chunks are under way to the mailbox together.
const chunksAtOnce = 4

// Send hands everything that this device has to another device of the account, in the background: it needs
// Run. A history that is on its way to that device goes on. Errors: Invalid (this device), NotFound (no such
// device), Denied (this device was revoked).
func (c *Histories) Send(ctx context.Context, to ident.DeviceID) error {
	if _, _, revoked := c.core.Keys.Summary(); revoked {
		return core.ErrRevoked("send history")
	}
	if _, err := c.otherDevice("send history", to); err != nil {
		return err
	}
	var t *core.Transfer
	err := c.core.Update(func(tx *store.Tx, _ *core.Batch) (err error) {
		for _, h := range tx.HistoriesOut() {
			m, err := history.DecodeManifest(h.Manifest)
			if err == nil && h.Device == to && h.Stage != store.HistoryDone && !c.overAge(m) {
				return nil
			}
		}
		t, err = c.planHistory(tx, to)
		return err
	})
	if err != nil {
		return err
	}
	if t != nil {
		c.historyMoved(*t)
	}
	core.Wake(c.sendWoken)
	return nil
}

// HandOver begins to send this device's history to devices that it has let in. That they are in does not
// depend on it.
func (c *Histories) HandOver(ctx context.Context, added []ident.DeviceID) {
	if c.keep.Load() {
		return
	}
	for _, d := range added {
		if err := c.Send(ctx, d); err != nil {
			c.core.Log.Error("history not sent", "device", d.String(), "error", err)
		}
	}
}

func (c *Histories) planHistory(tx *store.Tx, to ident.DeviceID) (*core.Transfer, error) {
	refs, messages, conversations, top := tx.PlanHistory()
	if err := tx.Err(); err != nil {
		return nil, err
	}
	m := &history.Manifest{To: to, From: c.core.Keys.Device(), MadeAt: c.core.NowMS(),
		Messages: uint32(messages), Conversations: uint32(conversations), Top: uint64(top)}
	rand.Read(m.Transfer[:])
	var err error
	if m.Seed, err = private.Draw(rand.Reader); err != nil {
		return nil, err
	}
	chunks, size := [][]store.Ref{{}}, 0
	for _, r := range refs {
		if r.Kind == store.RefPeer {
			m.People++
		}
		last := len(chunks) - 1
		if size += r.Size; size > history.ChunkTarget && len(chunks[last]) > 0 {
			chunks, size = append(chunks, nil), r.Size
			last++
		}
		chunks[last] = append(chunks[last], r)
	}
	if len(chunks) > history.MaxChunks/2 {
		return nil, fault.New(fault.Limited, "send history", "has %d chunks, want at most %d", len(chunks),
			history.MaxChunks/2)
	}
	tx.AddHistoryOut(to, m.Encode(), chunks)
	t := outTransfer(m, &store.HistoryOut{})
	return &t, tx.Err()
}

// nextToSend returns the job of the first history that is not all stored.
func (c *Histories) nextToSend() (job func(context.Context) error, err error) {
	h, err := firstUndone(c, (*store.Tx).HistoriesOut, func(h store.HistoryOut) bool {
		return h.Stage == store.HistoryDone
	})
	if err != nil || h == nil {
		return nil, err
	}
	m, err := history.DecodeManifest(h.Manifest)
	if err != nil {
		return nil, err
	}
	return (&sending{c: c, m: m, h: *h}).run, nil
}

// sending is one attempt to bring a history on its way.
type sending struct {
	c  *Histories
	m  *history.Manifest
	mu sync.Mutex // guards h
	h  store.HistoryOut
}

func (s *sending) run(ctx context.Context) error {
	if s.pointless() {
		return s.drop(ctx)
	}
	if s.h.Stage == stagePlanned {
		if err := boxOf(s.m).Open(ctx, s.c.core); err != nil {
			return err
		}
		if err := s.offer(ctx); err != nil {
			return err
		}
		if err := s.stage(stageOffered); err != nil {
			return err
		}
	}
	for {
		unsent, all, err := s.unsent()
		if err != nil {
			return err
		}
		if len(unsent) == 0 {
			return s.stage(store.HistoryDone)
		}
		if len(unsent) > 1 { // the last one goes alone: until then more may follow it
			if err := s.chunks(ctx, unsent[:len(unsent)-1], false); err != nil {
				return err
			}
			continue
		}
		if err := s.chunks(ctx, unsent, unsent[0] == all-1); err != nil {
			return err
		}
	}
}

// pointless reports whether nobody will read what is sent.
func (s *sending) pointless() bool {
	_, err := s.c.otherDevice("send history", s.m.To)
	_, _, revoked := s.c.core.Keys.Summary()
	return err != nil || revoked || s.c.overAge(s.m)
}

// drop gives a history up; what lies in its mailbox goes.
func (s *sending) drop(ctx context.Context) error {
	if s.h.Stage >= stageOffered && !s.c.overAge(s.m) {
		if err := boxOf(s.m).Empty(ctx, s.c.core); err != nil {
			return err
		}
	}
	err := s.c.core.Update(func(tx *store.Tx, _ *core.Batch) error {
		tx.DropHistoryOut(s.m.To)
		return nil
	})
	s.c.moved.Fire()
	return storeFailure(err)
}

func storeFailure(err error) error {
	if err == nil {
		return nil
	}
	return core.Broken(err)
}

func (s *sending) stage(n int) error {
	s.mu.Lock()
	s.h.Stage = n
	t := outTransfer(s.m, &s.h)
	s.mu.Unlock()
	err := s.c.core.Update(func(tx *store.Tx, _ *core.Batch) error {
		tx.SetHistoryOut(s.m.To, n)
		return nil
	})
	if err == nil {
		s.c.historyMoved(t)
	}
	return storeFailure(err)
}

func (s *sending) unsent() (unsent []int, all int, err error) {
	err = s.c.core.View(func(tx *store.Tx) error {
		unsent, all = tx.UnsentChunks(s.m.To)
		return nil
	})
	return unsent, all, storeFailure(err)
}

// offer tells the new device where its history will lie.
func (s *sending) offer(ctx context.Context) error {
	ctx, stop := context.WithTimeout(ctx, core.LegTimeout)
	defer stop()
	_, err := s.c.core.OwnRequestRetry(ctx, func() (*envelope.Request, error) {
		var body []byte
		var err error
		now := s.c.core.Net.Now()
		s.c.core.Keys.Read(func(st *account.State) {
			body, err = st.SealCopy(rand.Reader, account.CopyHistory,
				s.m.Encode(), now)
		})
		return &envelope.Request{Ops: []envelope.Op{envelope.Store{Namespace: envelope.Sync, TTL: history.TTL,
			Body: body}}}, err
	})
	return err
}

// chunks stores chunks, a few at a time.
func (s *sending) chunks(ctx context.Context, numbers []int, last bool) error {
	g, first := errgroup.WithContext(ctx)
	g.SetLimit(chunksAtOnce)
	for _, n := range numbers {
		if first.Err() != nil {
			break
		}
		g.Go(func() error { return s.chunk(first, n, last) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return ctx.Err() // it may have ended before any was begun
}

// chunk seals and stores one chunk. The wait of a full mailbox is the reader's time to empty it.
func (s *sending) chunk(ctx context.Context, n int, last bool) error {
	if s.pointless() {
		return fault.New(fault.Denied, "send history", "device %s is not in the account any more", s.m.To)
	}
	records, messages, spilled, err := s.pack(n)
	if err != nil {
		return err
	}
	body, err := s.m.Seal(rand.Reader, s.c.core.Me, uint32(n), last && !spilled, records)
	if err != nil {
		return err
	}
	if err := boxOf(s.m).Put(ctx, s.c.core, history.ChunkKey(uint32(n)), body); err != nil {
		return err
	}
	// Losing this in a power cut stores the chunk again, which changes nothing.
	err = s.c.core.UpdateLazy(func(tx *store.Tx, _ *core.Batch) error {
		tx.ChunkSent(s.m.To, n)
		return nil
	})
	if err != nil {
		return storeFailure(err)
	}
	s.c.chunks.Add(1)
	s.mu.Lock()
	s.h.Messages += messages
	t := outTransfer(s.m, &s.h)
	s.mu.Unlock()
	s.c.historyMoved(t)
	return nil
}

// pack encodes what chunk n takes, as it is now. What does not fit any more, because it grew, is moved into a
// new chunk.
func (s *sending) pack(n int) (records []byte, messages int, spilled bool, err error) {
	p := history.NewPacker(history.MaxRecords)
	fit := func(tx *store.Tx) (refs []store.Ref, fitting int, err error) {
		if refs, err = tx.Chunk(s.m.To, n); err != nil {
			return nil, 0, err
		}
		for i, r := range refs {
			at := p.Len()
			if !s.c.packRef(tx, p, r) {
				p.Cut(at)
				return refs, i, tx.Err()
			}
			if r.Kind == store.RefMessage {
				messages++
			}
		}
		return refs, len(refs), tx.Err()
	}
	err = s.c.core.View(func(tx *store.Tx) error {
		refs, fitting, err := fit(tx)
		spilled = fitting < len(refs)
		return err
	})
	if err != nil || !spilled {
		return p.Bytes(), messages, false, storeFailure(err)
	}
	p, messages = history.NewPacker(history.MaxRecords), 0
	err = s.c.core.Update(func(tx *store.Tx, _ *core.Batch) error {
		refs, fitting, err := fit(tx)
		if err != nil {
			return err
		}
		if spilled = fitting < len(refs); spilled {
			tx.SpillChunk(s.m.To, n, slices.Clone(refs[:fitting]), refs[fitting:])
		}
		return nil
	})
	return p.Bytes(), messages, spilled, storeFailure(err)
}

// packRef adds what a ref names, and reports whether it fits. What is gone needs no room.
func (c *Histories) packRef(tx *store.Tx, p *history.Packer, r store.Ref) bool {
	switch r.Kind {
	case store.RefMessage:
		m, ok := tx.MessageAt(r.Seq)
		return !ok || p.Message(historyMessage(&m))
	case store.RefPeer:
		return p.Person(historyPerson(tx.Peer(r.Account), tx.PeerEvents(r.Account)))
	case store.RefChanges:
		for _, ch := range tx.Changes(r.ID, r.Account) {
			if !p.Change(&history.Change{Message: ch.Message, Author: ch.Author, Kind: uint8(ch.Kind),
				Conversation: ch.Conversation, At: ch.At, ID: ch.Change, Body: ch.Body}) {
				return false
			}
		}
		for _, re := range tx.AllReactions(r.ID, r.Account) {
			ok := p.Reaction(&history.Reaction{Message: re.Message, Author: re.Author, From: re.Sender,
				Emoji: re.Emoji, Conversation: re.Conversation,
				At: re.At, ID: re.Change, Removed: re.Removed})
			if !ok && p.Len() > history.MaxRecords/2 {
				return false
			}
		}
	}
	return true
}

func historyMessage(m *store.Message) *history.Message {
	out := &history.Message{Order: uint64(m.Seq), ID: m.ID, Sender: m.Sender, Conversation: m.Conversation,
		State: uint8(m.State), SentAt: m.SentAt, ReceivedAt: m.ReceivedAt,
		StoredAt: m.StoredAt, DeliveredAt: m.DeliveredAt, ReadAt: m.ReadAt, MailSeq: m.MailboxSeq,
		ExpiresAt: m.ExpiresAt, ExpireAfter: m.ExpireAfter, Body: m.Body}
	set := func(is bool, flag uint16) {
		if is {
			out.Flags |= flag
		}
	}
	set(m.Mine, history.Mine)
	set(m.Request, history.Request)
	set(m.Unverified, history.Unverified)
	set(m.Edited, history.Edited)
	set(m.Deleted, history.Deleted)
	if m.ReplyTo != nil {
		out.ReplyTo = *m.ReplyTo
	}
	return out
}

func historyPerson(p store.Peer, events []store.PeerEvent) *history.Person {
	out := &history.Person{Account: p.Account, Named: p.Named, Name: p.Name, NameAt: p.NameAt, Chain: p.Chain,
		Before: p.Before, ContestedAt: p.ContestedAt}
	for _, e := range events {
		out.Events = append(out.Events, history.PersonEvent{Kind: e.Kind, G: e.G, At: e.At})
	}
	return out
}
