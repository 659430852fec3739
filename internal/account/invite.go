package account

import (
	"bytes"
	"crypto/sha256"
	"encoding/base32"
	"io"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/cryptobyte"

	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/private"
)

// Invite is what a new device shows and a device of the account scans or types (docs/formats.md, section
// 6.2). It names the new device's offer by its hash, and leads both to a one-time mailbox. Whoever sees it
// can offer the new device an account of their own, no more; still it is shown to nobody else.
type Invite struct {
	cluster [4]byte
	offer   [20]byte
	seed    [16]byte
}

const (
	inviteSize   = 1 + 4 + 20 + 16
	inviteText   = 66 // characters of the invitation itself
	inviteCheck  = 2  // characters that catch a slip
	invitePrefix = "STARLING-LINK-"
)

var crockford32 = base32.NewEncoding(crockford).WithPadding(base32.NoPadding)

func (i Invite) bytes() []byte {
	out := append([]byte{formatVersion}, i.cluster[:]...)
	out = append(out, i.offer[:]...)
	return append(out, i.seed[:]...)
}

// String returns the text that both ways, QR code and typing, carry: groups of four characters.
func (i Invite) String() string {
	raw := i.bytes()
	text := crockford32.EncodeToString(raw)
	text += inviteSum(raw)
	groups := make([]string, 0, len(text)/4)
	for ; text != ""; text = text[4:] {
		groups = append(groups, text[:4])
	}
	return invitePrefix + strings.Join(groups, "-")
}

func inviteSum(raw []byte) string {
	h := sha256.Sum256(append([]byte(labelLinkText), raw...))
	return crockford32.EncodeToString(h[:2])[:inviteCheck]
}

// ParseInvite reads an invitation. fault.Invalid: it is none, or was mistyped.
func ParseInvite(s string) (i Invite, err error) {
	bad := func(format string, args ...any) (Invite, error) {
		return Invite{}, fault.New(fault.Invalid, "read invitation", format, args...)
	}
	if len(s) > 1<<10 {
		return bad("it is far too long")
	}
	s = strings.Join(strings.FieldsFunc(strings.ToUpper(s), func(r rune) bool {
		return r == '-' || r == ' ' ||
			r == '\n' || r == '\t' || r == '\r'
	}), "")
	s = strings.TrimPrefix(s, strings.ReplaceAll(invitePrefix, "-", ""))
	s = strings.NewReplacer("O", "0", "I", "1", "L", "1").Replace(s)
	if len(s) != inviteText+inviteCheck {
		return bad("has %d characters, want %d", len(s), inviteText+inviteCheck)
	}
	raw, err := crockford32.DecodeString(s[:inviteText])
	if err != nil || len(raw) != inviteSize || crockford32.EncodeToString(raw) != s[:inviteText] ||
		inviteSum(raw) != s[inviteText:] {
		return bad("a character is wrong: compare it with the new device's screen")
	}
	if raw[0] != formatVersion {
		return bad("version %d, want %d: update this program", raw[0], formatVersion)
	}
	copy(i.cluster[:], raw[1:])
	copy(i.offer[:], raw[5:])
	copy(i.seed[:], raw[25:])
	return i, nil
}

// For reports whether the new device is of this cluster.
func (i Invite) For(cluster ident.ClusterID) bool { return i.cluster == [4]byte(cluster[:4]) }

// Rendezvous is the one-time mailbox where the two devices meet.
type Rendezvous struct {
	Mailbox   ident.MailboxID
	Key       *AuthorityKey // signs the genesis
	Authority *AuthorityKey // signs everything after it
}

// Keys of the blobs in a rendezvous mailbox.
var (
	OfferKey  = numberKey(0, 1)
	AnswerKey = numberKey(0, 2)
)

// Rendezvous returns the mailbox that the invitation leads to.
func (i Invite) Rendezvous() Rendezvous {
	key := &AuthorityKey{newSignKey(derive(i.seed[:], labelLinkMailbox))}
	return Rendezvous{Mailbox: ident.MailboxID(key.Public()), Key: key,
		Authority: &AuthorityKey{newSignKey(derive(i.seed[:], labelLinkAuthority))}}
}

