package core

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/devicesync"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/directory"
	"github.com/starling-swarm/starling/internal/ident"
)

// Pace holds the delays that keep a node which hosts two mailboxes from pairing what belongs together by
// time, and the thresholds of snapshots.
type Pace struct {
	// from a sent message to the copy for own devices
	CopyMin, CopyMax       time.Duration
	ReceiptMin, ReceiptMax time.Duration // from a message to its receipt
	// of silence, until those who wait are told
	Unreachable time.Duration
	// how long the second admin of a group lets the first answer a request, the third twice that
	Turn time.Duration
	// how long a generation of a group lasts before another member's urgent leaf key begins the next
	Rest time.Duration
	// the least that a device waits, after another one was shut out, for the one that did it to change the
	// leaf keys
	Shut time.Duration
	// the most that is waited after a race for a group's log was lost; it doubles with each
	Race time.Duration
	// called around the store of a commit, at "staged" and "stored"; nil: nothing
	Commit func(ctx context.Context, point string)
	// how long a device that has no keys of a group waits for them before it asks the others
	GroupAsk time.Duration
	// the most that a device waits before it answers, so that one of them does
	GroupAnswer time.Duration
	// how long the only device of an account waits before it asks the admins
	GroupAlone    time.Duration
	GroupPatience time.Duration // likewise for one of several devices
	// the most bytes of a group's log that are read at once
	GroupLog int
	Followed int // groups that are followed at once
	// how long a group stays silent before it makes room for another
	Quiet time.Duration
	// how long changes of documents after a delta wait for each other: the first leaves at once
	Coalesce       time.Duration
	SnapshotDeltas int
	SnapshotBytes  int
}

var UsualPace = Pace{
	CopyMin: 500 * time.Millisecond, CopyMax: 5 * time.Second,
	ReceiptMin: 500 * time.Millisecond, ReceiptMax: 3 * time.Second,
	Unreachable: 4 * time.Second,
	Turn:        5 * time.Second, Race: 250 * time.Millisecond, Rest: time.Minute, Shut: 30 * time.Second,
	GroupAsk: 5 * time.Second, GroupAnswer: 5 * time.Second, GroupAlone: time.Minute,
	GroupPatience: 10 * time.Minute, GroupLog: 256 << 20,
	Followed: 32, Quiet: 30 * time.Second, Coalesce: 300 * time.Millisecond,
	SnapshotDeltas: 64, SnapshotBytes: 256 << 10,
}

// Config is what a Core is made of.
type Config struct {
	Profile *Profile
	Cluster *directory.ClusterFile
	Account ident.AccountID // zero: not known yet, see Become
	Keys    *Keyring        // nil: the device has none yet
	Label   string          // what other devices call a device that is made
	Logger  *slog.Logger
	Pace    *Pace
	// how long the cluster may be silent; 0: Pace.Unreachable
	Patience time.Duration
	Clock    func() time.Time // this machine's clock
	// Clock, but not the network's idea of it
	Wall    func() time.Time
	Dial    func(ctx context.Context, addr string) (net.Conn, error) // how nodes are reached; nil: TCP
	Network func(NetworkConfig) (Network, error)                     // nil: NewCircuits
}

// Core is what every room of the client stands on.
type Core struct {
	Me      ident.AccountID
	Mailbox ident.MailboxID
	Cluster *directory.ClusterFile
	Profile *Profile
	Keys    *Keyring            // the device's secrets
	Docs    *devicesync.Replica // only touched inside a transaction, which serialises it
	toShare bool                // SaveDocuments wrote what other devices lack; as Docs
	Net     Network
	Link    LinkState
	Log     *slog.Logger
	Pace    *Pace
	Label   string    // of a device that is made
	Moved   Broadcast // the cursor of the own mailbox moved

	cfg     Config
	lastDay atomic.Uint32
	own     sync.Mutex // one catch-up of the own certificates at a time
	hooks   hooks
}

// hooks are what other rooms do at certain moments. They are registered before Run, by those who make the
// rooms.
type hooks struct {
	rollback []func()
	online   []func()
	adopted  []func(*store.Tx, *Batch, *account.Adoption) error
	kick     func(peer ident.PeerKey)
	render   func(*store.Tx, []Fact) (publish func())
}

// New makes a Core and its network; it starts nothing.
func New(cfg Config) (*Core, error) {
	c := &Core{Label: cfg.Label, Cluster: cfg.Cluster, Profile: cfg.Profile, Keys: cfg.Keys, Log: cfg.Logger,
		Pace: cfg.Pace, cfg: cfg}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Pace == nil {
		c.Pace = &UsualPace
	}
	if c.cfg.Network == nil {
		c.cfg.Network = NewCircuits
	}
	c.hooks.kick = func(ident.PeerKey) {}
	c.hooks.render = func(*store.Tx, []Fact) func() { return func() {} }
	if cfg.Account == (ident.AccountID{}) {
		return c, nil
	}
	return c, c.Become(cfg.Account)
}

// Become makes c the core of an account's device, with a network of its own.
func (c *Core) Become(id ident.AccountID) (err error) {
	c.Me = id
	if c.Mailbox, err = account.MailboxOf(id, c.Cluster.ID); err != nil {
		return err
	}
	if c.Keys != nil {
		if err := c.loadDocuments(); err != nil {
			return err
		}
	}
	return c.Reconnect()
}

