package account

import (
	"io"
	"slices"
	"time"

	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/private"
)

// State is the secret memory of one device of one account. It is not safe for concurrent use.
type State struct {
	private.Redacted
	account ident.AccountID
	cluster ident.ClusterID
	mailbox ident.MailboxID

	device  ident.DeviceID
	label   string
	askedAt int64    // when the device was made; a link request says so
	nonce   [16]byte // of the link request
	sign    deviceKey
	box     boxKey // opens the next device group
	after   boxKey // announced: opens the group after that

	gen     *generation // nil: not part of the account yet
	seeds   []daySeed   // days that their chains have passed
	days    map[DayVersion]*dayKeys
	vaultPK []byte
	vault   []vaultKey // newest first
	devices []Device
	tombs   []Tombstone
	news    []announcement // what other devices announced in this generation

	log      []LoggedCert // certificates of the own chain, with those that a recovery replaced
	head     uint64       // sequence number of the newest entry of the certs namespace
	chain    *Chain       // nil before the first certificate
	seen     uint32       // the newest generation whose group was looked at
	firstSeq uint64
	revoked  bool
	pending  *Pending
}

type announcement struct {
	device ident.DeviceID
	box    []byte
}

// NewDevice makes a device that is not yet part of the account.
func NewDevice(rng io.Reader, id ident.AccountID, cluster ident.ClusterID, label string,
	now time.Time) (*State, error) {
	mailbox, err := MailboxOf(id, cluster)
	if err != nil {
		return nil, err
	}
	if err := checkLabel(label); err != nil {
		return nil, err
	}
	s := &State{account: id, cluster: cluster, mailbox: mailbox, label: label, askedAt: now.UnixMilli()}
	var keys [3]secret
	for i := range keys {
		if keys[i], err = newSecret(rng); err != nil {
			return nil, err
		}
	}
	if err := readRandom(rng, s.device[:]); err != nil {
		return nil, fault.Wrap(fault.Internal, "draw a device ID", err)
	}
	if err := readRandom(rng, s.nonce[:]); err != nil {
		return nil, fault.Wrap(fault.Internal, "draw a nonce", err)
	}
	s.sign = deviceKey{newSignKey(keys[0].b)}
	s.box, s.after = newBoxKey(keys[1].b), newBoxKey(keys[2].b)
	return s, nil
}

// Account, Cluster, Mailbox, Device and Label say whose state this is.

func (s *State) Account() ident.AccountID { return s.account }
func (s *State) Cluster() ident.ClusterID { return s.cluster }
func (s *State) Mailbox() ident.MailboxID { return s.mailbox }
func (s *State) Device() ident.DeviceID   { return s.device }
func (s *State) Label() string            { return s.label }

// G returns the generation that the device takes part in; 0: it is not part of the account yet.
func (s *State) G() uint32 {
	if s.gen == nil {
		return 0
	}
	return s.gen.g
}

// Revoked reports whether a generation is known that leaves this device out.
func (s *State) Revoked() bool { return s.revoked }

// Devices returns the devices of the account's current generation, sorted by ID.
func (s *State) Devices() []Device { return slices.Clone(s.devices) }

// Tombstones returns the devices that were removed, newest first.
func (s *State) Tombstones() []Tombstone { return slices.Clone(s.tombs) }

// Chain returns the own certificate chain; false before the first LearnCerts.
func (s *State) Chain() (*Chain, bool) { return s.chain, s.chain != nil }

// CertsHead returns the sequence number of the newest entry of the certs namespace that is known.
func (s *State) CertsHead() uint64 { return s.head }

// FirstSeq returns the sequence number of the first certificate that this device took part in. Mail that came
// before it is not for this device.
func (s *State) FirstSeq() uint64 { return s.firstSeq }

// Cert returns the certificate of the generation that the device takes part in; false before the first
// adoption. A device that was left out keeps the last one.
func (s *State) Cert() (*Cert, bool) {
	if s.gen == nil {
		return nil, false
	}
	for _, l := range s.log {
		if l.Cert.G == s.gen.g && s.gen.matches(l.Cert) {
			return l.Cert, true
		}
	}
	return nil, false
}