func (i Invite) wrap(rng io.Reader, key [envelope.KeySize]byte, b []byte) ([]byte, error) {
	return sealBytes(rng, derive(i.seed[:], labelLinkWrap), append([]byte(labelLinkWrap), key[:]...), b)
}

func (i Invite) unwrap(key [envelope.KeySize]byte, b []byte) ([]byte, error) {
	return openBytes("open link blob", derive(i.seed[:], labelLinkWrap),
		append([]byte(labelLinkWrap), key[:]...), b)
}

// Offer is what a new device says of itself.
type Offer struct {
	Device ident.DeviceID
	Label  string
	MadeAt int64 // Unix milliseconds

	sign      [32]byte
	box, next []byte
	raw       []byte
}

func offerHash(raw []byte) [32]byte { return sha256.Sum256(append([]byte(labelLinkOffer), raw...)) }

func decodeOffer(b []byte) (*Offer, error) {
	bad := fault.New(fault.Corrupt, "read link offer", "malformed")
	if len(b) > 4<<10 {
		return nil, bad
	}
	o := &Offer{raw: bytes.Clone(b)}
	s := cryptobyte.String(o.raw)
	var version uint8
	var label cryptobyte.String
	var at uint64
	var sig []byte
	if !s.ReadUint8(&version) || version != formatVersion || !s.CopyBytes(o.Device[:]) ||
		!s.CopyBytes(o.sign[:]) ||
		!s.ReadBytes(&o.box, kemPublicSize) || !s.ReadBytes(&o.next, kemPublicSize) ||
		!s.ReadUint8LengthPrefixed(&label) ||
		!s.ReadUint64(&at) || at > maxTimeMS || !s.ReadBytes(&sig, 64) || !s.Empty() {
		return nil, bad
	}
	o.Label, o.MadeAt = string(label), int64(at)
	if _, wrong := primePoint(o.sign[:]); wrong != "" || checkLabel(o.Label) != nil ||
		checkBoxPublic(o.box) != nil || checkBoxPublic(o.next) != nil {
		return nil, bad
	}
	if !verify(o.sign, sig, labelLinkOffer, o.raw[:len(o.raw)-64]) {
		return nil, fault.New(fault.Corrupt, "read link offer", "not signed by the device")
	}
	return o, nil
}

// OpenOffer opens the offer that lies in the rendezvous mailbox. fault.Denied: it is not the one that the
// invitation names, so somebody put it there instead.
func (i Invite) OpenOffer(blob []byte) (*Offer, error) {
	raw, err := i.unwrap(OfferKey, blob)
	if err != nil {
		return nil, err
	}
	if h := offerHash(raw); [20]byte(h[:20]) != i.offer {
		return nil, fault.New(fault.Denied, "read link offer", "it is not the one that the invitation names")
	}
	return decodeOffer(raw)
}

// joining is the offer as a request to be let in to an account.
func (o *Offer) joining(m ident.MailboxID) *LinkRequest {
	return &LinkRequest{Mailbox: m, Device: o.Device, Label: o.Label, AskedAt: o.MadeAt, sign: o.sign,
		box: o.box, next: o.next}
}

// SealAnswer tells the new device whose it has become: to be stored once the generation that it is part of
// is. fault.NotFound: the device is not in the group of s.
func (i Invite) SealAnswer(rng io.Reader, o *Offer, s *State) ([]byte, error) {
	cert := s.entered(o.Device)
	if cert == nil {
		return nil, fault.New(fault.NotFound, "answer invitation", "device %s is not part of the account",
			o.Device)
	}
	var b cryptobyte.Builder
	hash := cert.Hash()
	b.AddUint8(formatVersion)
	b.AddBytes(s.account[:])
	b.AddUint32(cert.G)
	b.AddBytes(hash[:])
	sealed, err := boxSeal(o.box, answerInfo(o.raw), b.BytesOrPanic())
	if err != nil {
		return nil, err
	}
	return i.wrap(rng, AnswerKey, sealed)
}

