package client

import (
	"context"
	"crypto/rand"
	"errors"
	"math"

	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/devicesync"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
)

// A snapshot replaces the deltas that it contains when they get many. Its parts are staged in the vault,
// keyed and unreferenced; then one batch swaps the manifest and deletes those deltas and the parts of the
// snapshot before. Manifest.Parts holds the envelope hashes of the parts, which verify them and are what a
// delete names.

// catchUpShared takes in a snapshot that another device wrote while this one was away.
func (c *Client) catchUpShared(ctx context.Context) error {
	if !c.core.Keys.ManyDevices() {
		return nil
	}
	_, err := c.mergeSnapshot(ctx, nil)
	return err
}

// snapshotIfDue writes a snapshot if there are many deltas, or if some documents lie under an older data key.
func (c *Client) snapshotIfDue(ctx context.Context) error {
	n, size, gen := 0, 0, uint64(0)
	var vaultGen uint32
	c.core.Keys.Read(func(s *account.State) { vaultGen = s.VaultGen() })
	err := c.core.View(func(tx *store.Tx) error {
		n, size = tx.CountDeltas()
		gen = tx.Number(store.MetaSnapshotGen)
		return nil
	})
	if err != nil || n < c.core.Pace.SnapshotDeltas && size < c.core.Pace.SnapshotBytes &&
		max(gen, 1) >= uint64(vaultGen) {
		return err
	}
	return c.writeSnapshot(ctx)
}

// writeSnapshot writes a snapshot of everything that is settled. Merging the newest one first keeps it from
// losing what only that one holds.
func (c *Client) writeSnapshot(ctx context.Context) error {
	if _, err := c.mergeSnapshot(ctx, nil); err != nil {
		return err
	}
	old, head, err := c.readManifest(ctx, nil)
	if err != nil || old != nil && !c.hasSnapshot(old) {
		return err // one more was written meanwhile: the next round sees whether another is due
	}
	var parts [][]byte
	var deltas []store.Delta
	m := &devicesync.Manifest{}
	rand.Read(m.ID[:])
	err = c.core.View(func(tx *store.Tx) error {
		parts = c.core.Docs.Snapshot()
		m.UpTo = tx.Number(core.CursorKey)
		deltas = tx.Deltas(m.UpTo)
		return nil
	})
	if err != nil || len(parts) == 0 {
		return err
	}
	for i, part := range parts {
		hash, err := c.stagePart(ctx, devicesync.PartKey(m.ID, i), part)
		if err != nil {
			return err
		}
		m.Parts = append(m.Parts, hash)
	}
	var vaultGen uint32
	_, err = c.core.OwnRequestRetry(ctx, func() (*envelope.Request, error) {
		var body []byte
		var err error
		c.core.Keys.Read(func(s *account.State) {
			vaultGen = s.VaultGen()
			body, err = s.SealDocument(rand.Reader, m.Encode())
		})
		ops := []envelope.Op{envelope.Store{Namespace: envelope.Vault, Key: devicesync.ManifestKey(),
			IfHead: &head, Body: body}}
		return &envelope.Request{Ops: append(ops, deletes(deltas, old)...)}, err
	})
	if errors.Is(err, fault.Stale) {
		return nil // another device wrote one meanwhile, as good as this
	}
	if err != nil {
		return err
	}
	return c.core.Update(func(tx *store.Tx, _ *core.Batch) error {
		for _, d := range deltas {
			tx.DropDelta(d.Seq)
		}
		tx.SetMeta(store.MetaSnapshot, m.ID[:])
		tx.SetNumber(store.MetaSnapshotGen, uint64(vaultGen))
		return nil
	})
}

// maxDeletes keeps a batch within one message of a circuit.
const maxDeletes = 3_000

func deletes(deltas []store.Delta, old *devicesync.Manifest) (ops []envelope.Op) {
	var hashes []envelope.Hash
	for _, d := range deltas[:min(len(deltas), maxDeletes)] {
		hashes = append(hashes, d.Hash)
	}
	if len(hashes) > 0 {
		ops = append(ops, envelope.Delete{Namespace: envelope.Sync, Hashes: hashes})
	}
	if old != nil && len(old.Parts) > 0 {
		hashes = nil
		for _, p := range old.Parts[:min(len(old.Parts), maxDeletes/10)] {
			hashes = append(hashes, p)
		}
		ops = append(ops, envelope.Delete{Namespace: envelope.Vault, Hashes: hashes})
	}
	return ops
}

