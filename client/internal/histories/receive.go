package histories

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/starling-swarm/starling/client/internal/content"
	"github.com/starling-swarm/starling/client/internal/conv"
	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/devicesync/history"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/ident"
	bodyv1 "github.com/starling-swarm/starling/proto/starling/body/v1"
)

// Stages of a history that is received.
const (
	stageTaken = 1 // all of it is here; its mailbox is to be emptied
)

// A long history does not fit its mailbox at once: chunks that are here are deleted when they are many, and
// when no more comes for a while, because then the sender may be waiting for room.
const (
	deleteEvery = 32
	deleteAfter = 500 * time.Millisecond
)

// takeOffer takes in the manifest of a history. Those for other devices are none of ours.
func (c *Histories) takeOffer(tx *store.Tx, a *core.Batch, body []byte, _ int64) error {
	m, err := history.DecodeManifest(body)
	if err != nil || m.To != c.core.Keys.Device() {
		return nil
	}
	if tx.AddHistoryIn(m.Transfer, body, a.Now.UnixMilli()) {
		t := inTransfer(m, &store.HistoryIn{})
		a.Tell(core.Fact{Kind: core.FactHistory, History: &t})
		core.Wake(c.receiveWoken) // the loop reads the store after this transaction
	}
	return tx.Err()
}

// nextToReceive returns the job of the oldest history that is not all here. One is taken in after the other,
// so that their messages do not share numbers.
func (c *Histories) nextToReceive() (job func(context.Context) error, err error) {
	h, err := firstUndone(c, (*store.Tx).HistoriesIn, func(h store.HistoryIn) bool {
		return h.Stage == store.HistoryDone
	})
	if err != nil || h == nil {
		return nil, err
	}
	m, err := history.DecodeManifest(h.Manifest)
	if err != nil {
		return nil, err
	}
	return (&receiving{c: c, m: m, h: *h}).run, nil
}

// firstUndone returns the first of the histories of one direction that is not done; nil: all are.
func firstUndone[H any](c *Histories, all func(*store.Tx) []H, done func(H) bool) (first *H, err error) {
	err = c.core.View(func(tx *store.Tx) error {
		for _, h := range all(tx) {
			if !done(h) {
				first = &h
				return nil
			}
		}
		return nil
	})
	return first, err
}

// receiving is one attempt to take a history in.
type receiving struct {
	c     *Histories
	m     *history.Manifest
	h     store.HistoryIn
	stale []envelope.Hash // of chunks that are here and can go
}

var errHistoryWhole = errors.New("the history is whole")

func (r *receiving) run(ctx context.Context) error {
	if r.h.Stage == stageTaken {
		return r.finish(ctx)
	}
	if r.c.overAge(r.m) {
		return r.giveUp()
	}
	watch, stop := context.WithCancel(ctx)
	defer stop()
	chunks, taken, ended := make(chan envelope.Envelope), make(chan error), make(chan error, 1)
	go func() {
		ended <- boxOf(r.m).Subscribe(watch, r.c.core, r.h.Cursor, func(e envelope.Envelope) error {
			chunks <- e
			return <-taken
		})
	}()
	for {
		idle := time.NewTimer(deleteAfter)
		select {
		case e := <-chunks:
			taken <- r.take(ctx, e)
		case <-idle.C:
			if err := r.deleteStale(ctx); err != nil {
				stop()
				r.settle(chunks, taken, ended)
				return err
			}
		case err := <-ended:
			idle.Stop()
			if errors.Is(err, errHistoryWhole) {
				return r.finish(ctx)
			}
			return err
		}
		idle.Stop()
	}
}

// settle waits for the end of a subscription that nobody listens to any more.
func (r *receiving) settle(chunks <-chan envelope.Envelope, taken chan<- error, ended <-chan error) {
	for {
		select {
		case <-chunks:
			taken <- context.Canceled
		case <-ended:
			return
		}
	}
}

// giveUp ends a history that lies nowhere any more.
func (r *receiving) giveUp() error {
	r.h.Stage = store.HistoryDone
	if err := r.save(); err != nil {
		return err
	}
	r.c.core.Announce(core.Fact{Kind: core.FactNotice,
		Text: "the history that another device sent is not there any more:" +
			" ask for it again with \"device history-send\" on that device"})
	r.tell()
	return nil
}