func answerInfo(offer []byte) []byte {
	h := offerHash(offer)
	return append([]byte(labelLinkAnswer), h[:]...)
}

// entered returns the certificate of the generation that a device came with, or of one before it; nil if it
// is not in the group. Another device may have made more generations meanwhile, and the new one has to take
// part in each.
func (s *State) entered(id ident.DeviceID) *Cert {
	if s.gen == nil || !s.has(id) {
		return nil
	}
	i := slices.IndexFunc(s.devices, func(d Device) bool { return d.ID == id })
	for _, l := range s.log {
		if l.Cert.Created >= s.devices[i].AddedAt {
			return l.Cert
		}
	}
	return s.chain.Head()
}

func (s *State) has(id ident.DeviceID) bool {
	for i := range s.devices {
		if s.devices[i].ID == id {
			return true
		}
	}
	return false
}

// Joiner is the secret memory of a new device that has invited an account to take it in.
type Joiner struct {
	private.Redacted
	cluster ident.ClusterID
	device  ident.DeviceID
	label   string
	madeAt  int64
	seed    [16]byte
	sign    deviceKey
	box     boxKey
	after   boxKey
}

// NewJoiner makes a device that does not know yet whose it will be.
func NewJoiner(rng io.Reader, cluster ident.ClusterID, label string, now time.Time) (*Joiner, error) {
	if err := checkLabel(label); err != nil {
		return nil, err
	}
	j := &Joiner{cluster: cluster, label: label, madeAt: now.UnixMilli()}
	var keys [3]secret
	var err error
	for i := range keys {
		if keys[i], err = newSecret(rng); err != nil {
			return nil, err
		}
	}
	for _, b := range [][]byte{j.device[:], j.seed[:]} {
		if err := readRandom(rng, b); err != nil {
			return nil, fault.Wrap(fault.Internal, "draw a device ID", err)
		}
	}
	j.sign = deviceKey{newSignKey(keys[0].b)}
	j.box, j.after = newBoxKey(keys[1].b), newBoxKey(keys[2].b)
	return j, nil
}

// Device returns the new device's ID.
func (j *Joiner) Device() ident.DeviceID { return j.device }

// offer is the same bytes at every call: Ed25519 signatures are deterministic.
func (j *Joiner) offer() []byte {
	var b cryptobyte.Builder
	sign := j.sign.public()
	b.AddUint8(formatVersion)
	b.AddBytes(j.device[:])
	b.AddBytes(sign[:])
	b.AddBytes(j.box.public())
	b.AddBytes(j.after.public())
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(j.label)) })
	b.AddUint64(uint64(j.madeAt))
	sig := j.sign.sign(labelLinkOffer, b.BytesOrPanic())
	b.AddBytes(sig[:])
	return b.BytesOrPanic()
}

// Invite returns what the device shows.
func (j *Joiner) Invite() Invite {
	i := Invite{cluster: [4]byte(j.cluster[:4]), seed: j.seed}
	h := offerHash(j.offer())
	copy(i.offer[:], h[:])
	return i
}

// SealOffer returns the offer as it is stored in the rendezvous mailbox.
func (j *Joiner) SealOffer(rng io.Reader) ([]byte, error) {
	return j.Invite().wrap(rng, OfferKey, j.offer())
}

// Answer says whose a new device has become.
type Answer struct {
	Account ident.AccountID
	G       uint32

	cert [32]byte
}

