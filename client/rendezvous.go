package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"time"

	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/onetime"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// rendezvousTTL is how long an invitation waits in its mailbox, in seconds; a device that still waits renews
// it.
const rendezvousTTL = 3_600

// JoinOptions say how Join behaves.
type JoinOptions struct {
	// OnInvite is called once the invitation can be read on another device. It is not called if an earlier
	// call got an answer already.
	OnInvite func(invite string, device ident.DeviceID)
}

// Join makes this device one of an account's, without the recovery phrase: it shows an invitation that a live
// device of the account reads (Client.LinkDevice), and waits for the answer in a one-time mailbox until ctx
// ends. A later call goes on with the same invitation. A profile whose device was removed from its account
// joins it anew, with its history.
//
// Errors: Exists (the directory holds an account that works), Denied (who answered is not the account of this
// profile), Unavailable.
func Join(ctx context.Context, cfg Config, o JoinOptions) (*Client, error) {
	p, old, err := joinableProfile(cfg.Dir)
	if err != nil {
		return nil, err
	}
	c, shown, err := joinWith(ctx, cfg, p, old, o)
	switch {
	case err == nil:
		return c, nil
	case old == nil && !shown:
		return nil, errors.Join(err, p.Wipe()) // nothing began
	}
	return nil, errors.Join(err, p.Close())
}

// joinableProfile locks a directory that is empty, holds an unfinished Join, or an account that left this
// device out. old is the device's state if it has one.
func joinableProfile(dir string) (p *core.Profile, old *core.Keyring, err error) {
	if p, err = core.MakeProfile(dir); err != nil {
		return nil, nil, err
	}
	stage := p.Stage()
	if stage == core.StageNew || stage == core.StageRestore {
		if err := p.Wipe(); err != nil {
			return nil, nil, err
		}
		return joinableProfile(dir)
	}
	old, err = core.LoadKeyring(p.Secrets)
	switch {
	case errors.Is(err, fault.NotFound):
		return p, nil, nil
	case err != nil:
		return nil, nil, errors.Join(err, p.Close())
	case stage == core.StageReady:
		if _, g, revoked := old.Summary(); g > 0 && !revoked {
			p.Close()
			return nil, nil, fault.New(fault.Exists, "join account", "%q holds an account already", dir)
		}
	}
	return p, old, nil
}

// joinWith also reports whether the invitation was shown: from then on it may be answered.
func joinWith(ctx context.Context, cfg Config, p *core.Profile, old *core.Keyring,
	o JoinOptions) (c *Client, shown bool, err error) {
	if c, err = makeClient(cfg, p, ident.AccountID{}, nil); err != nil {
		return nil, false, err
	}
	if old == nil || p.Stage() == core.StageReady && isRevoked(old) {
		show := o.OnInvite
		o.OnInvite = func(invite string, device ident.DeviceID) {
			shown = true
			if show != nil {
				show(invite, device)
			}
		}
		err = c.meet(ctx, old, o)
	} else { // an earlier call got the answer; what is left is to take part
		c.core.Keys = old
		err = c.core.Become(old.Account())
	}
	if err == nil {
		err = c.connected(ctx, c.settleJoined)
	}
	if err == nil {
		err = c.ready()
	}
	if err != nil {
		return nil, shown, err
	}
	return c, shown, c.core.Profile.Joiner().Remove()
}

func isRevoked(k *core.Keyring) bool {
	_, _, revoked := k.Summary()
	return revoked
}

// meet shows the invitation, waits for the answer and leaves the device's state on disk.
func (c *Client) meet(ctx context.Context, old *core.Keyring, o JoinOptions) error {
	j, err := c.newJoiner()
	if err != nil {
		return err
	}
	c.core.Mailbox = j.Invite().Rendezvous().Mailbox
	if err := c.core.Reconnect(); err != nil {
		return err
	}
	var state *account.State
	err = c.connectedOnce(ctx, func(ctx context.Context) error {
		a, err := c.awaitAnswer(ctx, j, o)
		if err != nil {
			return err
		}
		if old != nil && old.Account() != a.Account {
			if err := c.core.Profile.Joiner().Remove(); err != nil { // the invitation is spent
				return err
			}
			return fault.New(fault.Denied, "join account",
				"who read the invitation is account %s, and this profile belongs to %s",
				core.Short(a.Account), core.Short(old.Account()))
		}
		if c.core.Mailbox, err = account.MailboxOf(a.Account, c.core.Cluster.ID); err != nil {
			return err
		}
		c.core.Me = a.Account
		state, err = c.joinLog(ctx, j, a)
		return err
	})
	if err != nil {
		return err
	}
	if err := c.core.Equip(state); err != nil {
		return err
	}
	if err := c.core.Profile.SetStage(core.StageLink); err != nil {
		return err
	}
	return c.core.Become(state.Account())
}

