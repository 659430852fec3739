package envelope

import (
	"time"

	"golang.org/x/crypto/cryptobyte"

	"github.com/starling-swarm/starling/internal/fault"
)

// Envelope is the stored unit, as it is read and pushed.
type Envelope struct {
	Seq       uint64 // given by the mailbox's one counter over all namespaces
	Namespace Namespace
	Key       [KeySize]byte
	StoredAt  int64 // Unix milliseconds, stamped by the swarm's leader
	Expiry    int64 // Unix milliseconds; 0: permanent
	Body      []byte
}

// Response answers a Request: one Result for each operation, in order. With Mode All a failure leaves one
// Result with its Err, that of the operation that failed, and Failed is that operation's index.
type Response struct {
	Clock     int64  // the state machine's clock, Unix milliseconds
	CertsHead uint64 // sequence number of the newest certificate, of a group the newest commit; 0: none
	Failed    int    // -1: none, or Mode Each
	Results   []Result
}

// Result is what one operation gave. Which fields are set depends on the operation.
type Result struct {
	Err       *fault.Error // nil: done
	Seq       uint64       // store: the envelope's sequence number; retrieve: last sequence number looked at
	Expiry    int64        // store: Unix milliseconds, 0 permanent
	Existed   bool         // store: the same envelope was there before
	Deleted   uint32       // deletes: how many went
	More      bool         // retrieve: there is more after Seq
	Envelopes []Envelope   // retrieve, retrieve by key
	Info      *MailboxInfo // info
	// info, and a retrieve that reached the mailbox's head: a group's running hash there
	Running [32]byte
}

// MailboxInfo answers Info.
type MailboxInfo struct {
	Exists           bool
	NextSeq          uint64
	Bytes, Count     uint64
	QuotaBytes       uint64
	StampDifficulty  uint8 // bits of an inbox store's admission stamp
	Replicas         uint8
	DirectoryVersion uint64
}

const (
	resultExisted = 1 << 0
	resultMore    = 1 << 1
	resultInfo    = 1 << 2
	resultRunning = 1 << 3
)

// Encode returns the bytes of r.
func (r *Response) Encode() []byte {
	var b cryptobyte.Builder
	b.AddUint8(Version)
	b.AddUint64(uint64(r.Clock))
	b.AddUint64(r.CertsHead)
	b.AddUint8(uint8(r.Failed + 1))
	b.AddUint8(uint8(len(r.Results)))
	for i := range r.Results {
		r.Results[i].encode(&b)
	}
	return b.BytesOrPanic()
}

func (r *Result) encode(b *cryptobyte.Builder) {
	addFault(b, r.Err)
	if r.Err != nil {
		return
	}
	flags := boolByte(r.Existed)*resultExisted | boolByte(r.More)*resultMore | boolByte(
		r.Info != nil)*resultInfo | boolByte(r.Running != [32]byte{})*resultRunning
	b.AddUint8(flags)
	b.AddUint64(r.Seq)
	b.AddUint64(uint64(r.Expiry))
	b.AddUint32(r.Deleted)
	b.AddUint16(uint16(len(r.Envelopes)))
	for i := range r.Envelopes {
		r.Envelopes[i].encode(b)
	}
	if r.Running != [32]byte{} {
		b.AddBytes(r.Running[:])
	}
	if r.Info != nil {
		b.AddUint8(boolByte(r.Info.Exists))
		b.AddUint64(r.Info.NextSeq)
		b.AddUint64(r.Info.Bytes)
		b.AddUint64(r.Info.Count)
		b.AddUint64(r.Info.QuotaBytes)
		b.AddUint8(r.Info.StampDifficulty)
		b.AddUint8(r.Info.Replicas)
		b.AddUint64(r.Info.DirectoryVersion)
	}
}

// addFault writes kind u8 and, for an error, retry-after ms u32 | head u64 | version u64 | text. Only the
// Detail of a classified error leaves the node.
func addFault(b *cryptobyte.Builder, e *fault.Error) {
	if e == nil {
		b.AddUint8(0)
		return
	}
	b.AddUint8(uint8(e.Kind))
	b.AddUint32(uint32(min(max(e.RetryAfter.Milliseconds(), 0), 1<<32-1)))
	b.AddUint64(e.Head)
	b.AddUint64(e.Version)
	text := e.Detail
	if len(text) > MaxDetail {
		text = text[:MaxDetail]
	}
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(text)) })
}

func readFault(s *cryptobyte.String) (*fault.Error, bool) {
	var kind uint8
	if !s.ReadUint8(&kind) {
		return nil, false
	}
	if kind == 0 {
		return nil, true
	}
	var ms uint32
	var text cryptobyte.String
	e := &fault.Error{Kind: fault.Kind(kind)}
	if !e.Kind.Valid() || !s.ReadUint32(&ms) || !s.ReadUint64(&e.Head) || !s.ReadUint64(&e.Version) ||
		!s.ReadUint8LengthPrefixed(&text) {
		return nil, false
	}
	e.RetryAfter, e.Detail = time.Duration(ms)*time.Millisecond, string(text)
	return e, true
}

// EncodeFault returns the bytes of an error that stands in place of a whole response (an END, a refused
// request).
func EncodeFault(e *fault.Error) []byte {
	var b cryptobyte.Builder
	addFault(&b, e)
	return b.BytesOrPanic()
}

