// Package client is Starling's embedded messenger: an account on one device, its conversations, and the
// engine that keeps them in step with the account's other devices and with the people it talks to.
//
// Create makes an account, Restore brings one back from its recovery phrase, Open opens the profile that
// either left on disk. Everything a Client knows lives in the profile's directory; Run connects it to the
// cluster and owns every goroutine until its context ends. Without Run the local calls (Messages, Contacts,
// Send, which only writes the durable outbox) still work.
//
//	c, err := client.Open(client.Config{Dir: dir})
//	go c.Run(ctx)
//	sent, err := c.Send(ctx, peer, client.Outgoing{Text: "hello"})
//	receipt, err := c.Wait(ctx, sent.ID, client.StateStored)
//
// What there is to act on has a handle, made without asking anybody:
//
//	c.Conversation(peer).MarkRead(ctx)
//	c.Message(m.Ref()).React(ctx, "👍")
//	c.Contact(id).SetNick(ctx, "bob")
//	c.Group(id).Add(ctx, 0, id)
//	c.Device(id).Revoke(ctx)
//
// What happens is told as events, once it is on disk. The examples are a bot, a group, a second device.
//
// Errors match ErrNotFound and its like with errors.Is; where a doc says NotFound, it means ErrNotFound.
// Besides the kinds that a doc names, every call may meet the local store's: Limited (the disk is full),
// Corrupt and Internal. A call whose context has ended returns the context's error; what it wrote before
// stays.
//
// What the package is made of lies below internal: see ARCHITECTURE.md.
package client

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/starling-swarm/starling/client/internal/closed"
	"github.com/starling-swarm/starling/client/internal/conv"
	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/histories"
	"github.com/starling-swarm/starling/client/internal/inbox"
	"github.com/starling-swarm/starling/client/internal/outbox"
	"github.com/starling-swarm/starling/client/internal/people"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/directory"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	bodyv1 "github.com/starling-swarm/starling/proto/starling/body/v1"
)

// Config says where a profile lives and how it reaches its cluster.
type Config struct {
	Dir     string                 // the profile's directory; Create and Restore make it (0700)
	Cluster *directory.ClusterFile // the cluster; nil: the one that the profile pinned when it was made
	Label   string                 // what other devices call this one; "": the host's name
	Logger  *slog.Logger           // nil: nothing is logged
	Clock   func() time.Time       // this machine's clock; nil: time.Now

	// Dial opens the connections to nodes, at host:port, for example through a proxy; nil: TCP.
	Dial func(ctx context.Context, addr string) (net.Conn, error)

	// Patience is how long the cluster may be silent before those who wait for it are told that it is out of
	// reach; 0: a few seconds. A call whose context ends earlier tries until then.
	Patience time.Duration

	// network and wall replace the onion network and the clock in tests; pace shortens delays and thresholds
	// there.
	network func(core.NetworkConfig) (core.Network, error)
	pace    *core.Pace
	wall    func() time.Time // Clock, but not the network's idea of it
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
	core      *core.Core           // the door to the store, the keys, the documents, the line to the cluster
	people    *people.People       // what is known of other accounts
	rows      *conv.Rows           // of conversations
	in        *inbox.Inbox         // what comes
	out       *outbox.Outbox       // what leaves
	groups    *closed.Groups       // closed groups
	histories *histories.Histories // messages for a device that joins
	records   upkeep               // what time brings
	bus       bus                  // who listens

	ran atomic.Bool
}

// Open opens a profile. Errors: NotFound if there is none, an error for which IsBusy is true if another
// process holds it, Denied if cfg.Cluster names another cluster than the profile's.
func Open(cfg Config) (*Client, error) {
	p, err := core.OpenProfile(cfg.Dir)
	if err != nil {
		return nil, err
	}
	c, err := assemble(cfg, p)
	if err != nil {
		p.Close()
		return nil, err
	}
	return c, nil
}

// assemble builds the client of a profile that holds an account.
func assemble(cfg Config, p *core.Profile) (*Client, error) {
	if p.Stage() != core.StageReady {
		return nil, fault.New(fault.NotFound, "open profile",
			"the account was never finished: run init or restore again")
	}
	return newClient(cfg, p)
}

func newClient(cfg Config, p *core.Profile) (*Client, error) {
	keys, err := core.LoadKeyring(p.Secrets)
	if err != nil {
		return nil, err
	}
	return makeClient(cfg, p, keys.Account(), keys)
}

