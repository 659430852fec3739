// Package client is Starling's embedded messenger: an account on one device, its conversations, and the engine that
// keeps them in step with the account's other devices and with the people it talks to.
//
// Create makes an account, Restore brings one back from its recovery phrase, Open opens the profile that either left
// on disk. Everything a Client knows lives in the profile's directory; Run connects it to the cluster and owns every
// goroutine until its context ends. Without Run the local calls (Messages, Contacts, Send, which only writes the
// durable outbox) still work.
//
//	c, err := client.Open(client.Config{Dir: dir})
//	go c.Run(ctx)
//	sent, err := c.Send(ctx, peer, client.Outgoing{Text: "hello"})
//	receipt, err := c.Wait(ctx, sent.ID, client.StateStored)
//
// The network is a small interface that this package declares (network.go) and client/internal/circuit implements.
// Errors are of package fault. What lies on disk: docs/formats.md, section 10.
//
// How the engine is divided: send.go and outbox.go (what leaves), recipients.go (what must be known of somebody to
// write to them), inbox.go and apply.go (what comes), own.go (the account's certificates, generations and day
// records), upkeep.go and erasure.go (what time brings), link.go, rendezvous.go, devices.go and revoke.go (devices that
// join and go), contest.go and verify.go (whether an account is still its owner's), documents.go and snapshot.go (what
// all devices share), conversations.go, people.go and settings.go (what people change of it), changes.go, timers.go and
// drafts.go (what messages do to others, in any order), history_send.go and history_receive.go (messages for a device
// that joins).
//
// Closed groups: group_engine.go (what is held of a group, and its worker), group_follow.go, group_log.go, group_mail.go,
// group_catchup.go and group_running.go (what a group's mailbox gives, in its order), group_send.go (what leaves),
// group_messages.go and group_notices.go (what becomes rows of the conversation), group_changes.go, group_commit.go and
// group_work.go (what this device wants changed, durable until it is in the log), group_admin.go (what others ask the
// admins for), group_invite.go, group_link.go, group_join.go and group_door.go (coming in), groups.go, group_api.go and group_view.go (what
// programs see); group_keeper.go (errands), group_devices.go (keys among own devices), group_return.go (an account without
// keys), group_schedule.go and group_urgent.go (new keys, by the clock and when a device was shut out) and
// group_credential.go (for whose keys their accounts answer).
package client

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/devicesync"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/directory"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// MaxText is the largest text of a message in bytes. Larger things are attachments.
const MaxText = 65_536

// Config says where a profile lives and how it reaches its cluster.
type Config struct {
	Dir     string                 // the profile's directory; Create and Restore make it (0700)
	Cluster *directory.ClusterFile // the cluster; nil: the one that the profile pinned when it was made
	Label   string                 // what other devices call this one; "": the host's name
	Logger  *slog.Logger           // nil: nothing is logged
	Clock   func() time.Time       // this machine's clock; nil: time.Now

	// Dial opens the connections to nodes, at host:port, for example through a proxy; nil: TCP.
	Dial func(ctx context.Context, addr string) (net.Conn, error)

	// Patience is how long the cluster may be silent before those who wait for it are told that it is out of reach; 0: a
	// few seconds. A call whose context ends earlier tries until then.
	Patience time.Duration

	// network and wall replace the onion network and the clock in tests; pace shortens delays and thresholds there.
	network func(networkConfig) (Network, error)
	pace    *pace
	wall    func() time.Time // Clock, but not the network's idea of it
}

// pace holds the delays that keep a node which hosts two mailboxes from pairing what belongs together by time, and the
// thresholds of snapshots.
type pace struct {
	copyMin, copyMax       time.Duration                           // from a sent message to the copy for own devices
	receiptMin, receiptMax time.Duration                           // from a message to its receipt
	unreachable            time.Duration                           // of silence, until those who wait are told
	turn                   time.Duration                           // how long the second admin of a group lets the first answer a request, the third twice that
	rest                   time.Duration                           // how long a generation of a group lasts before another member's urgent leaf key begins the next
	shut                   time.Duration                           // the least that a device waits, after another one was shut out, for the one that did it to change the leaf keys
	race                   time.Duration                           // the most that is waited after a race for a group's log was lost; it doubles with each
	commit                 func(ctx context.Context, point string) // called around the store of a commit, at "staged" and "stored"; nil: nothing
	groupAsk               time.Duration                           // how long a device that has no keys of a group waits for them before it asks the others
	groupAnswer            time.Duration                           // the most that a device waits before it answers, so that one of them does
	groupAlone             time.Duration                           // how long the only device of an account waits before it asks the admins
	groupPatience          time.Duration                           // likewise for one of several devices
	groupLog               int                                     // the most bytes of a group's log that are read at once
	followed               int                                     // groups that are followed at once
	quiet                  time.Duration                           // how long a group stays silent before it makes room for another
	snapshotDeltas         int
	snapshotBytes          int
}

var usualPace = pace{
	copyMin: 500 * time.Millisecond, copyMax: 5 * time.Second,
	receiptMin: 500 * time.Millisecond, receiptMax: 3 * time.Second,
	unreachable: 4 * time.Second,
	turn:        5 * time.Second, race: 250 * time.Millisecond, rest: time.Minute, shut: 30 * time.Second,
	groupAsk: 5 * time.Second, groupAnswer: 5 * time.Second, groupAlone: time.Minute, groupPatience: 10 * time.Minute, groupLog: 256 << 20,
	followed: 32, quiet: 30 * time.Second,
	snapshotDeltas: 64, snapshotBytes: 256 << 10,
}

