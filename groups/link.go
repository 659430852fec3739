package groups

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"io"
	"strings"
	"time"

	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/private"
)

// LinkPrefix begins the text of a link.
const LinkPrefix = "starling:group/"

// LinkLife is how long a link can live: what it leads to lies in a mailbox for no longer.
const LinkLife = 30 * 24 * time.Hour

const (
	pinSize   = 16
	linkSize  = 1 + 32 + pinSize + 2
	linkChars = len(LinkPrefix) + (linkSize*8+5)/6

	linkAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

	linkPlain = 1600 // an invitation with the longest name has 1,537 bytes
	linkBlob  = 1 + 24 + linkPlain + 16
)

// Link leads to an invitation that lies sealed in a mailbox of its own: mailbox and keys come from the
// invitation's seed. The pin holds the invitation to what its maker put there, since everybody with the link
// can replace it.
type Link struct {
	private.Redacted
	seed secret
	pin  [pinSize]byte
}

// NewLink makes a link anew from the seed of an invitation and the link's pin.
func NewLink(seed private.Key, pin [16]byte) *Link { return &Link{seed: secretOf(seed), pin: pin} }

// Link returns the link that leads to these very bytes of an invitation: to no other with the same seed.
func (i *Invitation) Link() *Link { return NewLink(i.seed.key(), pinOf(i.Encode())) }

func pinOf(invitation []byte) (pin [pinSize]byte) {
	sum := hash(labelLinkPin, invitation)
	copy(pin[:], sum[:])
	return pin
}

// Pin is what a link is made of besides the seed.
func (l *Link) Pin() [16]byte { return l.pin }

// MailboxKey returns the seed of the key that signs the genesis of the link's mailbox.
func (l *Link) MailboxKey() private.Key { return derive(l.seed.b[:], nil, labelLinkMailbox).key() }

// Authority returns the seed of the key that signs everything else in the mailbox.
func (l *Link) Authority() private.Key { return derive(l.seed.b[:], nil, labelLinkAuthority).key() }

// Mailbox is where the invitation lies.
func (l *Link) Mailbox() ident.MailboxID {
	k := secretOf(l.MailboxKey())
	return ident.MailboxID(k.public())
}

// Seal encrypts the invitation that the link leads to. All blobs have one size.
func (l *Link) Seal(rng io.Reader, in *Invitation) ([]byte, error) {
	b := in.Encode()
	if pinOf(b) != l.pin || !in.seed.equal(&l.seed) {
		return nil, fault.New(fault.Invalid, "seal group link", "the link leads to another invitation")
	}
	plain := make([]byte, linkPlain)
	binary.BigEndian.PutUint16(plain, uint16(len(b)))
	copy(plain[2:], b)
	key := derive(l.seed.b[:], nil, labelLinkKey)
	box, err := key.seal(rng, l.bound(), plain)
	return append([]byte{formatVersion}, box...), err
}

// Open opens what lies in the link's mailbox. raw is the invitation's encoding. Errors: Corrupt (it is not
// what the link's maker put there).
func (l *Link) Open(blob []byte) (in *Invitation, raw []byte, err error) {
	bad := fault.New(fault.Corrupt, "open group link",
		"what lies there is not what the link was made for: somebody replaced it. Ask for a new link")
	if len(blob) != linkBlob || blob[0] != formatVersion {
		return nil, nil, bad
	}
	key := derive(l.seed.b[:], nil, labelLinkKey)
	plain, err := key.open("open group link", l.bound(), blob[1:])
	if err != nil {
		return nil, nil, bad
	}
	n := int(binary.BigEndian.Uint16(plain))
	if n > linkPlain-2 || !zeros(plain[2+n:]) {
		return nil, nil, bad
	}
	raw = plain[2 : 2+n]
	if pinOf(raw) != l.pin {
		return nil, nil, bad
	}
	if in, err = DecodeInvitation(raw); err != nil || !in.seed.equal(&l.seed) {
		return nil, nil, bad
	}
	return in, raw, nil
}

func (l *Link) bound() []byte {
	m := l.Mailbox()
	return concat(labelLinkBlob, m[:])
}

// Text returns the link as people pass it on, 83 characters. It is secret.
func (l *Link) Text() string {
	b := append([]byte{formatVersion}, l.seed.b[:]...)
	b = append(b, l.pin[:]...)
	return LinkPrefix + base64.RawURLEncoding.EncodeToString(append(b, linkSum(b)...))
}

func linkSum(b []byte) []byte {
	sum := hash(labelLinkText, b)
	return sum[:2]
}

// ParseLink reads what Text wrote; white space does not count. Errors: Invalid, saying what is wrong.
func ParseLink(text string) (*Link, error) {
	text = strings.Join(strings.Fields(text), "")
	invalid := func(format string, args ...any) (*Link, error) {
		return nil, fault.New(fault.Invalid, "read group link", format, args...)
	}
	coded, ok := strings.CutPrefix(text, LinkPrefix)
	if !ok {
		return invalid("it does not begin with %s", LinkPrefix)
	}
	for i, r := range []rune(coded) {
		if !strings.ContainsRune(linkAlphabet, r) {
			return invalid("character %d, %q, does not belong there: copy the link again",
				len(LinkPrefix)+i+1, r)
		}
	}
	b, err := base64.RawURLEncoding.DecodeString(coded)
	switch {
	case err != nil || len(b) != linkSize:
		return invalid("it has %d characters, want %d: copy all of it", len(text), linkChars)
	case b[0] != formatVersion:
		return invalid("it is of version %d, and this program knows %d: use a newer one", b[0], formatVersion)
	case !bytes.Equal(linkSum(b[:linkSize-2]), b[linkSize-2:]):
		return invalid("a character of it is wrong: copy the link again")
	}
	return NewLink(private.KeyOf([32]byte(b[1:33])), [pinSize]byte(b[33:33+pinSize])), nil
}