// OpenAnswer opens the answer that lies in the rendezvous mailbox.
func (j *Joiner) OpenAnswer(blob []byte) (*Answer, error) {
	bad := fault.New(fault.Corrupt, "read link answer", "malformed")
	sealed, err := j.Invite().unwrap(AnswerKey, blob)
	if err != nil {
		return nil, err
	}
	b, err := j.box.open(answerInfo(j.offer()), sealed)
	if err != nil {
		return nil, fault.New(fault.Corrupt, "read link answer", "it is not for this device")
	}
	s := cryptobyte.String(b)
	a := new(Answer)
	var version uint8
	if !s.ReadUint8(&version) || version != formatVersion || !s.CopyBytes(a.Account[:]) ||
		!s.ReadUint32(&a.G) || !s.CopyBytes(a.cert[:]) || !s.Empty() || a.G == 0 {
		return nil, bad
	}
	if err := CheckID(a.Account); err != nil {
		return nil, bad
	}
	return a, nil
}

// Join makes the new device's state from the answer and the account's certificate log. Adopt takes part in
// the generation that the answer names. fault.Stale: the log does not reach that certificate yet;
// fault.Corrupt: it holds another one in its place.
func (j *Joiner) Join(a *Answer, certs []envelope.Envelope) (*State, error) {
	mailbox, err := MailboxOf(a.Account, j.cluster)
	if err != nil {
		return nil, err
	}
	s := &State{account: a.Account, cluster: j.cluster, mailbox: mailbox, device: j.device, label: j.label,
		askedAt: j.madeAt,
		sign:    deviceKey{newSignKey(j.sign.seed())}, box: newBoxKey(j.box.raw.b),
		after: newBoxKey(j.after.raw.b), seen: a.G - 1}
	copy(s.nonce[:], j.seed[:])
	s.LearnCerts(certs)
	for _, l := range s.log {
		if l.Cert.G != a.G {
			continue
		}
		if l.Cert.Hash() == a.cert {
			return s, nil
		}
		return nil, fault.New(fault.Corrupt, "join account",
			"generation %d has another certificate than the one that let this device in", a.G)
	}
	return nil, fault.New(fault.Stale, "join account", "generation %d is not in the certificate log yet", a.G)
}

// joinerMark opens a marshalled Joiner: no State begins like it.
const joinerMark = 'J'

// Marshal returns the whole Joiner: secrets in clear, to be encrypted by the caller.
func (j *Joiner) Marshal() []byte {
	var b cryptobyte.Builder
	b.AddUint8(joinerMark)
	b.AddUint8(formatVersion)
	b.AddBytes(j.cluster[:])
	b.AddBytes(j.device[:])
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(j.label)) })
	b.AddUint64(uint64(j.madeAt))
	b.AddBytes(j.seed[:])
	b.AddBytes(j.sign.key.Seed())
	b.AddBytes(j.box.raw.b[:])
	b.AddBytes(j.after.raw.b[:])
	return b.BytesOrPanic()
}

// UnmarshalJoiner reads what Marshal wrote. fault.NotFound: it is something else, such as a State.
func UnmarshalJoiner(p []byte) (*Joiner, error) {
	s := cryptobyte.String(p)
	var mark, version uint8
	if !s.ReadUint8(&mark) || mark != joinerMark {
		return nil, fault.New(fault.NotFound, "read new device", "these are no bytes of one")
	}
	j := new(Joiner)
	var label cryptobyte.String
	var at uint64
	var keys [3][32]byte
	if !s.ReadUint8(&version) || version != formatVersion || !s.CopyBytes(j.cluster[:]) ||
		!s.CopyBytes(j.device[:]) || !s.ReadUint8LengthPrefixed(&label) ||
		!s.ReadUint64(&at) || at > maxTimeMS || !s.CopyBytes(j.seed[:]) || !s.CopyBytes(keys[0][:]) ||
		!s.CopyBytes(keys[1][:]) ||
		!s.CopyBytes(keys[2][:]) || !s.Empty() || checkLabel(string(label)) != nil {
		return nil, fault.New(fault.Corrupt, "read new device", "malformed")
	}
	j.label, j.madeAt = string(label), int64(at)
	j.sign = deviceKey{newSignKey(keys[0])}
	j.box, j.after = newBoxKey(keys[1]), newBoxKey(keys[2])
	return j, nil
}
