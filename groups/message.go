package groups

import (
	"encoding/binary"
	"io"
	"time"

	"golang.org/x/crypto/chacha20poly1305"
	"golang.org/x/crypto/cryptobyte"

	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// MaxBlob is the largest message, sealed.
const MaxBlob = 98_304

const (
	prefixSize  = 1 + 4 + 4 + 24
	messageHead = 33 + 16 + 8 + 8 + 32 + 3
	minBlob     = 256
)

// Message is what a member wrote, opened and verified.
type Message struct {
	Sender ident.AccountID
	ID     ident.MessageID
	SentAt int64 // Unix milliseconds, the sender's word
	Body   []byte

	Generation uint32
	HeadIndex  uint64 // the log as its sender knew it
	HeadHash   [32]byte
	Behind     bool // the sender knows commits that the reader does not: fetch the log
}

// blobSize returns the smallest bucket that holds n bytes.
func blobSize(n int) (int, error) {
	size, step := minBlob, minBlob
	for size < n {
		if size >= 4096 && size&(size-1) == 0 {
			step = size / 4
		}
		size += step
	}
	if size > MaxBlob {
		return 0, fault.New(fault.Invalid, "seal group message", "has %d bytes, want at most %d", n, MaxBlob)
	}
	return size, nil
}

// Seal makes a message of the own account under today's key.
func (s *State) Seal(rng io.Reader, now time.Time, id ident.MessageID, body []byte) ([]byte, error) {
	return s.SealSent(rng, now, now.UnixMilli(), id, body)
}

// SealSent is Seal of a message that was written at sentAt, Unix milliseconds: it may have waited since.
func (s *State) SealSent(rng io.Reader, now time.Time, sentAt int64, id ident.MessageID,
	body []byte) ([]byte, error) {
	if sentAt < 0 || sentAt >= maxTimeMS {
		return nil, fault.New(fault.Invalid, "seal group message", "sent at %d ms, want 0 to %d",
			sentAt, maxTimeMS-1)
	}
	if s.grant == nil || s.core.over {
		return nil, fault.New(fault.Denied, "seal group message", "the group has not begun or is disbanded")
	}
	size, err := blobSize(prefixSize + messageHead + len(body) + 64 + 16)
	if err != nil {
		return nil, err
	}
	c := &s.chains[len(s.chains)-1]
	day := max(Day(now), c.day)
	key, err := c.key(day)
	if err != nil {
		return nil, err
	}
	defer key.wipe()
	prefix := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32([]byte{formatVersion}, c.g), day)
	prefix = append(prefix, make([]byte, 24)...)
	if _, err := io.ReadFull(rng, prefix[9:]); err != nil {
		return nil, fault.Wrap(fault.Internal, "draw a salt", err)
	}
	index, sum := s.Head()
	var b cryptobyte.Builder
	b.AddBytes(s.self[:])
	b.AddBytes(id[:])
	b.AddUint64(uint64(sentAt))
	b.AddUint64(index)
	b.AddBytes(sum[:])
	b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(body) })
	plain := b.BytesOrPanic()
	plain = append(plain, make([]byte, size-prefixSize-len(plain)-64-16)...)
	plain = append(plain, s.sign.sign(labelMessageSign, s.core.group[:], prefix, plain)...)
	a, aad, err := s.cipher(&key, c.g, day, prefix)
	if err != nil {
		return nil, err
	}
	return a.Seal(prefix, prefix[9:], plain, aad), nil
}

func (s *State) cipher(day *secret, g, d uint32, prefix []byte) (a interface {
	Seal(dst, nonce, plaintext, aad []byte) []byte
	Open(dst, nonce, ciphertext, aad []byte) ([]byte, error)
}, aad []byte, err error) {
	key := derive(day.b[:], prefix[9:], labelMessage, dayContext(s.core.group, g, d)...)
	defer key.wipe()
	a, err = chacha20poly1305.NewX(key.b[:])
	if err != nil {
		return nil, nil, fault.Wrap(fault.Internal, "seal group message", err)
	}
	return a, concat(labelMessage, s.core.group[:], prefix), nil
}

// GenerationOf returns the generation that a message says it is sealed for; anybody who may store messages
// can write any.
func GenerationOf(blob []byte) uint32 {
	if len(blob) < minBlob || blob[0] != formatVersion {
		return 0
	}
	return binary.BigEndian.Uint32(blob[1:])
}

// Open opens a message. Whether its mailbox sequence precedes the commit that ended its generation is for the
// caller to see.
//
// Errors: Denied (its key is erased, was never held, or is not yet: apply the log first), Unauthenticated
// (not written by a member of its generation), Stale (its sender has another log: a fork; the message comes
// with it), Corrupt (malformed).
func (s *State) Open(blob []byte) (*Message, error) {
	if len(blob) < minBlob || len(blob) > MaxBlob || blob[0] != formatVersion {
		return nil, fault.New(fault.Corrupt, "open group message", "has %d bytes or another version",
			len(blob))
	}
	prefix := blob[:prefixSize:prefixSize]
	g, day := binary.BigEndian.Uint32(prefix[1:]), binary.BigEndian.Uint32(prefix[5:])
	key, err := s.dayKey(g, day)
	if err != nil {
		return nil, err
	}
	defer key.wipe()
	a, aad, err := s.cipher(&key, g, day, prefix)
	if err != nil {
		return nil, err
	}
	plain, err := a.Open(nil, prefix[9:], blob[prefixSize:], aad)
	if err != nil {
		return nil, fault.New(fault.Denied, "open group message",
			"does not open with the key of generation %d, day %d", g, day)
	}
	m, err := decodeMessage(plain)
	if err != nil {
		return nil, err
	}
	m.Generation = g
	signer, ok := s.core.signer(m.Sender, g)
	signed := len(plain) - 64
	if !ok || !verify(signer, plain[signed:], labelMessageSign, s.core.group[:], prefix, plain[:signed]) {
		return nil, fault.New(fault.Unauthenticated, "open group message",
			"not signed by a member of generation %d", g)
	}
	if known, ok := s.headAt(m.HeadIndex); ok && known != m.HeadHash {
		return m, fault.New(fault.Stale, "open group message",
			"its sender has another log: forked at or before commit %d", m.HeadIndex)
	}
	m.Behind = m.HeadIndex > s.core.index
	return m, nil
}

func (s *State) dayKey(g, day uint32) (secret, error) {
	for i := range s.chains {
		if s.chains[i].g == g {
			return s.chains[i].key(day)
		}
	}
	return secret{}, fault.New(fault.Denied, "find day key", "no keys of generation %d", g)
}

func decodeMessage(plain []byte) (*Message, error) {
	s, m := cryptobyte.String(plain), new(Message)
	var at uint64
	var body cryptobyte.String
	if !s.CopyBytes(m.Sender[:]) || !s.CopyBytes(m.ID[:]) || !s.ReadUint64(&at) || at >= maxTimeMS ||
		!s.ReadUint64(&m.HeadIndex) ||
		!s.CopyBytes(m.HeadHash[:]) || !s.ReadUint24LengthPrefixed(&body) || len(s) < 64 ||
		!zeros(s[:len(s)-64]) {
		return nil, fault.New(fault.Corrupt, "open group message", "malformed")
	}
	m.SentAt, m.Body = int64(at), append([]byte(nil), body...)
	return m, nil
}