func (r *receiving) save() error {
	return storeFailure(r.c.core.Update(func(tx *store.Tx, _ *core.Batch) error {
		tx.SaveHistoryIn(&r.h)
		return nil
	}))
}

func (r *receiving) tell() { r.c.historyMoved(inTransfer(r.m, &r.h)) }

// finish empties the mailbox of a history that is all here.
func (r *receiving) finish(ctx context.Context) error {
	if err := boxOf(r.m).Empty(ctx, r.c.core); err != nil {
		return err
	}
	r.h.Stage = store.HistoryDone
	return r.save()
}

// take takes in one chunk: its records, and that it is here, in one transaction. The mailbox still has the
// chunk, so a power cut may take the transaction back.
func (r *receiving) take(ctx context.Context, e envelope.Envelope) error {
	i, ok := history.ChunkIndex(e.Key)
	if !ok {
		return nil
	}
	records, last, err := r.m.Open(r.c.core.Me, i, e.Body)
	if err != nil {
		// not from the sender, who alone can write: a node made it up
		r.c.core.Log.Debug("chunk dropped", "error", err)
		return nil
	}
	h := r.h
	h.Have = bytes.Clone(r.h.Have)
	h.Cursor = e.Seq
	if last {
		h.Chunks = int(i) + 1
	}
	known := mark(&h.Have, int(i))
	err = r.c.core.UpdateLazy(func(tx *store.Tx, a *core.Batch) error {
		if h.Floor == 0 {
			h.Floor = tx.HistoryFloor()
		}
		messages, err := r.c.historyChunk(tx, a, &h, r.m, records)
		if err != nil {
			return err
		}
		if !known {
			h.Messages += messages
		}
		if whole(&h) {
			h.Stage = stageTaken
		}
		tx.SaveHistoryIn(&h)
		return tx.Err()
	})
	if err != nil {
		return storeFailure(err)
	}
	r.h = h
	r.c.chunks.Add(1)
	r.tell()
	r.stale = append(r.stale, envelope.HashOf(r.m.Mailbox(), envelope.Blobs, e.Key, e.Body))
	if h.Stage == stageTaken {
		// Nothing in the mailbox is needed once this is on disk for good.
		if err := r.save(); err != nil {
			return err
		}
		return errHistoryWhole
	}
	if len(r.stale) >= deleteEvery {
		return r.deleteStale(ctx)
	}
	return nil
}

// deleteStale makes room in the mailbox. If it fails, the end of the history deletes everything.
func (r *receiving) deleteStale(ctx context.Context) error {
	if len(r.stale) == 0 {
		return nil
	}
	if err := r.save(); err != nil {
		return err
	}
	ctx, stop := context.WithTimeout(ctx, 5*time.Second)
	defer stop()
	if err := boxOf(r.m).Delete(ctx, r.c.core, r.stale); err != nil {
		r.c.core.Log.Debug("chunks not deleted", "error", err)
	}
	r.stale = nil
	return nil
}

// mark sets bit i and reports whether it was set.
func mark(bits *[]byte, i int) (was bool) {
	for len(*bits) <= i/8 {
		*bits = append(*bits, 0)
	}
	was = (*bits)[i/8]&(1<<(i%8)) != 0
	(*bits)[i/8] |= 1 << (i % 8)
	return was
}

// whole reports whether every chunk is here.
func whole(h *store.HistoryIn) bool {
	if h.Chunks == 0 {
		return false
	}
	for i := range h.Chunks {
		if i/8 >= len(h.Have) || h.Have[i/8]&(1<<(i%8)) == 0 {
			return false
		}
	}
	return true
}

