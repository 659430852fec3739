package client

import (
	"context"
	"crypto/rand"
	"time"

	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/private"
	bodyv1 "github.com/starling-swarm/starling/proto/starling/body/v1"
)

// NetworkConfig is what a test's network gets.
type NetworkConfig = networkConfig

// SetNetwork puts wrap around the onion network of cfg's clients.
func (cfg *Config) SetNetwork(wrap func(Network) Network) {
	cfg.network = func(nc networkConfig) (Network, error) {
		n, err := newCircuits(nc)
		if err != nil {
			return nil, err
		}
		return wrap(n), nil
	}
}

// Hurry shortens the delays of cfg's clients: their purpose is to be long.
func (cfg *Config) Hurry() {
	p := usualPace
	p.copyMin, p.copyMax = time.Millisecond, 5*time.Millisecond
	p.receiptMin, p.receiptMax = time.Millisecond, 5*time.Millisecond
	p.groupAsk, p.groupAnswer, p.groupAlone, p.groupPatience = 50*time.Millisecond, 20*time.Millisecond, 100*time.Millisecond, 2*time.Second
	p.turn, p.race = 200*time.Millisecond, 20*time.Millisecond
	p.rest, p.shut = 50*time.Millisecond, 2*time.Second
	cfg.pace = &p
}

// AtCommit makes cfg's clients call f around the store of a group's commit, at "staged" and "stored".
func (cfg *Config) AtCommit(f func(ctx context.Context, point string)) { cfg.pace.commit = f }

// SetWall gives cfg's clients another clock than this machine's.
func (cfg *Config) SetWall(now func() time.Time) { cfg.wall = now }

// Impatient makes cfg's clients give up on a silent cluster at once.
func (cfg *Config) Impatient() { cfg.pace.unreachable = 100 * time.Millisecond }

// LongestLog bounds the logs of groups that cfg's clients read, in bytes.
func (cfg *Config) LongestLog(n int) { cfg.pace.groupLog = n }

// SnapshotEvery makes cfg's clients write a snapshot when there are n deltas.
func (cfg *Config) SnapshotEvery(n int) { cfg.pace.snapshotDeltas = n }

// SetStoreHook is store.DB.SetHook.
func (c *Client) SetStoreHook(f func(point string) error) { c.p.db.SetHook(f) }

// Upkeep starts a round of upkeep now.
func (c *Client) Upkeep() { c.records.wake() }

// Round does one round of upkeep.
func (c *Client) Round(ctx context.Context) error { return c.upkeepRound(ctx) }

// DayKey names a day key.
type DayKey = account.DayVersion

// Retained returns the day keys that the device holds one by one, oldest first.
func (c *Client) Retained() (out []DayKey) {
	c.keys.read(func(s *account.State) { out = s.Retained() })
	return out
}

// CountDeltas returns how many deltas no snapshot contains, as this device knows.
func (c *Client) CountDeltas() (n int) {
	c.p.db.View(func(tx *store.Tx) error {
		n, _ = tx.CountDeltas()
		return nil
	})
	return n
}

// HasSnapshot reports whether the device wrote or took in a snapshot.
func (c *Client) HasSnapshot() (has bool) {
	c.p.db.View(func(tx *store.Tx) error {
		has = len(tx.Meta("snapshot")) > 0
		return nil
	})
	return has
}

// Forget drops what is known of an account: its certificates, its approval.
func (c *Client) Forget(id ident.AccountID) error {
	return c.update(func(tx *store.Tx) error {
		p, err := c.person(tx, id)
		if err != nil {
			return err
		}
		p.chain, p.Chain, p.record, p.CertsHead, p.Approved, p.Named = nil, nil, nil, 0, false, false
		c.savePerson(tx, p)
		return nil
	})
}

// Unopened returns how many envelopes of the inbox did not open.
func (c *Client) Unopened() (n uint64) {
	c.p.db.View(func(tx *store.Tx) error {
		n = tx.Number("unopened")
		return nil
	})
	return n
}

// StrictCerts returns how many certificates of an account its swarm's leader has.
func (c *Client) StrictCerts(ctx context.Context, id ident.AccountID) (int, error) {
	p, err := c.lookup(id)
	if err != nil {
		return 0, err
	}
	pub, err := c.fetchPublicStrict(ctx, p.mailbox)
	return len(pub.certs), err
}

// ForeignInvite is the invitation of a device in another cluster; LonelyInvite that of one which was never online.
func (c *Client) ForeignInvite() string { return inviteText(ident.ClusterID{1}) }
func (c *Client) LonelyInvite() string  { return inviteText(c.cluster.ID) }

func inviteText(cluster ident.ClusterID) string {
	j, err := account.NewJoiner(rand.Reader, cluster, "x", time.Now())
	if err != nil {
		panic(err)
	}
	return j.Invite().String()
}