// newJoiner makes the keys of the new device, or finds those of an earlier call.
func (c *Client) newJoiner() (*account.Joiner, error) {
	b, err := c.core.Profile.Joiner().Load()
	if err == nil {
		return account.UnmarshalJoiner(b)
	}
	if !errors.Is(err, fault.NotFound) {
		return nil, err
	}
	j, err := account.NewJoiner(rand.Reader, c.core.Cluster.ID, c.core.Label, time.Now())
	if err != nil {
		return nil, err
	}
	return j, c.core.Profile.Joiner().Replace(j.Marshal())
}

// errAnswered ends a subscription whose purpose is fulfilled.
var errAnswered = errors.New("answered")

// awaitAnswer puts the offer where the invitation leads and waits for who answers it.
func (c *Client) awaitAnswer(ctx context.Context, j *account.Joiner,
	o JoinOptions) (answer *account.Answer, err error) {
	box := boxOf(j.Invite())
	shown := false
	for delay := time.Duration(0); ; {
		if err = c.putOffer(ctx, box, j); err == nil {
			if !shown {
				o.OnInvite(j.Invite().String(), j.Device())
			}
			shown = true
			err = box.Subscribe(ctx, c.core, 0, func(e envelope.Envelope) error {
				if e.Key != account.AnswerKey {
					return nil
				}
				var aerr error
				if answer, aerr = j.OpenAnswer(e.Body); aerr != nil {
					c.core.Log.Debug("answer not opened", "error", aerr)
					return nil // not for this device: somebody disturbs
				}
				return errAnswered
			})
		}
		switch {
		case answer != nil:
			return answer, nil
		case ctx.Err() != nil:
			return nil, fault.Wrap(fault.Unavailable, "wait for an answer", ctx.Err())
		case !shown && !errors.Is(err, fault.Unavailable):
			return nil, err
		}
		delay = min(core.NextDelay(delay, err), 5*time.Second)
		c.core.Sleep(ctx, delay)
	}
}

// boxOf is the one-time mailbox of an invitation: the new device reaches it by its own circuits, so does who
// answers.
func boxOf(i account.Invite) onetime.Box {
	r := i.Rendezvous()
	return onetime.Box{Mailbox: r.Mailbox, Key: r.Key, Authority: r.Authority, Purpose: core.PurposeFetch,
		TTL: rendezvousTTL}
}

// putOffer makes the one-time mailbox and stores the offer. Doing so again changes nothing but the time it
// has.
func (c *Client) putOffer(ctx context.Context, box onetime.Box, j *account.Joiner) error {
	if err := box.Open(ctx, c.core); err != nil {
		return err
	}
	blob, err := j.SealOffer(rand.Reader)
	if err != nil {
		return err
	}
	return box.Put(ctx, c.core, account.OfferKey, blob)
}

// joinLog reads the account's certificates up to the one that the answer names.
func (c *Client) joinLog(ctx context.Context, j *account.Joiner, a *account.Answer) (*account.State, error) {
	for delay := time.Duration(0); ; {
		certs, err := c.core.ReadCerts(ctx, 0, 0)
		if err == nil {
			var s *account.State
			if s, err = j.Join(a, certs); err == nil {
				return s, nil
			}
		}
		if !errors.Is(err, fault.Stale) && !errors.Is(err, fault.Unavailable) || ctx.Err() != nil {
			return nil, err
		}
		delay = min(core.NextDelay(delay, err), 5*time.Second)
		c.core.Sleep(ctx, delay)
	}
}

// settleJoined takes part in the account and reads what its devices share; then the rendezvous mailbox can
// go.
func (c *Client) settleJoined(ctx context.Context) error {
	for delay := time.Duration(0); ; {
		err := c.core.CatchUpOwn(ctx, 0)
		if _, g, _ := c.core.Keys.Summary(); g > 0 {
			break
		}
		if err != nil && !errors.Is(err, fault.Unavailable) || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
		delay = min(core.NextDelay(delay, err), 5*time.Second)
		c.core.Sleep(ctx, delay)
	}
	if err := c.settleIn(ctx, nil, ""); err != nil {
		return err
	}
	if b, err := c.core.Profile.Joiner().Load(); err == nil {
		if j, err := account.UnmarshalJoiner(b); err == nil {
			// It expires by itself within the hour: not worth failing for.
			c.core.Log.Debug("rendezvous closed", "error", boxOf(j.Invite()).Empty(ctx, c.core))
		}
	}
	return nil
}

