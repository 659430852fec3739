package client

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"time"

	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/people"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/devicesync/phrase"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// RestoreOptions say how Restore behaves.
type RestoreOptions struct {
	Name   string // the account's name, if the account's own documents do not say
	NoWait bool   // do not ask a live device: recover at once, visibly to every contact
	// OnPending is called once the request lies in the account's inbox, with the code that a live device must
	// be told. It is not called when the account is recovered.
	OnPending func(code string, device ident.DeviceID)
}

// Restore brings the account of a phrase to this device. It asks the account's live devices and waits until
// one approves, or ctx ends; with NoWait it recovers the account instead, with this device alone. It resumes
// what an earlier call left pending: keys and request are on disk before anything is sent.
//
// Errors: Invalid (a mistyped phrase, see package phrase; *phrase.WordError and the like are in the chain),
// NotFound (the cluster has no such account), Stale (no day key of the account is valid, so no device can be
// asked: NoWait is left), Exists (the directory holds a profile), Unavailable.
func Restore(ctx context.Context, cfg Config, words string,
	o RestoreOptions) (c *Client, recovered bool, err error) {
	entropy, err := phrase.Decode(words)
	if err != nil {
		return nil, false, err
	}
	defer entropy.Wipe()
	root := account.NewRoot(entropy)
	defer root.Wipe()
	p, err := restorableProfile(cfg.Dir, root.ID())
	if err != nil {
		return nil, false, err
	}
	c, err = makeClient(cfg, p, root.ID(), nil)
	if err == nil {
		err = c.connected(ctx, func(ctx context.Context) (err error) {
			recovered, err = c.restore(ctx, root, o)
			return err
		})
	}
	if err == nil {
		err = c.ready()
	}
	if err != nil {
		// A request that lies in the inbox can still be granted: what it needs stays. Without keys nothing
		// began.
		if c == nil || c.core.Keys == nil {
			return nil, false, errors.Join(err, p.Wipe())
		}
		return nil, false, errors.Join(err, p.Close())
	}
	return c, recovered, nil
}

// restorableProfile locks a directory that is empty or holds an unfinished restore of the same account.
func restorableProfile(dir string, id ident.AccountID) (*core.Profile, error) {
	p, err := core.MakeProfile(dir)
	if err != nil {
		return nil, err
	}
	stage := p.Stage()
	if stage == core.StageReady || stage == core.StageLink {
		p.Close()
		return nil, fault.New(fault.Exists, "restore account", "%q holds an account already", dir)
	}
	if stage == core.StageRestore {
		if keys, err := core.LoadKeyring(p.Secrets); err == nil && keys.Account() == id {
			return p, nil
		}
	}
	if stage != "" {
		if err := p.Wipe(); err != nil {
			return nil, err
		}
		return core.MakeProfile(dir)
	}
	return p, nil
}

func (c *Client) restore(ctx context.Context, root *account.Root,
	o RestoreOptions) (recovered bool, err error) {
	certs, err := c.core.ReadCerts(ctx, 0, 0)
	if err != nil {
		return false, err
	}
	if len(account.OpenCerts(c.core.Me, certs)) == 0 {
		return false, fault.New(fault.NotFound, "restore account", "cluster %q has no account of this phrase",
			c.core.Cluster.Name)
	}
	resumed := c.core.Profile.Stage() == core.StageRestore
	if err := c.beginRestore(resumed); err != nil {
		return false, err
	}
	var g uint32
	var pending bool
	err = c.core.Keys.Change(func(s *account.State) error {
		s.LearnCerts(certs)
		g = s.G()
		_, pending = s.Pending()
		return nil
	})
	if err != nil {
		return false, err
	}
	switch {
	case g > 0: // an earlier call got this far
	case pending || o.NoWait:
		if err := c.recover(ctx, root); err != nil {
			return false, err
		}
		// Other devices read it in the certificate log; this one wrote it.
		if err := c.core.NoteOwn([]account.Event{{Kind: account.EventRecovered,
			At: c.core.LastCertAt()}}); err != nil {
			return false, err
		}
		if err := c.histories.NoteLost(); err != nil {
			return false, err
		}
	default:
		if err := c.askForLink(ctx, root, resumed, o.OnPending); err != nil {
			return false, err
		}
	}
	return c.wasRecovered(), c.settleIn(ctx, root, o.Name)
}