// Account is who this profile is.
type Account struct {
	ID          ident.AccountID
	Name        string
	Device      ident.DeviceID
	Label       string
	Cluster     ident.ClusterID
	ClusterName string
	Generation  uint32
	Revoked     bool   // this device is no longer part of the account
	Replaced    bool   // by a recovery: Contest it, or Join again
	Link        string // what others paste to add this account
}

// Client is one open profile. Its methods may be called concurrently.
type Client struct {
	cfg     Config
	pace    *pace
	p       *profile
	cluster *directory.ClusterFile
	net     Network
	log     *slog.Logger
	me      ident.AccountID
	mailbox ident.MailboxID

	keys *keyring            // the device's secrets
	docs *devicesync.Replica // only touched inside a transaction of p.db, which serialises it

	bus       bus
	out       outbox
	people    people
	link      linkState
	records   upkeep
	histories histories
	groups    groupEngine
	keeper    groupKeeper

	moved broadcast // the cursor moved
	timed broadcast // messages that disappear may have come

	own sync.Mutex // one catch-up of the own certificates at a time
	ran atomic.Bool
}

// Open opens a profile. Errors: NotFound if there is none, an error for which IsBusy is true if another process holds
// it, Denied if cfg.Cluster names another cluster than the profile's.
func Open(cfg Config) (*Client, error) {
	p, err := openProfile(cfg)
	if err != nil {
		return nil, err
	}
	c, err := assemble(cfg, p)
	if err != nil {
		p.close()
		return nil, err
	}
	return c, nil
}

// assemble builds the client of a profile that holds an account.
func assemble(cfg Config, p *profile) (*Client, error) {
	if p.stage() != stageReady {
		return nil, fault.New(fault.NotFound, "open profile", "the account was never finished: run init or restore again")
	}
	return newClient(cfg, p)
}

func newClient(cfg Config, p *profile) (*Client, error) {
	keys, err := loadKeyring(p.secrets)
	if err != nil {
		return nil, err
	}
	cluster, err := p.cluster(cfg.Cluster)
	if err != nil {
		return nil, err
	}
	c := &Client{cfg: cfg, p: p, cluster: cluster, keys: keys, me: keys.account(), mailbox: keys.mailbox()}
	c.init()
	if err := c.loadDocuments(); err != nil {
		return nil, err
	}
	return c, c.newNetwork()
}

func (c *Client) init() {
	if c.log = c.cfg.Logger; c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	if c.pace = c.cfg.pace; c.pace == nil {
		c.pace = &usualPace
	}
	c.out.init(c)
	c.people.init()
	c.records.init()
	c.histories.init()
	c.groups.init(c)
	c.keeper.init()
}

func (c *Client) newNetwork() (err error) {
	build := c.cfg.network
	if build == nil {
		build = newCircuits
	}
	c.net, err = build(networkConfig{Cluster: c.cluster, Dir: c.p.dir, Mailbox: c.mailbox, Logger: c.log, Clock: c.cfg.Clock, Dial: c.cfg.Dial})
	return err
}

// update runs a transaction that is on disk when it returns. If it fails, what memory knows better than the disk is
// forgotten.
func (c *Client) update(f func(*store.Tx) error) error { return c.transact(c.p.db.Update, f) }

// updateLazy is update for what the cluster still holds: see store.DB.UpdateLazy.
func (c *Client) updateLazy(f func(*store.Tx) error) error { return c.transact(c.p.db.UpdateLazy, f) }

func (c *Client) transact(run func(func(*store.Tx) error) error, f func(*store.Tx) error) error {
	err := run(f)
	if err != nil {
		c.forgetPeople()
		c.forgetGroups()
		if c.keys != nil { // there may be documents
			err = errors.Join(err, c.loadDocuments())
		}
	}
	return err
}

// Close releases the profile. Run must have returned.
func (c *Client) Close() error {
	c.bus.close()
	return c.p.close()
}

// Run connects to the cluster and owns every goroutine until ctx ends or the local store fails. It returns nil when
// ctx ended. A Client runs once.
func (c *Client) Run(ctx context.Context) error {
	if c.ran.Swap(true) {
		return fault.New(fault.Exists, "run client", "a client runs once: open the profile again")
	}
	if err := c.tellRecovered(); err != nil {
		return err
	}
	c.advance()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return c.net.Run(ctx) })
	g.Go(func() error { return c.inboxLoop(ctx) })
	g.Go(func() error { return c.out.run(ctx) })
	g.Go(func() error { return c.upkeepLoop(ctx) })
	g.Go(func() error { return c.historyLoop(ctx, c.histories.sendWoken, c.nextToSend) })
	g.Go(func() error { return c.historyLoop(ctx, c.histories.receiveWoken, c.nextToReceive) })
	g.Go(func() error { return c.expireLoop(ctx) })
	g.Go(func() error { return c.groups.run(ctx) })
	g.Go(func() error { return c.keepGroups(ctx) })
	err := g.Wait()
	c.link.reset()
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return err
}

// Account returns who this profile is.
func (c *Client) Account() Account {
	a := Account{ID: c.me, Device: c.keys.device(), Cluster: c.cluster.ID, ClusterName: c.cluster.Name, Link: LinkOf(c.me)}
	a.Label, a.Generation, a.Revoked = c.keys.summary()
	c.keys.read(func(s *account.State) { _, a.Replaced = s.Contestable() })
	c.p.db.View(func(*store.Tx) error {
		a.Name = c.profileName()
		return nil
	})
	return a
}

// Net describes the network.
func (c *Client) Net() NetStatus { return c.net.Status() }

// nowMS is the client time in Unix milliseconds.
func (c *Client) nowMS() int64 { return c.net.Now().UnixMilli() }

// fromMS is the zero time for 0.
func fromMS(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}
