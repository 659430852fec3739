package closed

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/starling-swarm/starling/client/internal/conv"
	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/inbox"
	"github.com/starling-swarm/starling/client/internal/outbox"
	"github.com/starling-swarm/starling/client/internal/people"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/groups"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	bodyv1 "github.com/starling-swarm/starling/proto/starling/body/v1"
)

// group is one closed group as this device holds it. It and its state are only touched inside a transaction
// of the store, which serialises them.
type group struct {
	store.Group
	state *groups.State // nil: no keys
}

// Groups keeps the closed groups of an account in step with their mailboxes: for each group a worker, which
// follows the mailbox, serves the admins' part, and carries out what this device wants changed.
type Groups struct {
	core    *core.Core
	people  *people.People
	rows    *conv.Rows
	syncOwn func(context.Context) error // takes in what lies in the account's own mailbox
	keeper  keeper

	known map[ident.GroupID]*group // what was read from the store; a failed transaction forgets it

	mu       sync.Mutex
	ctx      context.Context // nil: not running
	workers  map[ident.GroupID]*worker
	wg       sync.WaitGroup
	waiters  map[int64]int   // of changes
	failures map[int64]error // of changes that were given up, for those who wait for them

	turns  turns
	Moved  core.Broadcast // a group's cursor, status or changes moved
	failed chan error     // a failure of the local store, which ends Run
}

// New makes Groups.
func New(c *core.Core, p *people.People, r *conv.Rows, in *inbox.Inbox, out *outbox.Outbox) *Groups {
	e := &Groups{core: c, people: p, rows: r, syncOwn: in.Sync, known: map[ident.GroupID]*group{},
		workers: map[ident.GroupID]*worker{},
		turns:   turns{most: c.Pace.Followed, least: c.Pace.Quiet, held: map[ident.GroupID]*turn{}},
		waiters: map[int64]int{}, failures: map[int64]error{}, failed: make(chan error, 1)}
	e.keeper.init()
	in.OnCopy(account.CopyGroup, e.takeOwnCopy)
	in.OnMail((*bodyv1.Body_GroupReturn)(nil), func(tx *store.Tx, a *core.Batch, m *inbox.Mail) error {
		return e.takeReturn(tx, a, m.Sender, m.Body.GetGroupReturn())
	})
	in.OnMail((*bodyv1.Body_GroupInvitation)(nil), func(tx *store.Tx, a *core.Batch, m *inbox.Mail) error {
		return e.takeInvitation(tx, a, m.From, m.Sender, m.Body.GetGroupInvitation().GetInvitation())
	})
	out.Register(store.LegGroup, outbox.Deliverer{Try: e.deliver, DeniedForGood: true})
	out.Register(store.LegErase, outbox.Deliverer{Try: e.deliverErase})
	out.Register(store.LegGroupCopy, outbox.Deliverer{Try: out.DeliverOwn, Done: e.handoverStored})
	c.OnRollback(e.forgetKnown)
	c.OnOnline(e.kickAll)
	c.OnAdopted(func(tx *store.Tx, _ *core.Batch, _ *account.Adoption) error { return e.renewAsks(tx) })
	return e
}

// Run owns every goroutine of the groups until ctx ends or the local store fails.
func (e *Groups) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return e.runWorkers(ctx) })
	g.Go(func() error { return e.keep(ctx) })
	return g.Wait()
}