func (c *Client) stagePart(ctx context.Context, key [envelope.KeySize]byte,
	part []byte) (hash [32]byte, err error) {
	_, err = c.core.OwnRequestRetry(ctx, func() (*envelope.Request, error) {
		var body []byte
		var err error
		c.core.Keys.Read(func(s *account.State) { body, err = s.SealDocument(rand.Reader, part) })
		hash = envelope.HashOf(c.core.Mailbox, envelope.Vault, key, body)
		return &envelope.Request{Ops: []envelope.Op{envelope.Store{Namespace: envelope.Vault, Key: key,
			Body: body}}}, err
	})
	return hash, err
}

// readManifest returns the current manifest, nil if there is none, and its sequence number for the condition
// of the next. root opens data keys from before a recovery; nil: without.
func (c *Client) readManifest(ctx context.Context, root *account.Root) (*devicesync.Manifest, uint64, error) {
	e, err := c.readVault(ctx, devicesync.ManifestKey())
	if err != nil || e == nil {
		return nil, 0, err
	}
	plain, err := c.openDocument(ctx, root, e.Body)
	if err != nil {
		return nil, e.Seq, err
	}
	m, err := devicesync.DecodeManifest(plain)
	return m, e.Seq, err
}

// readVault returns the envelope under a key of the vault, nil if there is none.
func (c *Client) readVault(ctx context.Context, key [envelope.KeySize]byte) (*envelope.Envelope, error) {
	resp, err := c.core.OwnRequestRetry(ctx, func() (*envelope.Request, error) {
		return &envelope.Request{Ops: []envelope.Op{envelope.RetrieveKey{Namespace: envelope.Vault,
			Key: key}}}, nil
	})
	if errors.Is(err, fault.NotFound) || err == nil && len(resp.Results[0].Envelopes) == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &resp.Results[0].Envelopes[0], nil
}

// openDocument opens a document. With the phrase it also finds data keys that only their wraps in the vault
// still hold.
func (c *Client) openDocument(ctx context.Context, root *account.Root,
	blob []byte) (plain []byte, err error) {
	c.core.Keys.Read(func(s *account.State) { plain, err = s.OpenDocument(blob) })
	if !errors.Is(err, fault.NotFound) || root == nil {
		return plain, err
	}
	gen, gerr := account.DocumentGen(blob)
	if gerr != nil {
		return nil, gerr
	}
	wrap, werr := c.readVault(ctx, account.WrapKey(gen))
	if werr != nil || wrap == nil {
		return nil, errors.Join(err, werr)
	}
	err = c.core.Keys.Change(func(s *account.State) (err error) {
		if err = s.LearnVault(root, wrap.Body); err == nil {
			plain, err = s.OpenDocument(blob)
		}
		return err
	})
	return plain, err
}

// loadShared reads the documents that the account's devices share: the newest snapshot and the deltas after
// it.
func (c *Client) loadShared(ctx context.Context, root *account.Root) error {
	oldest, err := c.mergeSnapshot(ctx, root)
	if err != nil {
		return err
	}
	if oldest, err = c.loadDeltas(ctx, root, oldest); err != nil {
		return err
	}
	if oldest == math.MaxUint32 { // nothing is there
		c.core.Keys.Read(func(s *account.State) { oldest = uint64(s.VaultGen()) })
	}
	return c.core.Update(func(tx *store.Tx, _ *core.Batch) error {
		tx.SetNumber(store.MetaSnapshotGen, oldest)
		return nil
	})
}

// takeSnapshot takes in the newest snapshot: it may contain deltas that were deleted while this device was
// away.
func (c *Client) takeSnapshot(ctx context.Context) error {
	_, err := c.mergeSnapshot(ctx, nil)
	return err
}

