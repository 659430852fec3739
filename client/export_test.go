package client

import (
	"context"
	"crypto/rand"
	"time"

	"github.com/starling-swarm/starling/client/internal/circuit"
	"github.com/starling-swarm/starling/client/internal/closed"
	"github.com/starling-swarm/starling/client/internal/conv"
	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/ident"
	bodyv1 "github.com/starling-swarm/starling/proto/starling/body/v1"
)

// NetworkConfig is what a test's network gets.
type NetworkConfig = core.NetworkConfig

// SetNetwork puts wrap around the onion network of cfg's clients.
func (cfg *Config) SetNetwork(wrap func(core.Network) core.Network) {
	cfg.network = func(nc core.NetworkConfig) (core.Network, error) {
		n, err := core.NewCircuits(nc)
		if err != nil {
			return nil, err
		}
		return wrap(n), nil
	}
}

// Hurry shortens the delays of cfg's clients: their purpose is to be long.
func (cfg *Config) Hurry() {
	p := core.UsualPace
	p.CopyMin, p.CopyMax = time.Millisecond, 5*time.Millisecond
	p.ReceiptMin, p.ReceiptMax = time.Millisecond, 5*time.Millisecond
	p.GroupAsk, p.GroupAnswer, p.GroupAlone, p.GroupPatience = 50*time.Millisecond, 20*time.Millisecond,
		100*time.Millisecond, 2*time.Second
	p.Coalesce = 10 * time.Millisecond
	p.Turn, p.Race = 200*time.Millisecond, 20*time.Millisecond
	p.Rest, p.Shut = 50*time.Millisecond, 2*time.Second
	cfg.pace = &p
}

// AtCommit makes cfg's clients call f around the store of a group's commit, at "staged" and "stored".
func (cfg *Config) AtCommit(f func(ctx context.Context, point string)) { cfg.pace.Commit = f }

// SetWall gives cfg's clients another clock than this machine's.
func (cfg *Config) SetWall(now func() time.Time) { cfg.wall = now }

// Impatient makes cfg's clients give up on a silent cluster at once.
func (cfg *Config) Impatient() { cfg.pace.Unreachable = 100 * time.Millisecond }

// LongestLog bounds the logs of groups that cfg's clients read, in bytes.
func (cfg *Config) LongestLog(n int) { cfg.pace.GroupLog = n }

// Gather makes changes of cfg's clients' documents wait for each other so long.
func (cfg *Config) Gather(d time.Duration) { cfg.pace.Coalesce = d }

// SnapshotEvery makes cfg's clients write a snapshot when there are n deltas.
func (cfg *Config) SnapshotEvery(n int) { cfg.pace.SnapshotDeltas = n }

// SetStoreHook is store.DB.SetHook.
func (c *Client) SetStoreHook(f func(point string) error) { c.core.Profile.SetHook(f) }

// Upkeep starts a round of upkeep now.
func (c *Client) Upkeep() { c.records.wake() }

// Round does one round of upkeep.
func (c *Client) Round(ctx context.Context) error { return c.upkeepRound(ctx) }

// DayKey names a day key.
type DayKey = account.DayVersion

// Retained returns the day keys that the device holds one by one, oldest first.
func (c *Client) Retained() (out []DayKey) {
	c.core.Keys.Read(func(s *account.State) { out = s.Retained() })
	return out
}

// CountDeltas returns how many deltas no snapshot contains, as this device knows.
func (c *Client) CountDeltas() (n int) {
	c.core.View(func(tx *store.Tx) error {
		n, _ = tx.CountDeltas()
		return nil
	})
	return n
}

// HasSnapshot reports whether the device wrote or took in a snapshot.
func (c *Client) HasSnapshot() (has bool) {
	c.core.View(func(tx *store.Tx) error {
		has = len(tx.Meta("snapshot")) > 0
		return nil
	})
	return has
}

// Forget drops what is known of an account: its certificates, its approval.
func (c *Client) Forget(id ident.AccountID) error {
	return c.core.Update(func(tx *store.Tx, _ *core.Batch) error {
		p, err := c.people.Get(tx, id)
		if err != nil {
			return err
		}
		p.Certs, p.Chain, p.DayKey, p.CertsHead, p.Approved, p.Named = nil, nil, nil, 0, false, false
		c.people.Save(tx, p)
		return nil
	})
}

