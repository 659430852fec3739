package account

import (
	"io"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"

	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// RecordsAhead is how many days' records are published, today's included; below RecordsLow a device publishes
// more.
const (
	RecordsAhead = 16
	RecordsLow   = 14
)

// Change is a generation change as ONE atomic batch (docs/formats.md, section 5.9).
type Change struct {
	G       uint32
	Request *envelope.Request // mode All; operation 0 stores the certificate
	Group   []byte            // body of the DeviceGroup's envelope, for Adopt
}

// Pending is a batch that the state holds until it is known to be stored: the genesis or recover of this
// device. Its signer, the mailbox key, is erased with it.
type Pending struct {
	Change *Change
	Signer *MailboxKey
}

// changePlan is what differs between genesis, rotate and recover.
type changePlan struct {
	kind     CertKind
	g        uint32
	prev     *Cert    // nil: genesis
	ask      *certKey // nil: genesis, recover
	root     *Root    // nil: rotate
	devices  []Device
	tombs    []Tombstone
	vaultPK  []byte
	vault    []vaultKey // newest first
	newVault bool       // vault[0] is new: store its wrap
	signer   [32]byte
	change   envelope.AuthorityChange
	admit    []byte
}

// Create makes an account: a State that holds the genesis batch as Pending. Send it (every circuit needs a
// signature of its own by Pending's signer), then Commit. admission goes onto its first store.
func Create(rng io.Reader, root *Root, cluster ident.ClusterID, label string, now time.Time,
	admission []byte) (*State, error) {
	s, err := NewDevice(rng, root.ID(), cluster, label, now)
	if err != nil {
		return nil, err
	}
	return s, s.begin(rng, root, changePlan{kind: CertGenesis, g: 1, change: envelope.Genesis,
		admit: admission}, now)
}

// Recover builds the next generation signed by the phrase, with this device alone, and keeps it as Pending.
// The caller has fed the whole certificate log to LearnCerts. Everybody who watches the account sees it.
func (s *State) Recover(rng io.Reader, root *Root, now time.Time) error {
	if root.ID() != s.account {
		return fault.New(fault.Denied, "recover account", "the phrase is of another account")
	}
	if s.chain == nil {
		return fault.New(fault.NotFound, "recover account", "no such account: it has no certificate")
	}
	if s.gen != nil && !s.revoked {
		return fault.New(fault.Exists, "recover account", "this device is part of generation %d", s.gen.g)
	}
	prev := s.chain.Head()
	plan := changePlan{kind: CertRecover, g: prev.G + 1, prev: prev, change: envelope.Recover, tombs: s.tombs}
	for _, d := range s.devices {
		if d.ID != s.device {
			plan.tombs = addTomb(plan.tombs, Tombstone{ID: d.ID, At: now.UnixMilli(), Reason: TombRecovered})
		}
	}
	if err := s.begin(rng, root, plan, now); err != nil {
		return err
	}
	s.revoked, s.seen = false, prev.G
	return nil
}

// begin builds a change with this device alone that the phrase signs.
func (s *State) begin(rng io.Reader, root *Root, plan changePlan, now time.Time) error {
	data, err := newSecret(rng)
	if err != nil {
		return err
	}
	vaultKeyPair := root.vaultKey()
	mailboxKey := root.MailboxKey(s.cluster)
	plan.root, plan.signer = root, mailboxKey.Public()
	plan.vaultPK = vaultKeyPair.public()
	plan.vault, plan.newVault = mergeVaultKeys([]vaultKey{{gen: plan.g, key: data}}, s.vault), true
	plan.devices = []Device{{
		ID: s.device, Label: s.label, AddedAt: now.UnixMilli(), LastSeen: Day(now),
		sign: s.sign.public(), box: s.box.public(), next: s.after.public(),
	}}
	c, err := s.build(rng, plan, now)
	if err != nil {
		return err
	}
	s.pending = &Pending{Change: c, Signer: mailboxKey}
	return nil
}

// Rotation is what a generation change does to the device list.
type Rotation struct {
	Add    []*LinkRequest
	Invite []*Offer                  // devices whose invitation was read
	Rename map[ident.DeviceID]string // new labels
	Remove []ident.DeviceID          // gives the documents a new data key too
	Silent []ident.DeviceID          // the same for devices that were not heard of (State.Silent)
}

// Rotate builds the next generation, signed by the current one. Before it the caller reads the sync namespace
// to its head (ApplyAnnouncement) and the certificates (LearnCerts). It changes nothing in s: store the
// batch, then Commit. fault.Stale from the store means that another device was first: learn, adopt, and
// Rotate again.
//
// Errors: fault.Stale a newer generation is known already; fault.Denied not part of the account; fault.Exists
// a device is in the group, or was removed from it; fault.Limited more than MaxDevices; fault.NotFound,
// fault.Invalid.
func (s *State) Rotate(rng io.Reader, r Rotation, now time.Time) (*Change, error) {
	const op = "rotate generation"
	switch {
	case s.gen == nil || s.revoked:
		return nil, fault.New(fault.Denied, op, "this device is not part of the account")
	case s.chain.G() != s.gen.g:
		return nil, fault.New(fault.Stale, op, "generation %d is known, have %d", s.chain.G(), s.gen.g)
	}
	prev := s.chain.Head()
	plan := changePlan{
		kind: CertRotate, g: prev.G + 1, prev: prev, ask: &s.gen.ask, change: envelope.Rotate,
		signer:  s.gen.auth.Public(),
		vaultPK: s.vaultPK, vault: s.vault, tombs: s.tombs,
	}
	return s.rotate(rng, plan, r, now)
}

// Expel is Rotate that removes devices with the authority of the phrase: it outranks whoever holds the keys
// of this generation, a thief of one of the devices among them. Everybody sees it as a recovery; the devices
// that are not named stay. The change is signed by the returned key; errors are those of Rotate.
func (s *State) Expel(rng io.Reader, root *Root, devices []ident.DeviceID,
	now time.Time) (*Change, *MailboxKey, error) {
	const op = "expel device"
	switch {
	case root.ID() != s.account:
		return nil, nil, fault.New(fault.Denied, op, "the phrase is of another account")
	case s.gen == nil || s.revoked:
		return nil, nil, fault.New(fault.Denied, op, "this device is not part of the account")
	case s.chain.G() != s.gen.g:
		return nil, nil, fault.New(fault.Stale, op, "generation %d is known, have %d", s.chain.G(), s.gen.g)
	}
	key := root.MailboxKey(s.cluster)
	prev := s.chain.Head()
	plan := changePlan{
		kind: CertRecover, g: prev.G + 1, prev: prev, ask: &s.gen.ask, root: root, change: envelope.Recover,
		signer:  key.Public(),
		vaultPK: s.vaultPK, vault: s.vault, tombs: s.tombs,
	}
	c, err := s.rotate(rng, plan, Rotation{Remove: devices}, now)
	return c, key, err
}

// rotate completes the plan with the device list and the data key, and builds the batch.
func (s *State) rotate(rng io.Reader, plan changePlan, r Rotation, now time.Time) (*Change, error) {
	if err := s.rotateDevices(&plan, r, now); err != nil {
		return nil, err
	}
	if len(r.Remove)+len(r.Silent) > 0 {
		data, err := newSecret(rng)
		if err != nil {
			return nil, err
		}
		plan.vault, plan.newVault = mergeVaultKeys([]vaultKey{{gen: plan.g, key: data}}, s.vault), true
	}
	return s.build(rng, plan, now)
}

// rotateDevices lists the devices of the next group, each with the key that opens it and the one that opens
// the next.
func (s *State) rotateDevices(plan *changePlan, r Rotation, now time.Time) error {
	const op = "rotate generation"
	for i, id := range slices.Concat(r.Remove, r.Silent) {
		reason := TombRevoked
		if i >= len(r.Remove) {
			reason = TombSilent
		}
		if id == s.device {
			return fault.New(fault.Invalid, op, "a device cannot remove itself")
		}
		if !slices.ContainsFunc(s.devices, func(d Device) bool { return d.ID == id }) {
			return fault.New(fault.NotFound, op, "device %s is not in the group", id)
		}
		t := Tombstone{ID: id, At: now.UnixMilli(), By: s.device, Reason: reason}
		if plan.root != nil {
			t.By = ident.DeviceID{}
		}
		plan.tombs = addTomb(plan.tombs, t)
	}
	for id, label := range r.Rename {
		if err := checkLabel(label); err != nil {
			return err
		}
		if !s.has(id) || slices.Contains(r.Remove, id) {
			return fault.New(fault.NotFound, op, "device %s is not in the group", id)
		}
	}
	for _, d := range s.devices {
		if slices.Contains(r.Remove, d.ID) || slices.Contains(r.Silent, d.ID) {
			continue
		}
		d.box = d.next
		if i := slices.IndexFunc(s.news, func(a announcement) bool { return a.device == d.ID }); i >= 0 {
			d.next = s.news[i].box
		}
		if d.ID == s.device {
			d.box, d.next, d.LastSeen = s.box.public(), s.after.public(), Day(now)
		}
		if label, ok := r.Rename[d.ID]; ok {
			d.Label = label
		}
		plan.devices = append(plan.devices, d)
	}
	add := slices.Clone(r.Add)
	for _, o := range r.Invite {
		add = append(add, o.joining(s.mailbox))
	}
	for _, l := range add {
		if l.Mailbox != s.mailbox {
			return fault.New(fault.Invalid, op, "the request of device %s is for another mailbox", l.Device)
		}
		if slices.ContainsFunc(plan.devices, func(d Device) bool { return d.ID == l.Device }) ||
			slices.ContainsFunc(plan.tombs, func(t Tombstone) bool { return t.ID == l.Device }) {
			return fault.New(fault.Exists, op, "device %s is or was in the group", l.Device)
		}
		plan.devices = append(plan.devices, Device{
			ID: l.Device, Label: l.Label, AddedAt: now.UnixMilli(), LastSeen: Day(now), sign: l.sign,
			box: l.box, next: l.next,
		})
	}
	if len(plan.devices) > MaxDevices {
		return fault.New(fault.Limited, op, "%d devices, want at most %d", len(plan.devices), MaxDevices)
	}
	return nil
}

func addTomb(tombs []Tombstone, t Tombstone) []Tombstone {
	out := append([]Tombstone{t}, tombs...)
	return out[:min(len(out), maxTombstones)]
}

// build draws GS_g and makes the batch.
func (s *State) build(rng io.Reader, plan changePlan, now time.Time) (*Change, error) {
	gs, err := newSecret(rng)
	if err != nil {
		return nil, err
	}
	defer gs.wipe()
	created := now.UnixMilli()
	var prevHash [32]byte
	if plan.prev != nil {
		created, prevHash = max(created, plan.prev.Created), plan.prev.Hash()
	}
	gen := expand(gs.b, s.account, plan.g, uint32(created/dayMS))
	cert, err := newCert(Cert{
		Kind: plan.kind, Account: s.account, G: plan.g, Prev: prevHash,
		Ask: gen.ask.public(), Sx: gen.sx.public(), Auth: gen.auth.Public(), Created: created,
	}, plan.ask, plan.root)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(plan.devices, func(a, b Device) int { return slices.Compare(a.ID[:], b.ID[:]) })
	group, err := sealGroup(rng, &groupPayload{
		account: s.account, g: plan.g, author: s.device, gs: gs, vaultPK: plan.vaultPK, vault: plan.vault,
		devices: plan.devices, tombs: plan.tombs,
	})
	if err != nil {
		return nil, err
	}
	ops, err := s.changeOps(rng, &plan, cert, &gen, group)
	if err != nil {
		return nil, err
	}
	req := &envelope.Request{Mailbox: s.mailbox, Authority: plan.signer, Mode: envelope.All, Ops: ops}
	if n := len(req.Encode()); n > envelope.MaxClientBatch {
		return nil, fault.New(fault.Internal, "build generation", "batch of %d bytes, want at most %d", n,
			envelope.MaxClientBatch)
	}
	return &Change{G: plan.g, Request: req, Group: group}, nil
}

func (s *State) changeOps(rng io.Reader, plan *changePlan, cert *Cert, gen *generation,
	group []byte) ([]envelope.Op, error) {
	head := s.head
	body, err := wrapRecord(rng, s.account, envelope.Certs, [envelope.KeySize]byte{}, cert.raw)
	if err != nil {
		return nil, err
	}
	ops := []envelope.Op{
		envelope.Store{Namespace: envelope.Certs, IfHead: &head, Admission: plan.admit, Body: body},
		envelope.SetAuthority{Change: plan.change, Key: cert.Auth},
		envelope.Store{Namespace: envelope.Devices, Key: GroupKey(plan.g), Body: group},
	}
	if plan.newVault {
		wrap, err := wrapVaultKey(s.account, plan.vaultPK, &plan.vault[0])
		if err != nil {
			return nil, err
		}
		ops = append(ops, envelope.Store{Namespace: envelope.Vault, Key: WrapKey(plan.g), Body: wrap})
	}
	for i := range uint32(RecordsAhead) {
		day := cert.Day() + i
		seed, _ := gen.ck.seedOf(day)
		op, err := recordOp(rng, gen, cert, day, expandDay(seed), cert.Created)
		if err != nil {
			return nil, err
		}
		ops = append(ops, op)
	}
	return ops, nil
}

// recordOp stores a day's record until a day after its validity.
func recordOp(rng io.Reader, gen *generation, cert *Cert, day uint32, keys *dayKeys,
	nowMS int64) (envelope.Store, error) {
	r, err := newRecord(gen, cert, day, keys)
	if err != nil {
		return envelope.Store{}, err
	}
	body, err := wrapRecord(rng, cert.Account, envelope.Days, DayKey(day), r.raw)
	if err != nil {
		return envelope.Store{}, err
	}
	ttl := (validTo(day) + dayMS - nowMS) / 1000
	return envelope.Store{Namespace: envelope.Days, Key: DayKey(day), TTL: uint32(ttl), Body: body}, nil
}

// Publish builds the batch that publishes the records of the days from today on of which have is false: none
// of them for a superseded generation, as each store is conditional on the certificate log. It is nil if
// nothing is missing.
func (s *State) Publish(rng io.Reader, have func(day uint32) bool, now time.Time) (*envelope.Request, error) {
	if s.gen == nil || s.revoked || s.chain.G() != s.gen.g {
		return nil, fault.New(fault.Stale, "publish day records",
			"this device is not at the newest generation")
	}
	req := &envelope.Request{Mailbox: s.mailbox, Authority: s.gen.auth.Public(), Mode: envelope.All}
	cert := s.chain.Head()
	for i := range uint32(RecordsAhead) {
		day := max(Day(now), cert.Day()) + i
		if have(day) {
			continue
		}
		keys, ok := s.dayKeys(DayVersion{s.gen.g, day})
		if !ok {
			return nil, fault.New(fault.Invalid, "publish day records",
				"day %d is out of reach: check the clock", day)
		}
		op, err := recordOp(rng, s.gen, cert, day, keys, now.UnixMilli())
		if err != nil {
			return nil, err
		}
		head := s.head
		op.IfCerts = &head
		req.Ops = append(req.Ops, op)
	}
	if len(req.Ops) == 0 {
		return nil, nil
	}
	return req, nil
}

// wrapVaultKey seals a data key to the phrase: docs/formats.md, section 5.8.
func wrapVaultKey(id ident.AccountID, vaultPK []byte, k *vaultKey) ([]byte, error) {
	sealed, err := boxSeal(vaultPK, groupContext(labelVaultWrap, id, k.gen), k.key.b[:])
	if err != nil {
		return nil, err
	}
	var b cryptobyte.Builder
	b.AddUint8(formatVersion)
	b.AddUint32(k.gen)
	b.AddBytes(sealed)
	return b.BytesOrPanic(), nil
}

// LearnVault opens the wrap of an older data key (namespace vault, WrapKey) with the phrase, after a
// recovery: what was stored under it can be read and rewritten then.
func (s *State) LearnVault(root *Root, wrap []byte) error {
	p := cryptobyte.String(wrap)
	var version uint8
	var k vaultKey
	if !p.ReadUint8(&version) || version != formatVersion || !p.ReadUint32(&k.gen) || len(p) != slotSize {
		return fault.New(fault.Corrupt, "open vault wrap", "malformed")
	}
	vault := root.vaultKey()
	b, err := vault.open(groupContext(labelVaultWrap, s.account, k.gen), p)
	if err != nil || len(b) != 32 {
		return fault.New(fault.Corrupt, "open vault wrap", "does not open with this phrase")
	}
	copy(k.key.b[:], b)
	s.vault = mergeVaultKeys(s.vault, []vaultKey{k})
	return nil
}