// Resume takes the keys that an earlier, unfinished call left on disk.
func (c *Core) Resume() (err error) {
	if c.Keys, err = LoadKeyring(c.Profile.Secrets); err != nil {
		return err
	}
	return c.loadDocuments()
}

// Reconnect replaces the network by a new one, which has not run yet.
func (c *Core) Reconnect() (err error) {
	c.Net, err = c.cfg.Network(NetworkConfig{Cluster: c.Cluster, Dir: c.Profile.Dir, Mailbox: c.Mailbox,
		Logger: c.Log, Clock: c.cfg.Clock, Dial: c.cfg.Dial})
	return err
}

// Equip writes the state of a new device to disk and gives the client its keys.
func (c *Core) Equip(state *account.State) error {
	c.Keys = &Keyring{state: state, file: c.Profile.Secrets}
	if err := c.Keys.Change(func(*account.State) error { return nil }); err != nil {
		return err
	}
	return c.loadDocuments()
}

// OnRollback registers what forgets, after a failed transaction, what memory knows better than the disk.
func (c *Core) OnRollback(f func()) { c.hooks.rollback = append(c.hooks.rollback, f) }

// OnOnline registers what is tried again at once when the network is back.
func (c *Core) OnOnline(f func()) { c.hooks.online = append(c.hooks.online, f) }

// OnAdopted registers what happens in the transaction that takes note of a new generation of the account.
func (c *Core) OnAdopted(f func(*store.Tx, *Batch, *account.Adoption) error) {
	c.hooks.adopted = append(c.hooks.adopted, f)
}

// OnKick registers what looks for legs to an account or a group.
func (c *Core) OnKick(f func(peer ident.PeerKey)) { c.hooks.kick = f }

// OnFacts registers what makes events of facts, inside of the transaction that they are of; publish runs
// after it.
func (c *Core) OnFacts(render func(*store.Tx, []Fact) (publish func())) { c.hooks.render = render }

// Kick makes the outbox look for legs to an account or a group.
func (c *Core) Kick(peer ident.Peer) { c.hooks.kick(peer.Key()) }

// View runs f in a transaction that only reads. It serialises with Update. Errors: those of f; Corrupt and
// Internal of the store.
func (c *Core) View(f func(*store.Tx) error) error { return c.Profile.db.View(f) }

// Update runs a transaction that is on disk when it returns, and publishes what its batch gathered. If it
// fails, what memory knows better than the disk is forgotten.
//
// Errors: those of f; Limited (the disk is full), Corrupt, Internal of the store.
func (c *Core) Update(f func(*store.Tx, *Batch) error) error {
	return c.transact(c.Profile.db.Update, f)
}

// UpdateLazy is update for what the cluster still holds: see store.DB.UpdateLazy.
func (c *Core) UpdateLazy(f func(*store.Tx, *Batch) error) error {
	return c.transact(c.Profile.db.UpdateLazy, f)
}

func (c *Core) transact(run func(func(*store.Tx) error) error, f func(*store.Tx, *Batch) error) error {
	var b *Batch
	var publish func()
	err := run(func(tx *store.Tx) error {
		b, c.toShare = &Batch{Now: c.Net.Now()}, false
		if err := f(tx, b); err != nil {
			return err
		}
		if c.toShare {
			b.Kick(c.Me)
		}
		publish = c.hooks.render(tx, b.facts)
		return tx.Err()
	})
	if err != nil {
		for _, forget := range c.hooks.rollback {
			forget()
		}
		if c.Keys != nil { // there may be documents
			err = errors.Join(err, c.loadDocuments())
		}
		return err
	}
	for _, peer := range b.kicks {
		c.hooks.kick(peer)
	}
	for _, then := range b.after {
		then()
	}
	publish()
	return nil
}

// Announce publishes facts that are of no transaction.
func (c *Core) Announce(facts ...Fact) {
	b := Batch{Now: c.Net.Now()}
	b.Tell(facts...)
	var publish func()
	if err := c.View(func(tx *store.Tx) error {
		publish = c.hooks.render(tx, b.facts)
		return nil
	}); err == nil {
		publish()
	}
}

// NowMS is the client time in Unix milliseconds.
func (c *Core) NowMS() int64 { return c.Net.Now().UnixMilli() }

// FromMS is the zero time for 0.
func FromMS(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

// Sleep waits for d or the end of ctx.
func (c *Core) Sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// StoreError marks a failure of the local store, which ends Run: everything else is tried again.
type StoreError struct{ Cause error }

// Error returns the cause's text.
func (e *StoreError) Error() string { return e.Cause.Error() }

// Unwrap returns the cause.
func (e *StoreError) Unwrap() error { return e.Cause }

// Commit runs a transaction of the receiving side; its failure ends Run.
func (c *Core) Commit(f func(*store.Tx, *Batch) error) error {
	if err := c.UpdateLazy(f); err != nil {
		return &StoreError{err}
	}
	c.Moved.Fire()
	return nil
}

// Advance moves the day keys to today; a new day is written to disk.
func (c *Core) Advance() {
	now := c.Net.Now()
	if day := account.Day(now); c.lastDay.Swap(day) != day {
		if err := c.Keys.Change(func(s *account.State) error {
			s.Advance(now)
			return nil
		}); err != nil {
			c.Log.Error("day keys not written", "error", err)
		}
	}
}

// Broken marks a failure of the local store.
func Broken(cause error) error { return &StoreError{cause} }