// wasRecovered reports whether this device came to the account by a recovery: its first generation is one.
func (c *Client) wasRecovered() (recovered bool) {
	c.core.Keys.Read(func(s *account.State) {
		if chain, ok := s.Chain(); ok {
			recovered = chain.Head().Kind == account.CertRecover
		}
	})
	return recovered
}

// beginRestore makes the device's keys, or finds those of an earlier call.
func (c *Client) beginRestore(resumed bool) error {
	if resumed {
		return c.core.Resume()
	}
	state, err := account.NewDevice(rand.Reader, c.core.Me, c.core.Cluster.ID, c.core.Label, c.core.Net.Now())
	if err != nil {
		return err
	}
	if err := c.core.Equip(state); err != nil {
		return err
	}
	return c.core.Profile.SetStage(core.StageRestore)
}

// recover makes the next generation with this device alone, signed by the phrase.
func (c *Client) recover(ctx context.Context, root *account.Root) error {
	for range 8 {
		err := c.core.Keys.Change(func(s *account.State) error {
			if _, ok := s.Pending(); ok {
				return nil
			}
			return s.Recover(rand.Reader, root, c.core.Net.Now())
		})
		if err != nil {
			return err
		}
		err = c.submitPending(ctx)
		if !errors.Is(err, fault.Stale) {
			return err
		}
		// The account went on meanwhile: recover from there.
		certs, err := c.core.ReadCerts(ctx, 0, 0)
		if err != nil {
			return err
		}
		err = c.core.Keys.Change(func(s *account.State) error {
			s.LearnCerts(certs)
			return s.Recover(rand.Reader, root, c.core.Net.Now())
		})
		if err != nil {
			return err
		}
	}
	return fault.New(fault.Unavailable, "recover account",
		"the account's devices keep changing it: try again")
}

// askForLink puts a request to join into the account's inbox and waits until a device grants it. resumed: an
// earlier call may have put it there, and it may have been granted since.
func (c *Client) askForLink(ctx context.Context, root *account.Root, resumed bool, onPending func(string,
	ident.DeviceID)) error {
	req, err := c.storeLinkRequest(ctx, root, resumed)
	if err != nil || req == nil {
		return err
	}
	if onPending != nil {
		onPending(req.Code, req.Device)
	}
	for delay := time.Duration(0); ; {
		news := make(chan uint64, 8)
		watch, stop := context.WithCancel(ctx)
		ended := make(chan error, 1)
		var watcher sync.WaitGroup
		watcher.Go(func() { ended <- c.watchCerts(watch, news) })
		joined, err := c.joinFrom(ctx, news, ended)
		stop()
		watcher.Wait()
		if joined || ctx.Err() != nil {
			if !joined {
				err = fault.Wrap(fault.Unavailable, "wait for approval", ctx.Err())
			}
			return err
		}
		delay = min(core.NextDelay(delay, err), 5*time.Second)
		c.core.Sleep(ctx, delay)
	}
}

// storeLinkRequest seals the request to the account's day key and stores it. It returns nil if the device
// turns out to be part of the account already.
func (c *Client) storeLinkRequest(ctx context.Context, root *account.Root,
	resumed bool) (*account.LinkRequest, error) {
	minSeq := uint64(0)
	for attempt := range 4 {
		if resumed || attempt > 0 {
			if err := c.core.CatchUpOwn(ctx, minSeq); err != nil {
				return nil, err
			}
			if _, g, _ := c.core.Keys.Summary(); g > 0 {
				return nil, nil
			}
		}
		to, head, err := c.ownRecipient(ctx)
		if err != nil {
			return nil, err
		}
		var req *account.LinkRequest
		var blob []byte
		err = c.core.Keys.Change(func(s *account.State) (err error) {
			req, blob, err = s.LinkRequest(root, to, c.core.Net.Now())
			return err
		})
		if err != nil {
			return nil, err
		}
		put := envelope.Store{Namespace: envelope.Inbox, TTL: people.InboxTTL, IfCerts: &head, Body: blob}
		c.core.Admit(c.core.Mailbox, &put)
		_, _, err = c.core.Request(ctx, core.PurposeInbox, &envelope.Request{Mailbox: c.core.Mailbox,
			Ops: []envelope.Op{put}}, nil)
		if !errors.Is(err, fault.Stale) {
			return req, err
		}
		minSeq = core.HeadOf(err)
	}
	return nil, fault.New(fault.Unavailable, "ask to join",
		"the account's devices keep changing it: try again")
}