// mergeSnapshot takes in the newest snapshot unless it was taken in before: it may contain deltas that were
// deleted while this device was away. It returns the generation of the oldest data key that a part lies
// under.
func (c *Client) mergeSnapshot(ctx context.Context, root *account.Root) (oldest uint64, err error) {
	for range 4 {
		var m *devicesync.Manifest
		m, _, err = c.readManifest(ctx, root)
		if errors.Is(err, fault.NotFound) {
			c.core.Log.Debug("snapshot not opened", "error", err) // under a data key from before a recovery
			return math.MaxUint32, nil
		}
		if err != nil || m == nil {
			return math.MaxUint32, err
		}
		if c.hasSnapshot(m) {
			return math.MaxUint32, nil
		}
		oldest, err = c.mergeParts(ctx, root, m)
		if !errors.Is(err, fault.Stale) { // Stale: replaced while it was read
			return oldest, err
		}
	}
	return oldest, err
}

// hasSnapshot reports whether the snapshot that m names was taken in.
func (c *Client) hasSnapshot(m *devicesync.Manifest) (has bool) {
	c.core.View(func(tx *store.Tx) error {
		has = string(tx.Meta(store.MetaSnapshot)) == string(m.ID[:])
		return nil
	})
	return has
}

func (c *Client) mergeParts(ctx context.Context, root *account.Root, m *devicesync.Manifest) (uint64, error) {
	oldest := uint64(math.MaxUint32)
	var parts [][]byte
	for i, want := range m.Parts {
		key := devicesync.PartKey(m.ID, i)
		e, err := c.readVault(ctx, key)
		if err != nil {
			return oldest, err
		}
		if e == nil || envelope.HashOf(c.core.Mailbox, envelope.Vault, key, e.Body) != want {
			return oldest, fault.New(fault.Stale, "read snapshot",
				"part %d is not the one that the manifest names", i)
		}
		oldest = olderGen(oldest, e.Body)
		plain, err := c.openDocument(ctx, root, e.Body)
		if err != nil {
			return oldest, err
		}
		parts = append(parts, plain)
	}
	err := c.core.Update(func(tx *store.Tx, a *core.Batch) error {
		for _, part := range parts {
			touched, err := c.core.Docs.MergeSnapshot(part)
			if err != nil {
				return err
			}
			if err := c.merged(tx, a, touched); err != nil {
				return err
			}
		}
		tx.SetMeta(store.MetaSnapshot, m.ID[:])
		tx.DropDeltas(m.UpTo)
		if oldest != math.MaxUint32 {
			tx.Advance(store.MetaSnapshotGen, oldest) // another device wrote it under the newer data key
		}
		return nil
	})
	if err == nil {
	}
	return oldest, err
}

// olderGen returns the lower of g and the generation of a document's data key.
func olderGen(g uint64, blob []byte) uint64 {
	if gen, err := account.DocumentGen(blob); err == nil {
		return min(g, uint64(gen))
	}
	return g
}

// loadDeltas merges every delta that lies in the mailbox.
func (c *Client) loadDeltas(ctx context.Context, root *account.Root, oldest uint64) (uint64, error) {
	for after := uint64(0); ; {
		resp, err := c.core.OwnRequestRetry(ctx, func() (*envelope.Request, error) {
			return &envelope.Request{Ops: []envelope.Op{envelope.Retrieve{
				Namespaces: []envelope.Namespace{envelope.Sync}, After: after}}}, nil
		})
		if err != nil {
			return oldest, err
		}
		for _, e := range resp.Results[0].Envelopes {
			if e.Expiry != 0 {
				continue // a copy
			}
			oldest = olderGen(oldest, e.Body)
			plain, err := c.openDocument(ctx, root, e.Body)
			if err != nil {
				c.core.Log.Debug("delta not opened", "error", err)
				continue
			}
			err = c.core.Update(func(tx *store.Tx, a *core.Batch) error { return c.delta(tx, a, plain, e) })
			if err != nil {
				return oldest, err
			}
		}
		if !resp.Results[0].More {
			return oldest, nil
		}
		after = resp.Results[0].Seq
	}
}