// LinkDevice reads an invitation that a new device shows and lets it into the account: one atomic batch makes
// a generation with it, then the sealed answer is stored where the new device waits. Doing it again after a
// failure goes on where it was. It needs Run.
//
// Errors: Invalid (no invitation, or a mistyped one), Denied (it is of another cluster; or what lies in its
// mailbox is not the device that showed it; or this device was revoked), NotFound (nothing lies there: too
// old, or used), Exists (somebody else has answered it), Unavailable.
func (c *Client) LinkDevice(ctx context.Context, invite string) (Device, error) {
	i, err := account.ParseInvite(invite)
	if err != nil {
		return Device{}, err
	}
	if !i.For(c.core.Cluster.ID) {
		return Device{}, fault.New(fault.Denied, "link device",
			"the new device is in another cluster than %q (%s)", c.core.Cluster.Name,
			c.core.Cluster.ID.String()[:8])
	}
	if err := c.SyncToHeads(ctx); err != nil {
		return Device{}, err
	}
	offer, err := c.readOffer(ctx, i)
	if d, ok := c.answered(i); ok && errors.Is(err, fault.NotFound) {
		return c.deviceNow(d), nil // and the new device has emptied the mailbox since
	}
	if err != nil {
		return Device{}, err
	}
	// The new device begins with what is in the mailbox: what this one has not shared yet goes first.
	if err := c.shareDocuments(ctx); err != nil {
		return Device{}, err
	}
	in := func(s *account.State) bool {
		_, ok := core.FindDevice(s, offer.Device)
		return ok
	}
	if err := c.rotate(ctx, account.Rotation{Invite: []*account.Offer{offer}}, in); err != nil {
		return Device{}, err
	}
	if err := c.answer(ctx, i, offer); err != nil {
		return Device{}, err
	}
	return c.deviceNow(offer.Device), nil
}

// readOffer reads the offer of an invitation.
func (c *Client) readOffer(ctx context.Context, i account.Invite) (*account.Offer, error) {
	blob, err := boxOf(i).Get(ctx, c.core, account.OfferKey)
	if errors.Is(err, fault.NotFound) {
		return nil, fault.New(fault.NotFound, "link device",
			"no device waits with this invitation: it is used, or the new device was never online with it")
	}
	if err != nil {
		return nil, err
	}
	return i.OpenOffer(blob)
}

// answer stores the sealed answer. It is on disk before: a device that dies after the answer is stored, and
// before it knows, stores the same bytes again, which changes nothing.
func (c *Client) answer(ctx context.Context, i account.Invite, o *account.Offer) error {
	blob, err := c.sealAnswer(i, o)
	if err != nil {
		return err
	}
	err = boxOf(i).PutFirst(ctx, c.core, account.AnswerKey, blob)
	if errors.Is(err, fault.Stale) {
		return fault.New(fault.Exists, "link device",
			"the invitation has been answered already. If the new device does not show up as yours, "+
				"revoke %s", o.Device)
	}
	if errors.Is(err, fault.NotFound) {
		return nil // the new device has emptied the mailbox: it has the answer
	}
	return err
}

// answerKey is where the newest answer to an invitation is kept: the mailbox, the device, the sealed bytes.
const answerKey = "link_answer"

// sealAnswer seals the answer to an invitation, once.
func (c *Client) sealAnswer(i account.Invite, o *account.Offer) (blob []byte, err error) {
	mailbox := i.Rendezvous().Mailbox
	err = c.core.Update(func(tx *store.Tx, _ *core.Batch) (err error) {
		if kept, ok := bytes.CutPrefix(tx.Meta(answerKey), append(mailbox[:], o.Device[:]...)); ok {
			blob = kept
			return nil
		}
		c.core.Keys.Read(func(s *account.State) { blob, err = i.SealAnswer(rand.Reader, o, s) })
		if err != nil {
			return err
		}
		tx.SetMeta(answerKey, slices.Concat(mailbox[:], o.Device[:], blob))
		return tx.Err()
	})
	return blob, err
}

// answered returns the device that this one has let in by an invitation before.
func (c *Client) answered(i account.Invite) (d ident.DeviceID, ok bool) {
	mailbox := i.Rendezvous().Mailbox
	c.core.View(func(tx *store.Tx) error {
		var rest []byte
		if rest, ok = bytes.CutPrefix(tx.Meta(answerKey), mailbox[:]); ok && len(rest) >= len(d) {
			copy(d[:], rest)
		}
		return nil
	})
	return d, ok
}

// deviceNow is a device of the account as this one knows it now.
func (c *Client) deviceNow(id ident.DeviceID) Device {
	var d account.Device
	c.core.Keys.Read(func(s *account.State) { d, _ = core.FindDevice(s, id) })
	return Device{ID: id, Label: d.Label, This: id == c.core.Keys.Device(), AddedAt: core.FromMS(d.AddedAt),
		LastSeen: time.Unix(int64(d.LastSeen)*86_400, 0), Status: "active"}
}