// DecodeFault reads what EncodeFault wrote.
func DecodeFault(p []byte) (*fault.Error, error) {
	s := cryptobyte.String(p)
	e, ok := readFault(&s)
	if !ok || !s.Empty() || e == nil {
		return nil, fault.New(fault.Invalid, "decode error", "is malformed")
	}
	return e, nil
}

// EncodedSize returns len(e.Encode()): what the envelope counts for in the byte limit of a page.
func (e *Envelope) EncodedSize() int { return envelopeHeader + len(e.Body) }

const envelopeHeader = 8 + 2 + KeySize + 8 + 8 + 3

func (e *Envelope) encode(b *cryptobyte.Builder) {
	b.AddUint64(e.Seq)
	b.AddUint16(uint16(e.Namespace))
	b.AddBytes(e.Key[:])
	b.AddUint64(uint64(e.StoredAt))
	b.AddUint64(uint64(e.Expiry))
	b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(e.Body) })
}

func (e *Envelope) decode(s *cryptobyte.String) bool {
	var ns uint16
	var stored, expiry uint64
	var body cryptobyte.String
	if !s.ReadUint64(&e.Seq) || !s.ReadUint16(&ns) || !s.CopyBytes(e.Key[:]) || !s.ReadUint64(&stored) ||
		!s.ReadUint64(&expiry) || !s.ReadUint24LengthPrefixed(&body) || len(body) > MaxBody {
		return false
	}
	e.Namespace, e.StoredAt, e.Expiry, e.Body = Namespace(ns), int64(stored), int64(expiry), body
	return true
}

// Encode returns the bytes of one envelope, as pushed.
func (e *Envelope) Encode() []byte {
	var b cryptobyte.Builder
	e.encode(&b)
	return b.BytesOrPanic()
}

// DecodeEnvelope reads what Encode wrote. Body aliases p.
func DecodeEnvelope(p []byte) (e Envelope, err error) {
	s := cryptobyte.String(p)
	if !e.decode(&s) || !s.Empty() {
		return e, fault.New(fault.Invalid, "decode envelope", "is malformed")
	}
	return e, nil
}

// DecodeResponse reads what Encode wrote. Bodies alias p.
func DecodeResponse(p []byte) (*Response, error) {
	bad := fault.New(fault.Invalid, "decode response", "is malformed")
	s := cryptobyte.String(p)
	var version, failed, count uint8
	var clock uint64
	r := new(Response)
	if !s.ReadUint8(&version) || version != Version || !s.ReadUint64(&clock) || !s.ReadUint64(&r.CertsHead) ||
		!s.ReadUint8(&failed) || failed > MaxOps || !s.ReadUint8(&count) || count > MaxOps {
		return nil, bad
	}
	r.Clock, r.Failed, r.Results = int64(clock), int(failed)-1, make([]Result, count)
	for i := range r.Results {
		if !r.Results[i].decode(&s) {
			return nil, bad
		}
	}
	if !s.Empty() {
		return nil, bad
	}
	return r, nil
}

func (r *Result) decode(s *cryptobyte.String) (ok bool) {
	if r.Err, ok = readFault(s); !ok || r.Err != nil {
		return ok
	}
	var flags uint8
	var expiry uint64
	var n uint16
	if !s.ReadUint8(&flags) || flags > resultExisted|resultMore|resultInfo|resultRunning ||
		!s.ReadUint64(&r.Seq) ||
		!s.ReadUint64(&expiry) || !s.ReadUint32(&r.Deleted) || !s.ReadUint16(&n) || n > MaxPageCount ||
		int(n)*envelopeHeader > len(*s) {
		return false
	}
	r.Existed, r.More, r.Expiry = flags&resultExisted != 0, flags&resultMore != 0, int64(expiry)
	if n > 0 {
		r.Envelopes = make([]Envelope, n)
	}
	for i := range r.Envelopes {
		if !r.Envelopes[i].decode(s) {
			return false
		}
	}
	if flags&resultRunning != 0 && (!s.CopyBytes(r.Running[:]) || r.Running == [32]byte{}) {
		return false
	}
	if flags&resultInfo == 0 {
		return true
	}
	r.Info = new(MailboxInfo)
	var exists uint8
	ok = s.ReadUint8(&exists) && exists <= 1 && s.ReadUint64(&r.Info.NextSeq) &&
		s.ReadUint64(&r.Info.Bytes) &&
		s.ReadUint64(&r.Info.Count) && s.ReadUint64(&r.Info.QuotaBytes) &&
		s.ReadUint8(&r.Info.StampDifficulty) &&
		s.ReadUint8(&r.Info.Replicas) && s.ReadUint64(&r.Info.DirectoryVersion)
	r.Info.Exists = exists == 1
	return ok
}

// Refuse returns the response of a request that failed as a whole.
func Refuse(err *fault.Error) *Response {
	return &Response{Failed: 0, Results: []Result{{Err: err}}}
}

// Err returns the error of a request with Mode All, or of its one operation; nil if all is done.
func (r *Response) Err() error {
	for i := range r.Results {
		if r.Results[i].Err != nil {
			return r.Results[i].Err
		}
	}
	return nil
}