// ChangeEarly makes a reaction and an edit, a deletion and a removal of messages that this device does not know yet.
func (c *Client) ChangeEarly(peer ident.AccountID, edited, deleted, removed Ref, text string) error {
	for _, body := range []*bodyv1.Body{
		{Kind: &bodyv1.Body_Reaction{Reaction: &bodyv1.Reaction{MessageId: edited.ID[:], Author: edited.Author[:], Emoji: "+"}}},
		{Kind: &bodyv1.Body_Edit{Edit: &bodyv1.Edit{MessageId: edited.ID[:], Text: &bodyv1.Text{Text: text}}}},
		{Kind: &bodyv1.Body_Deletion{Deletion: &bodyv1.Deletion{MessageIds: [][]byte{deleted.ID[:]}}}},
		{Kind: &bodyv1.Body_Removal{Removal: &bodyv1.Removal{Messages: []*bodyv1.MessageRef{{MessageId: removed.ID[:], Author: removed.Author[:]}}}}},
	} {
		a := c.newApplied()
		err := c.update(func(tx *store.Tx) error {
			s := said{by: c.me, conversation: peer.String(), stamp: store.Stamp{At: c.nowMS()}}
			rand.Read(s.stamp.Change[:])
			raw, err := c.queueChange(tx, peer, s.stamp, body)
			a.said(tx, s, body, raw)
			return err
		})
		if err != nil {
			return err
		}
	}
	c.out.kick(peer)
	c.out.kick(c.me)
	return nil
}

// CountChanges returns how many changes of a message are known, besides reactions.
func (c *Client) CountChanges(ref Ref) (n int) {
	c.p.db.View(func(tx *store.Tx) error {
		n = len(tx.Changes(ref.ID, ref.Author))
		return nil
	})
	return n
}

// DocumentKeys returns the generation of the oldest data key that documents lie under, and that of the newest key.
func (c *Client) DocumentKeys() (lies, newest uint32) {
	c.keys.read(func(s *account.State) { newest = s.VaultGen() })
	c.p.db.View(func(tx *store.Tx) error {
		lies = uint32(tx.Number("snapshot_gen"))
		return nil
	})
	return lies, newest
}

// SayInGroup stores a message in a group's mailbox at once, past the outbox.
func (c *Client) SayInGroup(ctx context.Context, id ident.GroupID, body []byte) error {
	m := groupOutgoing{SentAt: c.nowMS(), Body: body}
	rand.Read(m.ID[:])
	var out groupSealed
	err := c.p.db.View(func(tx *store.Tx) (err error) {
		out, err = c.sealGroup(tx, id, m)
		return err
	})
	if err != nil {
		return err
	}
	_, _, err = c.groupRequest(ctx, id, out.Write, envelope.Store{Namespace: envelope.GroupMail, TTL: 3600, IfGeneration: &out.Generation, Body: out.Blob})
	return err
}

// GroupReadKey returns the seed of the key that reads a group's mailbox now; ReadGroup tries to read messages with one.
func (c *Client) GroupReadKey(id ident.GroupID) (seed private.Key) {
	c.p.db.View(func(tx *store.Tx) error {
		if g, err := c.group(tx, id); err == nil {
			seed = g.state.ReadKey()
		}
		return nil
	})
	return seed
}

// ReadGroup is described at GroupReadKey.
func (c *Client) ReadGroup(ctx context.Context, id ident.GroupID, seed private.Key) error {
	_, _, err := c.groupRequest(ctx, id, seedKey{seed}, envelope.Retrieve{Namespaces: []envelope.Namespace{envelope.GroupMail}})
	return err
}

// HasGroupKeys reports whether any secret of a group is in the store.
func (c *Client) HasGroupKeys(id ident.GroupID) (has bool) {
	c.p.db.View(func(tx *store.Tx) error {
		g, _ := tx.Group(id)
		has = tx.GroupState(id) != nil || g.Keys != nil
		return nil
	})
	return has
}

// RepeatInvitation sends what the links of a group hold to an account, as an invitation.
func (c *Client) RepeatInvitation(ctx context.Context, id ident.GroupID, to ident.AccountID) error {
	a := c.newApplied()
	err := c.update(func(tx *store.Tx) error {
		g, err := c.group(tx, id)
		if err != nil {
			return err
		}
		for _, i := range g.state.Invites() {
			for _, l := range tx.GroupLinks(id) {
				if l.Serial != i.Serial {
					continue
				}
				in, err := g.state.Invitation(i.Serial, l.Seed)
				if err != nil {
					return err
				}
				if err := a.sendInvitation(tx, to, in); err != nil {
					return err
				}
			}
		}
		return nil
	})
	a.publish()
	return err
}