// runWorkers starts the workers of all groups that may change, and returns when ctx has ended and they have.
func (e *Groups) runWorkers(ctx context.Context) error {
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
	err := e.core.View(func(tx *store.Tx) error {
		for _, id := range tx.GroupIDs() {
			if g, err := e.get(tx, id); err == nil && (g.lives() || g.backsOut()) {
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

func (e *Groups) fail(err error) {
	select {
	case e.failed <- err:
	default:
	}
}

// kick makes the worker of a group look at it anew, and starts it if there is none.
func (e *Groups) kick(id ident.GroupID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ctx == nil {
		return
	}
	w := e.workers[id]
	if w == nil {
		mailbox, err := account.GroupMailboxOf(id, e.core.Cluster.ID)
		if err != nil {
			return // no group can have that ID
		}
		w = &worker{c: e, id: id, mailbox: mailbox, wake: make(chan struct{}, 1), aside: map[int64]aside{},
			learnt: map[ident.AccountID]int{}, suspect: map[ident.AccountID]int{}}
		e.workers[id] = w
		ctx := e.ctx
		e.wg.Go(func() { w.run(ctx) })
		return
	}
	w.kick()
}

// kickAll makes every worker try again at once: the network is back.
func (e *Groups) kickAll() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, w := range e.workers {
		w.kick()
	}
}

func (w *worker) kick() {
	w.turned.Fire()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// worker runs what one group needs.
type worker struct {
	c       *Groups
	id      ident.GroupID
	mailbox ident.MailboxID
	turned  core.Broadcast // status, role or generation may have changed
	wake    chan struct{}  // something is wanted

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

	learnt map[ident.AccountID]int // how often the certificates of who asks to join were read
	grant  int                     // how many requests the next commit may grant; 0: as many as fit
	// how often the nodes refused to let an account in that was alone in a commit
	suspect map[ident.AccountID]int
}

// worker returns the worker of a group; nil: there is none.
func (e *Groups) worker(id ident.GroupID) *worker {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.workers[id]
}

// run ends with ctx, or once the group is forgotten.
func (w *worker) run(ctx context.Context) {
	all, stop := context.WithCancel(ctx)
	defer stop()
	var wg sync.WaitGroup
	for _, loop := range []func(context.Context) error{w.follow, w.administer, w.carryOut} {
		wg.Go(func() {
			defer stop()
			var broken *core.StoreError
			if err := loop(all); errors.As(err, &broken) {
				w.c.fail(broken.Cause)
			}
		})
	}
	wg.Wait()
	w.c.ended(ctx, w)
}

// ended takes out a worker that has ended, and starts another one if something was wanted of it meanwhile.
func (e *Groups) ended(ctx context.Context, w *worker) {
	e.mu.Lock()
	delete(e.workers, w.id)
	e.mu.Unlock()
	if ctx.Err() != nil {
		return
	}
	e.Moved.Fire() // who waits for the group need not
	if len(w.wake) > 0 {
		e.kick(w.id)
	}
}

// lives reports whether the group can still move.
func (g *group) lives() bool {
	switch Status(g.Status) {
	case Waiting, Joined, Returning:
		return true
	case Left:
		return g.Leaving
	}
	return false
}

// admin reports whether the own account may change the group.
func (g *group) admin() bool {
	return g.state != nil && g.state.Admin() && Status(g.Status) == Joined
}

// get returns a group as the store has it. Errors: NotFound. It must not be kept beyond the transaction.
func (c *Groups) get(tx *store.Tx, id ident.GroupID) (*group, error) {
	if g := c.known[id]; g != nil {
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
	c.known[id] = g
	return g, nil
}

// forgetKnown drops what was read from the store: a transaction failed.
func (c *Groups) forgetKnown() {
	c.core.View(func(*store.Tx) error {
		clear(c.known)
		return nil
	})
}

// save writes all of a group but its secret state.
func (c *Groups) save(tx *store.Tx, g *group) {
	if g.state != nil {
		g.Name = g.state.Info().Name
	}
	tx.SaveGroup(&g.Group)
	c.known[g.ID] = g
}

// saveState writes a group and its secret state.
func (c *Groups) saveState(tx *store.Tx, g *group) {
	c.save(tx, g)
	if g.state == nil {
		tx.SaveGroupState(g.ID, nil)
		return
	}
	tx.SaveGroupState(g.ID, g.state.Marshal())
}

// enter puts a state in force that another own device handed over, or that was joined with: what follows the
// cursor in the mailbox is still to be taken in. Messages that waited for keys leave. Kick the group
// afterwards.
func (c *Groups) enter(tx *store.Tx, a *core.Batch, id ident.GroupID, state *groups.State,
	cursor uint64) error {
	g, err := c.get(tx, id)
	if errors.Is(err, fault.NotFound) {
		g, err = &group{Group: store.Group{ID: id, Since: c.core.NowMS()}}, nil
	}
	if err != nil {
		return err
	}
	g.state, g.Status, g.Cursor, g.HeadSeq, g.AdminCursor = state, string(Joined), cursor, 0, 0
	g.Invitation, g.Keys, g.Request, g.Asked, g.Cause, g.Past, g.Leaving, g.Warning = nil, nil, nil, false,
		"", 0, false, ""
	c.saveState(tx, g)
	c.groupStarted(tx, a, g)
	c.core.Kick(id)
	return tx.Err()
}

// leave erases the keys of a group that is over, or that the account is no member of any more.
func (c *Groups) leave(tx *store.Tx, g *group, status Status) {
	g.Status, g.Leaving = string(status), false
	if g.state != nil {
		g.Past = g.state.Generation() + 1
		g.Name = g.state.Info().Name
		g.state = nil
	}
	c.saveState(tx, g)
	tx.DropGroupWork(g.ID)
	for _, ch := range tx.GroupChanges(g.ID) {
		c.forgetChange(tx, ch, fault.New(fault.Denied, "change group", "this account is no member any more"))
	}
}

// before is what a group was before a commit.
type before struct {
	Index      uint64
	Generation uint32
	Info       groups.Info
	Members    []*groups.Member // by account; not to be changed
	Invites    []groups.Invite
}

func beforeOf(s *groups.State) before {
	index, _ := s.Head()
	return before{Index: index, Generation: s.Generation(), Info: s.Info(), Members: s.Members(),
		Invites: s.Invites()}
}

// requestTimeout bounds one request to a group's mailbox.
const requestTimeout = 20 * time.Second

// changed tells, after the transaction, that what Group returns changed.
func (c *Groups) changed(a *core.Batch, id ident.GroupID) {
	if a.Told(id) {
		return
	}
	a.Tell(core.Fact{Kind: core.FactGroup, Group: &id})
	a.Kick(c.core.Me) // what the account's other devices are told of it
	a.Then(func() {
		c.kick(id)
		c.Moved.Fire()
	})
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