// Unopened returns how many envelopes of the inbox did not open.
func (c *Client) Unopened() (n uint64) {
	c.core.View(func(tx *store.Tx) error {
		n = tx.Number("unopened")
		return nil
	})
	return n
}

// StrictCerts returns how many certificates of an account its swarm's leader has.
func (c *Client) StrictCerts(ctx context.Context, id ident.AccountID) (int, error) {
	p, err := c.people.Lookup(id)
	if err != nil {
		return 0, err
	}
	pub, err := c.people.FetchPublicStrict(ctx, p.Mailbox)
	return len(pub.Certs), err
}

// ForeignInvite is the invitation of a device in another cluster; LonelyInvite that of one which was never
// online.
func (c *Client) ForeignInvite() string { return inviteText(ident.ClusterID{1}) }
func (c *Client) LonelyInvite() string  { return inviteText(c.core.Cluster.ID) }

func inviteText(cluster ident.ClusterID) string {
	j, err := account.NewJoiner(rand.Reader, cluster, "x", time.Now())
	if err != nil {
		panic(err)
	}
	return j.Invite().String()
}

// ChangeEarly makes a reaction and an edit, a deletion and a removal of messages that this device does not
// know yet.
func (c *Client) ChangeEarly(peer ident.AccountID, edited, deleted, removed Ref, text string) error {
	for _, body := range []*bodyv1.Body{
		{Kind: &bodyv1.Body_Reaction{Reaction: &bodyv1.Reaction{MessageId: edited.ID[:],
			Author: edited.Author[:], Emoji: "+"}}},
		{Kind: &bodyv1.Body_Edit{Edit: &bodyv1.Edit{MessageId: edited.ID[:],
			Text: &bodyv1.Text{Text: text}}}},
		{Kind: &bodyv1.Body_Deletion{Deletion: &bodyv1.Deletion{MessageIds: [][]byte{deleted.ID[:]}}}},
		{Kind: &bodyv1.Body_Removal{Removal: &bodyv1.Removal{Messages: []*bodyv1.MessageRef{
			{MessageId: removed.ID[:], Author: removed.Author[:]}}}}},
	} {
		err := c.core.Update(func(tx *store.Tx, a *core.Batch) error {
			s := conv.Said{By: c.core.Me, Conversation: peer.String(), Stamp: store.Stamp{At: c.core.NowMS()}}
			rand.Read(s.Stamp.Change[:])
			raw, err := c.queueChange(tx, peer, s.Stamp, body)
			c.rows.Said(tx, a, s, body, raw)
			return err
		})
		if err != nil {
			return err
		}
	}
	c.core.Kick(peer)
	c.core.Kick(c.core.Me)
	return nil
}

// CountChanges returns how many changes of a message are known, besides reactions.
func (c *Client) CountChanges(ref Ref) (n int) {
	c.core.View(func(tx *store.Tx) error {
		n = len(tx.Changes(ref.ID, ref.Author))
		return nil
	})
	return n
}

// DocumentKeys returns the generation of the oldest data key that documents lie under, and that of the newest
// key.
func (c *Client) DocumentKeys() (lies, newest uint32) {
	c.core.Keys.Read(func(s *account.State) { newest = s.VaultGen() })
	c.core.View(func(tx *store.Tx) error {
		lies = uint32(tx.Number("snapshot_gen"))
		return nil
	})
	return lies, newest
}

// Network and SignFunc are what the client needs of the cluster, for networks that lie.
type (
	Network   = core.Network
	SignFunc  = core.SignFunc
	NetReport = circuit.Status
)

// FetchPerson reads an account's certificates.
func (c *Client) FetchPerson(ctx context.Context, id ident.AccountID) error {
	return c.people.Fetch(ctx, id, 0)
}

// Follow makes cfg's clients follow so many groups at once, each until it was quiet for a time.
func (cfg *Config) Follow(most int, quiet time.Duration) {
	cfg.pace.Followed, cfg.pace.Quiet = most, quiet
}

// Lab is the rooms of a client, for tests that look behind its face.
func (c *Client) Lab() *closed.Groups { return c.groups }

// ShareDocuments returns once every change of the documents is stored.
func (c *Client) ShareDocuments(ctx context.Context) error { return c.shareDocuments(ctx) }
