package envelope

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"

	"golang.org/x/crypto/cryptobyte"

	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// LabelStamp opens what an admission stamp's work is done over.
const LabelStamp = "starling/v1/admission-stamp\x00"

// admissionStamp is the admission kind of a proof of work. 2 (access key) and 3 (token) are reserved.
const admissionStamp = 1

// stampSize is hour u32 | nonce u64.
const stampSize = 12

const hourMS = 3_600_000

// SolveStamp returns an admission for the envelope with hash h in mailbox m: a proof of about 2^difficulty
// hashes of work that is valid around the hour of nowMS (Unix milliseconds). At difficulty 0 it costs
// nothing.
func SolveStamp(m ident.MailboxID, h Hash, nowMS int64, difficulty uint8) []byte {
	hour := uint32(nowMS / hourMS)
	in := stampInput(m, h, hour)
	for nonce := uint64(0); ; nonce++ {
		binary.BigEndian.PutUint64(in[len(in)-8:], nonce)
		if leadingZeros(sha256.Sum256(in)) >= int(difficulty) {
			var b cryptobyte.Builder
			b.AddUint8(admissionStamp)
			b.AddUint16(stampSize)
			b.AddUint32(hour)
			b.AddUint64(nonce)
			return b.BytesOrPanic()
		}
	}
}

// CheckStamp verifies an admission for the envelope with hash h in mailbox m at nowMS. A stamp of the hour
// before or after is good too, so that neither a clock nor a slow path makes the work void. At difficulty 0
// every admission passes. Errors: Denied.
func CheckStamp(admission []byte, m ident.MailboxID, h Hash, nowMS int64, difficulty uint8) *fault.Error {
	if difficulty == 0 {
		return nil
	}
	refuse := func(format string, args ...any) *fault.Error {
		return fault.New(fault.Denied, "check admission", format, args...)
	}
	s := cryptobyte.String(admission)
	var kind uint8
	var size uint16
	var hour uint32
	var nonce uint64
	if !s.ReadUint8(&kind) || !s.ReadUint16(&size) || int(size) != len(s) {
		return refuse("a stamp of %d bits is wanted", difficulty)
	}
	if kind != admissionStamp || !s.ReadUint32(&hour) || !s.ReadUint64(&nonce) || !s.Empty() {
		return refuse("admission kind %d is malformed or unknown", kind)
	}
	if now := nowMS / hourMS; int64(hour) < now-1 || int64(hour) > now+1 {
		return refuse("the stamp is for hour %d, want %d", hour, now)
	}
	in := stampInput(m, h, hour)
	binary.BigEndian.PutUint64(in[len(in)-8:], nonce)
	if got := leadingZeros(sha256.Sum256(in)); got < int(difficulty) {
		return refuse("the stamp has %d bits, want %d", got, difficulty)
	}
	return nil
}

// stampInput returns label | mailbox 32 | hash 32 | hour u32 | nonce u64, the nonce zero.
func stampInput(m ident.MailboxID, h Hash, hour uint32) []byte {
	in := make([]byte, 0, len(LabelStamp)+32+32+4+8)
	in = append(in, LabelStamp...)
	in = append(in, m[:]...)
	in = append(in, h[:]...)
	in = binary.BigEndian.AppendUint32(in, hour)
	return binary.BigEndian.AppendUint64(in, 0)
}

func leadingZeros(sum [32]byte) int {
	for i, b := range sum {
		if b != 0 {
			return 8*i + bits.LeadingZeros8(b)
		}
	}
	return 256
}