// ownRecipient is the own account as somebody who writes to it sees it.
func (c *Client) ownRecipient(ctx context.Context) (to account.Recipient, head uint64, err error) {
	pub, err := c.people.FetchPublic(ctx, core.PurposeInbox, c.core.Mailbox, 0, 0)
	if err != nil {
		return to, 0, err
	}
	err = c.core.Keys.Change(func(s *account.State) error {
		s.LearnCerts(pub.Certs)
		to.Chain, _ = s.Chain()
		return nil
	})
	if err != nil {
		return to, 0, err
	}
	if to.Record = people.BestRecord(c.core.Me, to.Chain, pub.Days, pub.Now); to.Record == nil {
		return to, 0, fault.New(fault.Stale, "ask to join",
			"no device of the account was online for two weeks, so none can be asked: recover the account "+
				"instead (--no-wait)")
	}
	return to, pub.Head, nil
}

// watchCerts sends the sequence number of every certificate that comes to the account, and first 0, until the
// subscription ends.
func (c *Client) watchCerts(ctx context.Context, news chan<- uint64) error {
	signal := func(seq uint64) {
		select {
		case news <- seq:
		case <-ctx.Done():
		}
	}
	build := func() []byte {
		signal(0)
		var head uint64
		c.core.Keys.Read(func(s *account.State) { head = s.CertsHead() })
		sub := envelope.Subscribe{Mailbox: c.core.Mailbox, Namespaces: []envelope.Namespace{envelope.Certs},
			Cursor: head}
		return sub.Encode()
	}
	return c.core.Net.Subscribe(ctx, c.core.Mailbox, build, core.Unsigned, func(e envelope.Envelope) error {
		signal(e.Seq)
		return nil
	})
}

// joinFrom tries to take part in the account at every signal, until it does or the subscription ends.
func (c *Client) joinFrom(ctx context.Context, news <-chan uint64,
	ended <-chan error) (joined bool, err error) {
	for {
		var seq uint64
		select {
		case seq = <-news:
		case err := <-ended:
			return false, err
		case <-ctx.Done():
			<-ended
			return false, ctx.Err()
		}
		if err := c.core.CatchUpOwn(ctx, seq); err != nil {
			return false, err
		}
		if _, g, _ := c.core.Keys.Summary(); g > 0 {
			return true, nil
		}
	}
}

// settleIn reads what the account's devices share and counts the mail that came too early for this device.
func (c *Client) settleIn(ctx context.Context, root *account.Root, name string) error {
	if err := c.loadShared(ctx, root); err != nil {
		return err
	}
	early, err := c.countEarlyMail(ctx)
	if err != nil {
		return err
	}
	return c.core.Update(func(tx *store.Tx, _ *core.Batch) error {
		tx.SetNumber(store.MetaUnreadable, early)
		if name != "" && c.core.ProfileName() == "" {
			return c.setName(tx, name, c.core.NowMS())
		}
		return nil
	})
}

func (c *Client) countEarlyMail(ctx context.Context) (n uint64, err error) {
	var first uint64
	c.core.Keys.Read(func(s *account.State) { first = s.FirstSeq() })
	resp, err := c.core.OwnRequestRetry(ctx, func() (*envelope.Request, error) {
		return &envelope.Request{Ops: []envelope.Op{envelope.Retrieve{
			Namespaces: []envelope.Namespace{envelope.Inbox}, MaxCount: 100}}}, nil
	})
	if err != nil {
		return 0, err
	}
	for _, e := range resp.Results[0].Envelopes {
		if e.Seq < first {
			n++
		}
	}
	return n, nil
}