// Authority returns the key that signs requests; false before the first adoption.
func (s *State) Authority() (*AuthorityKey, bool) {
	if s.gen == nil {
		return nil, false
	}
	return &s.gen.auth, true
}

// Pending returns the batch to store first, if there is one.
func (s *State) Pending() (*Pending, bool) { return s.pending, s.pending != nil }

// LearnCerts takes envelopes of the own certs namespace in order; known ones are passed over. It returns what
// happened to the account on the way (nothing is an event for a device that learns the log for the first
// time).
func (s *State) LearnCerts(envs []envelope.Envelope) []Event {
	var events []Event
	first := s.chain == nil
	for _, e := range envs {
		if e.Namespace != envelope.Certs || e.Seq <= s.head {
			continue
		}
		s.head = e.Seq
		for _, l := range OpenCerts(s.account, []envelope.Envelope{e}) {
			chain, ok := s.chain.follow(l.Cert)
			if !ok {
				continue
			}
			s.chain, s.log = chain, append(s.log, l)
			if !first {
				events = append(events, eventsOf([]*Cert{l.Cert})...)
			}
		}
	}
	return events
}

// Next returns the generation whose DeviceGroup (namespace devices, key GroupKey(g)) the device has to Adopt
// next; false if it is up to date, or revoked.
func (s *State) Next() (g uint32, ok bool) {
	l, ok := s.nextCert()
	if !ok {
		return 0, false
	}
	return l.Cert.G, true
}

func (s *State) nextCert() (l LoggedCert, ok bool) {
	if s.revoked {
		return l, false
	}
	for _, l := range s.log {
		if l.Cert.G > s.seen {
			return l, true
		}
	}
	return l, false
}

// Adoption says what adopting a generation changed.
type Adoption struct {
	G        uint32
	By       ident.DeviceID // the device that made the generation
	Added    []Device
	Removed  []ident.DeviceID
	Announce bool // other devices are there: store Announcement's blob
}

// Adopt takes part in generation Next with the body of its DeviceGroup's envelope. In one step it derives the
// seeds of the generation before through the day after the change, erases that generation's keys and the key
// that opened the group, and takes up the next ones: write the state to disk before anything else.
//
// Errors: fault.Denied no slot opens: a device of the account is revoked by that, one that waits for approval
// goes on with the generation after; fault.Corrupt the group does not fit its certificate; fault.NotFound
// nothing to adopt.
func (s *State) Adopt(rng io.Reader, body []byte) (*Adoption, error) {
	l, ok := s.nextCert()
	if !ok {
		return nil, fault.New(fault.NotFound, "adopt generation", "none is newer than %d", s.seen)
	}
	g := l.Cert.G
	p, _, err := openGroup(s.account, g, body, []*boxKey{&s.box})
	if fault.KindOf(err) == fault.Denied {
		s.seen = g
		s.revoked = s.gen != nil
	}
	if err != nil {
		return nil, err
	}
	gen := expand(p.gs.b, s.account, g, l.Cert.Day())
	p.gs.wipe()
	if !gen.matches(l.Cert) {
		return nil, fault.New(fault.Corrupt, "adopt generation",
			"the keys of device group %d are not those of its certificate", g)
	}
	if err := s.takeBoxKeys(rng, p); err != nil {
		return nil, err
	}
	s.closeGeneration(l.Cert.Day())
	a := &Adoption{G: g, By: p.author, Announce: len(p.devices) > 1}
	a.Added, a.Removed = diffDevices(s.devices, p.devices)
	s.gen, s.seen = &gen, g
	s.vaultPK, s.vault = p.vaultPK, mergeVaultKeys(p.vault, s.vault)
	s.keepLastSeen(p.devices)
	s.devices, s.tombs, s.news = p.devices, p.tombs, nil
	if s.firstSeq == 0 {
		s.firstSeq = l.Seq
	}
	s.pending = nil
	return a, nil
}