// historyChunk writes the records of a chunk and returns how many messages it had. A message that is here
// stays, and none of them is news: they are neither announced nor handed out.
func (c *Histories) historyChunk(tx *store.Tx, a *core.Batch, h *store.HistoryIn, m *history.Manifest,
	records []byte) (messages int, err error) {
	var bad error
	err = history.Read(records, func(rec history.Record) {
		switch rec := rec.(type) {
		case *history.Message:
			messages++
			c.historyMessage(tx, a, rec, h.Floor-int64(m.Top-rec.Order), rec.Order <= m.Top)
		case *history.Person:
			if perr := c.historyPerson(tx, a, rec); bad == nil {
				bad = perr
			}
		case *history.Change:
			ch := store.Change{Message: rec.Message, Author: rec.Author, Kind: store.ChangeKind(rec.Kind),
				Conversation: rec.Conversation,
				Stamp:        store.Stamp{At: rec.At, Change: rec.ID}, Body: bytes.Clone(rec.Body)}
			if tx.AddChange(ch, a.Now.UnixMilli()) {
				c.rows.Settle(tx, a, conv.Ref{Author: rec.Author, ID: rec.Message})
			}
		case *history.Reaction:
			tx.React(store.Reaction{Message: rec.Message, Author: rec.Author, Sender: rec.From,
				Emoji: rec.Emoji, Conversation: rec.Conversation,
				Stamp: store.Stamp{At: rec.At, Change: rec.ID}, Removed: rec.Removed})
		}
	})
	if err != nil {
		// a sender that is newer than its records say
		c.core.Log.Debug("rest of a chunk dropped", "error", err)
	}
	return messages, errors.Join(bad, tx.Err())
}

func (c *Histories) historyMessage(tx *store.Tx, a *core.Batch, rec *history.Message,
	seq int64, ordered bool) {
	if !ordered || seq <= 0 || rec.State > uint8(store.StateFailed) {
		return
	}
	has := func(flag uint16) bool { return rec.Flags&flag != 0 }
	m := store.Message{Seq: seq, ID: rec.ID, Sender: rec.Sender, Conversation: rec.Conversation,
		Mine: has(history.Mine), Request: has(history.Request),
		Unverified: has(history.Unverified), Edited: has(history.Edited), Deleted: has(history.Deleted),
		State: store.State(rec.State), SentAt: rec.SentAt, ReceivedAt: rec.ReceivedAt,
		StoredAt: rec.StoredAt, DeliveredAt: rec.DeliveredAt, ReadAt: rec.ReadAt, MailboxSeq: rec.MailSeq,
		ExpiresAt: rec.ExpiresAt, ExpireAfter: rec.ExpireAfter,
		HandedOut: true, Body: bytes.Clone(rec.Body)}
	if rec.ReplyTo != (ident.MessageID{}) {
		m.ReplyTo = &rec.ReplyTo
	}
	if m.ExpiresAt != 0 && m.ExpiresAt <= a.Now.UnixMilli() {
		return
	}
	if body, ok := content.DecodeBody(rec.Body); ok && !m.Deleted {
		m.Text, m.Notice, m.Mentioned = shownText(body), body.GetNotice() != nil,
			content.Mentions(shown(body), c.core.Me)
	}
	if c.rows.IsCleared(&m) || !c.rows.Changed(tx, &m) {
		return
	}
	tx.InsertHistory(&m)
}

// shown is the text that a body says, or replaces another with; nil: none.
func shown(body *bodyv1.Body) *bodyv1.Text {
	if k, ok := body.GetKind().(*bodyv1.Body_Edit); ok {
		return k.Edit.GetText()
	}
	return body.GetText()
}

func shownText(body *bodyv1.Body) string { return shown(body).GetText() }

// historyPerson takes in what another device knows of somebody. What this one has learned itself stays.
func (c *Histories) historyPerson(tx *store.Tx, a *core.Batch, rec *history.Person) error {
	p, err := c.people.Get(tx, rec.Account)
	if err != nil {
		return tx.Err() // no account can have that ID
	}
	if p.Certs == nil && len(rec.Chain) > 0 {
		chain, err := account.UnmarshalChain(rec.Chain)
		if err == nil && chain.Account() == rec.Account {
			p.Certs = chain
			p.Before, p.ContestedAt = bytes.Clone(rec.Before), rec.ContestedAt
		}
	}
	if rec.NameAt > p.NameAt && rec.Account != c.core.Me {
		p.Name, p.NameAt = rec.Name, rec.NameAt
	}
	p.Named = p.Named || rec.Named
	c.people.Save(tx, p)
	for _, e := range rec.Events {
		tx.AddPeerEvent(rec.Account, store.PeerEvent{Kind: e.Kind, G: e.G, At: e.At})
	}
	return tx.Err()
}
