package client

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/groups"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/private"
)

// group is one closed group as this device holds it. It and its state are only touched inside a transaction of the store,
// which serialises them.
type group struct {
	store.Group
	state *groups.State // nil: no keys
}

// groupEngine keeps the groups in step with their mailboxes: for each group a worker, which follows the mailbox, serves the
// admins' part, and carries out what this device wants changed.
type groupEngine struct {
	c     *Client
	known map[ident.GroupID]*group // what was read from the store; a failed transaction forgets it

	mu       sync.Mutex
	ctx      context.Context // nil: not running
	workers  map[ident.GroupID]*groupWorker
	wg       sync.WaitGroup
	waiters  map[int64]int   // of changes
	failures map[int64]error // of changes that were given up, for those who wait for them

	turns  turns
	moved  broadcast  // a group's cursor, status or changes moved
	failed chan error // a failure of the local store, which ends Run
}

func (e *groupEngine) init(c *Client) {
	e.c, e.known, e.workers = c, map[ident.GroupID]*group{}, map[ident.GroupID]*groupWorker{}
	e.turns = turns{most: c.pace.followed, least: c.pace.quiet, held: map[ident.GroupID]*turn{}}
	e.waiters, e.failures, e.failed = map[int64]int{}, map[int64]error{}, make(chan error, 1)
}

// run starts the workers of all groups that may change, and returns when ctx has ended and they have.
func (e *groupEngine) run(ctx context.Context) error {
	e.mu.Lock()
	e.ctx = ctx
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		e.ctx = nil
		e.mu.Unlock()
		e.wg.Wait()
	}()
	var ids []ident.GroupID
	err := e.c.p.db.View(func(tx *store.Tx) error {
		for _, id := range tx.GroupIDs() {
			if g, err := e.c.group(tx, id); err == nil && (g.lives() || g.backsOut()) {
				ids = append(ids, id)
			}
		}
		return tx.Err()
	})
	if err != nil {
		return err
	}
	for _, id := range ids {
		e.kick(id)
	}
	select {
	case err := <-e.failed:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (e *groupEngine) fail(err error) {
	select {
	case e.failed <- err:
	default:
	}
}

// kick makes the worker of a group look at it anew, and starts it if there is none.
func (e *groupEngine) kick(id ident.GroupID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ctx == nil {
		return
	}
	w := e.workers[id]
	if w == nil {
		mailbox, err := account.GroupMailboxOf(id, e.c.cluster.ID)
		if err != nil {
			return // no group can have that ID
		}
		w = &groupWorker{c: e.c, id: id, mailbox: mailbox, wake: make(chan struct{}, 1), aside: map[int64]aside{}, learnt: map[ident.AccountID]int{}, suspect: map[ident.AccountID]int{}}
		e.workers[id] = w
		ctx := e.ctx
		e.wg.Go(func() { w.run(ctx) })
		return
	}
	w.kick()
}

// kickAll makes every worker try again at once: the network is back.
func (e *groupEngine) kickAll() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, w := range e.workers {
		w.kick()
	}
}

