package history

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"

	"golang.org/x/crypto/chacha20poly1305"
	"golang.org/x/crypto/cryptobyte"

	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/private"
)

const (
	labelMailbox   = "starling/v1/history-mailbox\x00"
	labelAuthority = "starling/v1/history-authority\x00"
	labelKey       = "starling/v1/history-key\x00"
	labelChunk     = "starling/v1/history-chunk\x00"
)

const version = 1

// TTL is how long the mailbox, its chunks and the manifest live, in seconds.
const TTL = 14 * 24 * 3600

// Manifest tells one device of the account where its history lies and what opens it. It must reach own
// devices only.
type Manifest struct {
	To            ident.DeviceID // the device that joined
	From          ident.DeviceID
	Transfer      [16]byte    // random
	Seed          private.Key // random: mailbox and key come from it
	MadeAt        int64       // Unix milliseconds
	Messages      uint32      // how many the sender means to hand over
	Conversations uint32
	People        uint32
	Top           uint64 // no message has a higher Order
}

// Format keeps the seed out of logs.
func (m Manifest) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "history %x for device %s, %d messages", m.Transfer[:4], m.To, m.Messages)
}

// Encode returns the bytes of m.
func (m *Manifest) Encode() []byte {
	var b cryptobyte.Builder
	b.AddUint8(version)
	b.AddBytes(m.To[:])
	b.AddBytes(m.From[:])
	b.AddBytes(m.Transfer[:])
	seed := m.Seed.Reveal()
	b.AddBytes(seed[:])
	b.AddUint64(uint64(m.MadeAt))
	b.AddUint32(m.Messages)
	b.AddUint32(m.Conversations)
	b.AddUint32(m.People)
	b.AddUint64(m.Top)
	return b.BytesOrPanic()
}

// DecodeManifest reads what Encode wrote. Errors: Corrupt.
func DecodeManifest(p []byte) (*Manifest, error) {
	s := cryptobyte.String(p)
	var v uint8
	var at uint64
	var seed [private.Size]byte
	m := new(Manifest)
	if !s.ReadUint8(&v) || v != version || !s.CopyBytes(m.To[:]) || !s.CopyBytes(m.From[:]) ||
		!s.CopyBytes(m.Transfer[:]) || !s.CopyBytes(seed[:]) ||
		!s.ReadUint64(&at) || at > maxTime || !s.ReadUint32(&m.Messages) || !s.ReadUint32(&m.Conversations) ||
		!s.ReadUint32(&m.People) ||
		!s.ReadUint64(&m.Top) || m.Top > maxOrder || !s.Empty() {
		return nil, fault.New(fault.Corrupt, "read history manifest", "malformed")
	}
	m.Seed, m.MadeAt = private.KeyOf(seed), int64(at)
	return m, nil
}

// MailboxKey signs the genesis of the one-time mailbox; its public half is the mailbox.
func (m *Manifest) MailboxKey() private.SigningKey { return m.signer(labelMailbox) }

// Authority signs everything after the genesis.
func (m *Manifest) Authority() private.SigningKey { return m.signer(labelAuthority) }

// Mailbox is where the chunks lie.
func (m *Manifest) Mailbox() ident.MailboxID { return ident.MailboxID(m.MailboxKey().Public()) }

func (m *Manifest) signer(label string) private.SigningKey {
	return private.KeyOf(m.derive(label)).Signing()
}

func (m *Manifest) derive(label string) (out [32]byte) {
	seed := m.Seed.Reveal()
	b, err := hkdf.Key(sha256.New, seed[:], nil, label, len(out))
	if err != nil {
		panic("history: hkdf: " + err.Error()) // only for outputs over 8,160 bytes
	}
	copy(out[:], b)
	return out
}

// Sizes of a chunk: what is around the records, and the least and the largest padded length.
const (
	prefixSize = chacha20poly1305.NonceSizeX - 4 - 1
	overhead   = 1 + 1 + prefixSize + chacha20poly1305.Overhead + 3
	minChunk   = 1_024
	// MaxRecords is the most bytes of records that fit one chunk: its envelope's body is the largest there
	// is.
	MaxRecords = envelope.MaxBody - overhead
	// MaxChunks bounds a history.
	MaxChunks = 1 << 20
)