// makeClient puts the rooms together. keys is nil for a device that has none yet: enough to
// send unsigned requests. id is zero for one that does not know its account: see core.Core.Become.
func makeClient(cfg Config, p *core.Profile, id ident.AccountID, keys *core.Keyring) (*Client, error) {
	cluster, err := p.Cluster(cfg.Cluster)
	if err != nil {
		return nil, err
	}
	k, err := core.New(core.Config{Profile: p, Cluster: cluster, Account: id, Keys: keys,
		Label: deviceLabel(cfg.Label), Logger: cfg.Logger,
		Pace: cfg.pace, Patience: cfg.Patience, Clock: cfg.Clock, Wall: cfg.wall, Dial: cfg.Dial,
		Network: cfg.network})
	if err != nil {
		return nil, err
	}
	c := &Client{core: k}
	c.records.init()
	c.people = people.New(k, c.records.wake)
	c.rows = conv.New(k, c.people)
	c.in = inbox.New(k, c.people, c.rows, c.takeSnapshot)
	c.out = outbox.New(k, c.people, c.in, c.pushDocuments)
	c.groups = closed.New(k, c.people, c.rows, c.in, c.out)
	c.histories = histories.New(k, c.people, c.rows, c.in)
	c.in.OnDelta(c.delta)
	c.in.OnLink(c.askToLink)
	c.in.OnCopy(account.CopySent, c.sentCopy)
	c.in.OnCopy(account.CopyFetched, c.fetched)
	c.in.OnMail((*bodyv1.Body_Typing)(nil), c.takeTyping)
	c.in.OnUnverifiedMail((*bodyv1.Body_Contest)(nil), c.contest)
	k.OnFacts(c.render)
	k.OnOnline(c.records.wake)
	k.OnAdopted(func(tx *store.Tx, b *core.Batch, a *account.Adoption) error {
		c.recordDevices(tx, b, a)
		b.Then(c.records.wake)
		return tx.Err()
	})
	return c, nil
}

// Close releases the profile. Run must have returned.
func (c *Client) Close() error {
	c.bus.close()
	return c.core.Profile.Close()
}

// Run connects to the cluster and owns every goroutine until ctx ends or the local store fails. It returns
// nil when ctx ended. A Client runs once.
func (c *Client) Run(ctx context.Context) error {
	if c.ran.Swap(true) {
		return fault.New(fault.Exists, "run client", "a client runs once: open the profile again")
	}
	if err := c.histories.TellRecovered(); err != nil {
		return err
	}
	if err := c.core.Update(func(tx *store.Tx, a *core.Batch) error {
		c.recordDevices(tx, a, nil)
		return nil
	}); err != nil {
		return err
	}
	c.core.Advance()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return c.core.Net.Run(ctx) })
	g.Go(func() error { return c.in.Run(ctx) })
	g.Go(func() error { return c.out.Run(ctx) })
	g.Go(func() error { return c.upkeepLoop(ctx) })
	g.Go(func() error { return c.histories.Run(ctx) })
	g.Go(func() error { return c.rows.ExpireLoop(ctx) })
	g.Go(func() error { return c.groups.Run(ctx) })
	err := g.Wait()
	c.core.Link.Reset()
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return err
}

// Account returns who this profile is.
func (c *Client) Account() Account {
	a := Account{ID: c.core.Me, Device: c.core.Keys.Device(), Cluster: c.core.Cluster.ID,
		ClusterName: c.core.Cluster.Name, Link: LinkOf(c.core.Me)}
	a.Label, a.Generation, a.Revoked = c.core.Keys.Summary()
	c.core.Keys.Read(func(s *account.State) { _, a.Replaced = s.Contestable() })
	c.core.View(func(*store.Tx) error {
		a.Name = c.core.ProfileName()
		return nil
	})
	return a
}

// Net describes the network.
func (c *Client) Net() NetStatus {
	s := c.core.Net.Status()
	out := NetStatus{Nodes: s.Nodes, Swarms: s.Swarms, Version: s.Version, ClockSkew: s.Skew,
		Notes: s.Notes, Connected: s.Connected}
	for _, c := range s.Circuits {
		out.Circuits = append(out.Circuits, Circuit{Purpose: c.Purpose, Path: c.Path, Storage: c.Storage,
			Age: c.Age, RTT: c.RTT})
	}
	return out
}

// NetStatus is a view of the network.
type NetStatus struct {
	Nodes     int
	Swarms    int
	Version   uint64 // of the directory
	Circuits  []Circuit
	ClockSkew time.Duration
	Notes     []string // relaxed path rules, clock warnings
	Connected bool     // a node's client listener answers
}

// Circuit is one live circuit.
type Circuit struct {
	Purpose string
	Path    ident.Path
	Storage ident.NodeID // the replica that it ends at
	Age     time.Duration
	RTT     time.Duration
}

// WaitOnline returns once the cluster answers. It needs Run. Errors: Unavailable as soon as the cluster
// proves to be out of reach; Denied if this device was revoked; ctx's.
func (c *Client) WaitOnline(ctx context.Context) error { return c.core.WaitOnline(ctx) }

// Purposes of circuits: requests with different purposes never share one.
const (
	PurposeInbox = core.PurposeInbox // our own mailbox
	PurposeSend  = core.PurposeSend  // somebody else's mailbox
	PurposeFetch = core.PurposeFetch // somebody's public records
)