func (w *groupWorker) kick() {
	w.turned.fire()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// groupWorker runs what one group needs.
type groupWorker struct {
	c       *Client
	id      ident.GroupID
	mailbox ident.MailboxID
	turned  broadcast     // status, role or generation may have changed
	wake    chan struct{} // something is wanted

	mu    sync.Mutex
	ahead *scouted // what a scout found; nil: nothing that the state does not know
	sum   running  // over what the subscription gave

	log  heldLog // of a group that the account asked to join; it and shut are the follow loop's
	shut uint64  // the commit whose slot does not open, although the own mailbox was read

	lost   int         // races lost in a row; it and what follows is carryOut's
	recent []time.Time // of the newest own commits
	door   *door       // of a join that needs no admin; nil: none is tried
	aside  map[int64]aside

	lookAgain aside // when a warning is looked into again

	noise time.Time // when the log was last read for a message that nothing explains; the follow loop's

	learnt  map[ident.AccountID]int // how often the certificates of who asks to join were read
	grant   int                     // how many requests the next commit may grant; 0: as many as fit
	suspect map[ident.AccountID]int // how often the nodes refused to let an account in that was alone in a commit
}

// worker returns the worker of a group; nil: there is none.
func (e *groupEngine) worker(id ident.GroupID) *groupWorker {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.workers[id]
}

// run ends with ctx, or once the group is forgotten.
func (w *groupWorker) run(ctx context.Context) {
	all, stop := context.WithCancel(ctx)
	defer stop()
	var wg sync.WaitGroup
	for _, loop := range []func(context.Context) error{w.follow, w.administer, w.carryOut} {
		wg.Go(func() {
			defer stop()
			var broken *storeError
			if err := loop(all); errors.As(err, &broken) {
				w.c.groups.fail(broken.cause)
			}
		})
	}
	wg.Wait()
	w.c.groups.ended(ctx, w)
}

// ended takes out a worker that has ended, and starts another one if something was wanted of it meanwhile.
func (e *groupEngine) ended(ctx context.Context, w *groupWorker) {
	e.mu.Lock()
	delete(e.workers, w.id)
	e.mu.Unlock()
	if ctx.Err() != nil {
		return
	}
	e.moved.fire() // who waits for the group need not
	if len(w.wake) > 0 {
		e.kick(w.id)
	}
}

// lives reports whether the group can still move.
func (g *group) lives() bool {
	switch GroupStatus(g.Status) {
	case GroupWaiting, GroupJoined, GroupReturning:
		return true
	case GroupLeft:
		return g.Leaving
	}
	return false
}

// admin reports whether the own account may change the group.
func (g *group) admin() bool {
	return g.state != nil && g.state.Admin() && GroupStatus(g.Status) == GroupJoined
}

// group returns a group as the store has it. Errors: NotFound. It must not be kept beyond the transaction.
func (c *Client) group(tx *store.Tx, id ident.GroupID) (*group, error) {
	if g := c.groups.known[id]; g != nil {
		return g, nil
	}
	row, ok := tx.Group(id)
	if !ok {
		if err := tx.Err(); err != nil {
			return nil, err
		}
		return nil, fault.New(fault.NotFound, "find group", "no group %s", id)
	}
	g := &group{Group: row}
	if b := tx.GroupState(id); b != nil {
		var err error
		if g.state, err = groups.Unmarshal(b); err != nil {
			return nil, err
		}
	}
	c.groups.known[id] = g
	return g, nil
}

// forgetGroups drops what was read from the store: a transaction failed.
func (c *Client) forgetGroups() {
	c.p.db.View(func(*store.Tx) error {
		clear(c.groups.known)
		return nil
	})
}

// saveGroup writes all of a group but its secret state.
func (c *Client) saveGroup(tx *store.Tx, g *group) {
	if g.state != nil {
		g.Name = g.state.Info().Name
	}
	tx.SaveGroup(&g.Group)
	c.groups.known[g.ID] = g
}

// saveGroupState writes a group and its secret state.
func (c *Client) saveGroupState(tx *store.Tx, g *group) {
	c.saveGroup(tx, g)
	if g.state == nil {
		tx.SaveGroupState(g.ID, nil)
		return
	}
	tx.SaveGroupState(g.ID, g.state.Marshal())
}

// enterGroup puts a state in force that another own device handed over, or that was joined with: what follows the cursor
// in the mailbox is still to be taken in. Messages that waited for keys leave. Kick the group afterwards.
func (c *Client) enterGroup(tx *store.Tx, id ident.GroupID, state *groups.State, cursor uint64) error {
	g, err := c.group(tx, id)
	if errors.Is(err, fault.NotFound) {
		g, err = &group{Group: store.Group{ID: id, Since: c.nowMS()}}, nil
	}
	if err != nil {
		return err
	}
	g.state, g.Status, g.Cursor, g.HeadSeq, g.AdminCursor = state, string(GroupJoined), cursor, 0, 0
	g.Invitation, g.Keys, g.Request, g.Asked, g.Cause, g.Past, g.Leaving, g.Warning = nil, nil, nil, false, "", 0, false, ""
	c.saveGroupState(tx, g)
	c.groupStarted(tx, g)
	c.out.kick(id)
	return tx.Err()
}

// leaveGroup erases the keys of a group that is over, or that the account is no member of any more.
func (c *Client) leaveGroup(tx *store.Tx, g *group, status GroupStatus) {
	g.Status, g.Leaving = string(status), false
	if g.state != nil {
		g.Past = g.state.Generation() + 1
		g.Name = g.state.Info().Name
		g.state = nil
	}
	c.saveGroupState(tx, g)
	tx.DropGroupWork(g.ID)
	for _, ch := range tx.GroupChanges(g.ID) {
		c.groups.giveUp(tx, ch, fault.New(fault.Denied, "change group", "this account is no member any more"))
	}
}

// groupBefore is what a group was before a commit.
type groupBefore struct {
	Index      uint64
	Generation uint32
	Info       groups.Info
	Members    []*groups.Member // by account; not to be changed
	Invites    []groups.Invite
}

func before(s *groups.State) groupBefore {
	index, _ := s.Head()
	return groupBefore{Index: index, Generation: s.Generation(), Info: s.Info(), Members: s.Members(), Invites: s.Invites()}
}

// seedKey signs with an Ed25519 key that is kept as its seed.
type seedKey struct{ seed private.Key }

// Public returns the key's public half.
func (k seedKey) Public() [32]byte { return k.seed.Signing().Public() }

// Sign signs msg.
func (k seedKey) Sign(msg []byte) [64]byte { return k.seed.Signing().Sign(msg) }

// groupTimeout bounds one request to a group's mailbox.
const groupTimeout = 20 * time.Second

// groupRequest carries operations to a group's mailbox, on the circuit of its subscription.
func (c *Client) groupRequest(ctx context.Context, id ident.GroupID, key account.Signer, ops ...envelope.Op) (*envelope.Response, ident.Path, error) {
	mailbox, err := account.GroupMailboxOf(id, c.cluster.ID)
	if err != nil {
		return nil, ident.Path{}, err
	}
	ctx, stop := context.WithTimeout(ctx, groupTimeout)
	defer stop()
	return c.request(ctx, PurposeInbox, &envelope.Request{Mailbox: mailbox, Ops: ops}, key)
}

// groupOutgoing is a message for a group.
type groupOutgoing struct {
	ID     ident.MessageID
	SentAt int64 // Unix milliseconds
	Body   []byte
}

// groupSealed is a message as it is stored.
type groupSealed struct {
	Blob       []byte
	Mailbox    ident.MailboxID
	Write      account.Signer
	Generation uint32 // a store that meets Stale is sealed again for a later one
}

// groupChanged tells, after the transaction, that what Group returns changed.
func (a *applied) groupChanged(id ident.GroupID) {
	if slices.Contains(a.groups, id) {
		return
	}
	a.groups = append(a.groups, id)
	a.events = append(a.events, Event{Kind: EventGroup, At: a.now, Group: &id})
}

// sealGroup seals a message of the own account for a group. Errors: NotFound; Denied if the account is no member.
func (c *Client) sealGroup(tx *store.Tx, id ident.GroupID, m groupOutgoing) (out groupSealed, err error) {
	g, err := c.group(tx, id)
	if err != nil {
		return out, err
	}
	if g.state == nil || GroupStatus(g.Status) != GroupJoined {
		return out, fault.New(fault.Denied, "send to group", "this account is no member")
	}
	mailbox, err := account.GroupMailboxOf(id, c.cluster.ID)
	if err != nil {
		return out, err
	}
	blob, err := g.state.SealSent(rand.Reader, c.net.Now(), m.SentAt, m.ID, m.Body)
	return groupSealed{Blob: blob, Mailbox: mailbox, Write: seedKey{g.state.WriteKey()}, Generation: g.state.Generation()}, err
}

// askGroup keeps what somebody asks the admins for. Kick the group afterwards.
func (c *Client) askGroup(tx *store.Tx, ask store.GroupAsk) error {
	tx.AddGroupAsk(&ask)
	return tx.Err()
}

// The kinds of store.GroupAsk.
const (
	askRequest = "request" // Body is from the group's namespace of requests
	askLeave   = "leave"   // Body is a groups.Change that a member said it wants: its own removal
	askLeaf    = "leaf"    // Body is a groups.LeafUpdate
	askUrgent  = "urgent"  // the same, and a generation is to begin with it at once
	askReturn  = "return"  // Body is what a member without keys wrote to us
	askDone    = "done"    // Body is the hash of an answered request that the nodes are to delete
)