const flagLast = 1

// ChunkKey is the key of chunk i in namespace blobs.
func ChunkKey(i uint32) (k [envelope.KeySize]byte) {
	binary.BigEndian.PutUint32(k[12:], i)
	return k
}

// ChunkIndex reads what ChunkKey wrote; false for any other key.
func ChunkIndex(k [envelope.KeySize]byte) (uint32, bool) {
	i := binary.BigEndian.Uint32(k[12:])
	return i, k == ChunkKey(i) && i < MaxChunks
}

// Seal returns the body of chunk i with the given records, at most MaxRecords bytes. The prefix of the nonce
// is new each time, so a chunk may be sealed again with other contents. Errors: Invalid (too many bytes or
// chunks), Internal (rng failed).
func (m *Manifest) Seal(rng io.Reader, account ident.AccountID, i uint32, last bool,
	records []byte) ([]byte, error) {
	if len(records) > MaxRecords || i >= MaxChunks {
		return nil, fault.New(fault.Invalid, "seal history chunk", "has %d bytes, want at most %d",
			len(records), MaxRecords)
	}
	size := padded(max(overhead+len(records), minChunk))
	out := make([]byte, 2+prefixSize, size)
	out[0] = version
	if last {
		out[1] = flagLast
	}
	if _, err := io.ReadFull(rng, out[2:]); err != nil {
		return nil, fault.Wrap(fault.Internal, "draw a nonce", err)
	}
	plain := make([]byte, size-overhead+3)
	plain[0], plain[1], plain[2] = byte(len(records)>>16), byte(len(records)>>8), byte(len(records))
	copy(plain[3:], records)
	aead, nonce, aad := m.cipher(account, i, out)
	return aead.Seal(out, nonce, plain, aad), nil
}

// Open returns the records of chunk i and whether it is the last one. Errors: Corrupt.
func (m *Manifest) Open(account ident.AccountID, i uint32,
	body []byte) (records []byte, last bool, err error) {
	bad := func(why string) ([]byte, bool, error) {
		return nil, false, fault.New(fault.Corrupt, "open history chunk", "chunk %d %s", i, why)
	}
	if len(body) < overhead || len(body) > envelope.MaxBody || body[0] != version || body[1] > flagLast {
		return bad("is no chunk of this version")
	}
	aead, nonce, aad := m.cipher(account, i, body)
	plain, err := aead.Open(nil, nonce, body[2+prefixSize:], aad)
	if err != nil {
		return bad("does not open")
	}
	n := int(plain[0])<<16 | int(plain[1])<<8 | int(plain[2])
	if n > len(plain)-3 {
		return bad("is malformed inside")
	}
	for _, c := range plain[3+n:] {
		if c != 0 {
			return bad("is malformed inside")
		}
	}
	return plain[3 : 3+n], body[1] == flagLast, nil
}

// cipher returns what seals the chunk whose first bytes are head: version, flags and prefix.
func (m *Manifest) cipher(account ident.AccountID, i uint32, head []byte) (aead interface {
	Seal(dst, nonce, plaintext, additionalData []byte) []byte
	Open(dst, nonce, ciphertext, additionalData []byte) ([]byte, error)
}, nonce, aad []byte) {
	key := m.derive(labelKey)
	aead, err := chacha20poly1305.NewX(key[:])
	if err != nil {
		panic("history: " + err.Error()) // only for a wrong length
	}
	nonce = append(make([]byte, 0, chacha20poly1305.NonceSizeX), head[2:2+prefixSize]...)
	nonce = append(binary.BigEndian.AppendUint32(nonce, i), head[1])
	aad = append([]byte(labelChunk), account[:]...)
	return aead, nonce, append(aad, m.Transfer[:]...)
}

// padded is the Padmé length for n bytes: it leaks only O(log log n) bits of the size for at most 12 percent
// more.
func padded(n int) int {
	e := log2(n)
	low := 1<<(e-log2(e)-1) - 1
	return (n + low) &^ low
}

func log2(n int) (e int) {
	for ; n > 1; n >>= 1 {
		e++
	}
	return e
}