// keepLastSeen carries what this device knows better than the author of a group did.
func (s *State) keepLastSeen(devices []Device) {
	for i := range devices {
		if j := slices.IndexFunc(s.devices, func(d Device) bool { return d.ID == devices[i].ID }); j >= 0 {
			devices[i].LastSeen = max(devices[i].LastSeen, s.devices[j].LastSeen)
		}
	}
}

// takeBoxKeys checks the own entry of a group and moves on to the key that it names for the next one.
func (s *State) takeBoxKeys(rng io.Reader, p *groupPayload) error {
	bad := func(why string) error {
		return fault.New(fault.Corrupt, "adopt generation", "device group %d: %s", p.g, why)
	}
	d, ok := p.device(s.device)
	if !ok || d.sign != s.sign.public() || string(d.box) != string(s.box.public()) {
		return bad("the own entry is missing or not ours")
	}
	switch string(d.next) {
	case string(s.box.public()): // no announcement had arrived: both keys stay
	case string(s.after.public()):
		fresh, err := newSecret(rng)
		if err != nil {
			return err
		}
		s.box, s.after = s.after, newBoxKey(fresh.b)
	default:
		return bad("the next key is not ours")
	}
	s.label = d.Label
	return nil
}

// closeGeneration leaves of the current generation only the seeds through the day after the change.
func (s *State) closeGeneration(changeDay uint32) {
	if s.gen == nil {
		return
	}
	g := s.gen.g
	s.advanceTo(changeDay + 1)
	s.seeds = slices.DeleteFunc(s.seeds, func(d daySeed) bool {
		return d.version.G == g && d.version.Day > changeDay+1
	})
	clear(s.days)
	s.gen.ck.key.wipe()
	for i := range s.gen.raw {
		s.gen.raw[i].wipe()
	}
	s.gen.ask.wipe()
	s.gen.auth.wipe()
	s.gen = nil
}

func diffDevices(old, now []Device) (added []Device, removed []ident.DeviceID) {
	has := func(in []Device, id ident.DeviceID) bool {
		return slices.ContainsFunc(in, func(d Device) bool { return d.ID == id })
	}
	for _, d := range now {
		if !has(old, d.ID) {
			added = append(added, d)
		}
	}
	for _, d := range old {
		if !has(now, d.ID) {
			removed = append(removed, d.ID)
		}
	}
	return added, removed
}

// mergeVaultKeys adds to keys what is known besides, newest first, up to the limit.
func mergeVaultKeys(keys, known []vaultKey) []vaultKey {
	out := slices.Clone(keys)
	for _, k := range known {
		if !slices.ContainsFunc(out, func(o vaultKey) bool { return o.gen == k.gen }) {
			out = append(out, k)
		}
	}
	slices.SortFunc(out, func(a, b vaultKey) int { return int(int64(b.gen) - int64(a.gen)) })
	return out[:min(len(out), maxVaultKeys)]
}

// Commit is LearnCerts and Adopt from the answer to a change that this device made. It does nothing if the
// device has adopted the generation already.
func (s *State) Commit(rng io.Reader, c *Change, r *envelope.Response) (*Adoption, error) {
	if err := r.Err(); err != nil {
		return nil, err
	}
	store, ok := c.Request.Ops[0].(envelope.Store)
	if !ok || len(r.Results) != len(c.Request.Ops) {
		return nil, fault.New(fault.Corrupt, "commit generation", "%d results for %d operations",
			len(r.Results), len(c.Request.Ops))
	}
	s.LearnCerts([]envelope.Envelope{{Seq: r.Results[0].Seq, Namespace: envelope.Certs, Key: store.Key,
		Body: store.Body}})
	if g, ok := s.Next(); !ok || g > c.G {
		return &Adoption{G: c.G}, nil
	}
	return s.Adopt(rng, c.Group)
}
