package onion

import (
	"bytes"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"slices"
	"testing"

	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/private"
)

var update = flag.Bool("update", false,
	"write testdata/vectors.json anew; only for a new version of the formats")

const vectorFile = "testdata/vectors.json"

// hexBytes is binary data as hex in JSON.
type hexBytes []byte

func (h hexBytes) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(h)), nil }
func (h *hexBytes) UnmarshalText(b []byte) (err error) {
	*h, err = hex.DecodeString(string(b))
	return err
}

// vectors pin the formats: they were written once and must be read for ever.
type vectors struct {
	Create struct {
		Seeds, Nodes []hexBytes // of the four hops
		Period       uint32
		Packet       hexBytes   // CREATE_1 without padding
		Exports      []hexBytes // what the client and each hop derive
		ReplayTag    hexBytes   // of CREATE_1
		CircuitTag   hexBytes
		Header       Header // of hop 2
	}
	Keys struct {
		Hop                               int
		Export, ClientPrivate, HopPrivate hexBytes
		Forward, Backward, Ratcheted      hexBytes // keys; the last is the forward key after 1,024 cells
	}
	Created struct { // hops with the keys above, exports 01.., 02.. and so on
		Exports, ClientPrivates, HopPrivates []hexBytes
		Frame                                hexBytes
		TimesMS                              []int64
	}
	Cells struct { // circuit of made-up keys: 32 times the byte 16 x direction + hop
		Forward     hexBytes // first cell: REQ on stream 1, start, data "hello"
		ForwardHash hexBytes // SHA-256 of cells 0 to 1,030 of the same payload, one after the other
		Backward    hexBytes // first cell from hop 4 at the client: PONG 7
	}
}

func TestFrozenVectors(t *testing.T) {
	if *update {
		writeVectors(t)
	}
	b, err := os.ReadFile(vectorFile)
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	t.Run("create", func(t *testing.T) { checkCreate(t, &v) })
	t.Run("keys", func(t *testing.T) { checkKeys(t, &v) })
	t.Run("created", func(t *testing.T) { checkCreated(t, &v) })
	t.Run("cells", func(t *testing.T) { checkCells(t, &v) })
}

func checkCreate(t *testing.T, v *vectors) {
	layer := []byte(v.Create.Packet)
	for j := 1; j <= Hops; j++ {
		frame := make([]byte, CreateSize)
		pad(t, frame, layer)
		key, err := ParsePrivate(private.KeyOf([SeedSize]byte(v.Create.Seeds[j-1])))
		if err != nil {
			t.Fatal(err)
		}
		if tag := ReplayTag(frame); j == 1 && !bytes.Equal(tag[:], v.Create.ReplayTag) {
			t.Errorf("replay tag %x, want %x", tag, v.Create.ReplayTag)
		}
		c, err := OpenCreate(key, ident.NodeID(v.Create.Nodes[j-1]), v.Create.Period, frame)
		if err != nil {
			t.Fatalf("hop %d: %v", j, err)
		}
		if !bytes.Equal(c.export, v.Create.Exports[j-1]) {
			t.Errorf("hop %d: export %x, want %x", j, c.export, v.Create.Exports[j-1])
		}
		if j == 2 && c.Header != v.Create.Header {
			t.Errorf("header %+v, want %+v", c.Header, v.Create.Header)
		}
		if j == Hops && !bytes.Equal(c.Tag[:], v.Create.CircuitTag) {
			t.Errorf("circuit tag %x, want %x", c.Tag, v.Create.CircuitTag)
		}
		layer = c.Inner
	}
}

func privateOf(t *testing.T, b []byte) *ecdh.PrivateKey {
	t.Helper()
	k, err := ecdh.X25519().NewPrivateKey(b)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func checkKeys(t *testing.T, v *vectors) {
	client, hop := privateOf(t, v.Keys.ClientPrivate), privateOf(t, v.Keys.HopPrivate)
	share, answer := client.PublicKey().Bytes(), hop.PublicKey().Bytes()
	for side, keys := range map[string][2][]byte{"client": {v.Keys.ClientPrivate, answer},
		"hop": {v.Keys.HopPrivate, share}} {
		f, b, err := deriveKeys(v.Keys.Hop, v.Keys.Export, privateOf(t, keys[0]), keys[1], share, answer)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(f.key[:], v.Keys.Forward) || !bytes.Equal(b.key[:], v.Keys.Backward) {
			t.Errorf("%s: keys %x and %x, want %x and %x", side, f.key, b.key, v.Keys.Forward,
				v.Keys.Backward)
		}
		for range ratchetEvery + 1 {
			f.next()
		}
		if !bytes.Equal(f.key[:], v.Keys.Ratcheted) {
			t.Errorf("%s: ratcheted key %x, want %x", side, f.key, v.Keys.Ratcheted)
		}
	}
}

func checkCreated(t *testing.T, v *vectors) {
	p := new(Pending)
	for j := range Hops {
		p.hops[j] = pendingHop{export: v.Created.Exports[j], share: privateOf(t, v.Created.ClientPrivates[j])}
	}
	_, answers, err := p.Finish(bytes.Clone(v.Created.Frame))
	if err != nil {
		t.Fatal(err)
	}
	for j, a := range answers {
		if a.TimeMS != v.Created.TimesMS[j] || a.Digest[0] != byte(j+1) {
			t.Errorf("answer %d is %+v", j+1, a)
		}
	}
}

func checkCells(t *testing.T, v *vectors) {
	l := keyed()
	cell := bytes.Clone(v.Cells.Forward)
	var got Payload
	for j := range Hops {
		mine, err := l.hops[j].Forward(cell)
		if err != nil {
			t.Fatalf("hop %d: %v", j+1, err)
		}
		if mine != nil {
			if got, err = DecodePayload(mine); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got.Command != Req || got.Stream != 1 || got.Flags != FlagStart || string(got.Data) != "hello" {
		t.Errorf("got %+v", got)
	}
	if h := hashCells(keyed()); !bytes.Equal(h, v.Cells.ForwardHash) {
		t.Errorf("hash of 1,031 cells is %x, want %x", h, v.Cells.ForwardHash)
	}
	hop, mine, err := l.circuit.Open(bytes.Clone(v.Cells.Backward))
	if err != nil || hop != Hops {
		t.Fatalf("backward: hop %d, %v", hop, err)
	}
	if p, err := DecodePayload(mine); err != nil || p.Command != Pong || p.Number() != 7 {
		t.Errorf("backward: %+v, %v", p, err)
	}
}

var vectorPayload = Payload{Command: Req, Stream: 1, Flags: FlagStart, Data: []byte("hello")}

func sealed(l *line) []byte {
	cell := make([]byte, CellSize)
	vectorPayload.Put(l.circuit.Payload(cell, Hops))
	l.circuit.Seal(cell, Hops)
	return cell
}

func hashCells(l *line) []byte {
	d := sha256.New()
	for range ratchetEvery + 7 {
		d.Write(sealed(l))
	}
	return d.Sum(nil)
}

// writeVectors makes new vectors. It needs randomness, so that what it writes differs each time.
func writeVectors(t *testing.T) {
	var v vectors
	p := Params{Class: MSG, Bucket: 5_832_000, Lifetime: 86_400}
	v.Create.Period = testPeriod
	for j := range Hops {
		seed, public, err := GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		pub, err := ParsePublic(public[:])
		if err != nil {
			t.Fatal(err)
		}
		node := ident.NodeIDOf(public[:])
		p.Hops[j] = HopKey{node, testPeriod, pub}
		plain := seed.Reveal()
		v.Create.Seeds = append(v.Create.Seeds, plain[:])
		v.Create.Nodes = append(v.Create.Nodes, node[:])
	}
	pending, frame, err := Build(rand.Reader, p)
	if err != nil {
		t.Fatal(err)
	}
	v.Create.Packet = slices.Clone(frame[:createSize(1)])
	replay := ReplayTag(frame)
	v.Create.ReplayTag, v.Create.CircuitTag = replay[:], pending.Tag[:]
	for j := range Hops {
		v.Create.Exports = append(v.Create.Exports, pending.hops[j].export)
	}
	v.Create.Header = Header{Class: MSG, Hop: 2, Next: p.Hops[2].Node, Bucket: p.Bucket, Lifetime: p.Lifetime}
	copy(v.Create.Header.Share[:], pending.hops[1].share.PublicKey().Bytes())

	fixed := func(b byte) hexBytes { return bytes.Repeat([]byte{b}, 32) }
	v.Keys.Hop, v.Keys.Export, v.Keys.ClientPrivate, v.Keys.HopPrivate = 3, fixed(1), fixed(2), fixed(3)
	client, hop := privateOf(t, fixed(2)), privateOf(t, fixed(3))
	share, answer := client.PublicKey().Bytes(), hop.PublicKey().Bytes()
	f, b, err := deriveKeys(3, fixed(1), client, answer, share, answer)
	if err != nil {
		t.Fatal(err)
	}
	v.Keys.Forward, v.Keys.Backward = bytes.Clone(f.key[:]), b.key[:]
	for range ratchetEvery + 1 {
		f.next()
	}
	v.Keys.Ratcheted = f.key[:]

	created := make([]byte, CellSize)
	for j := Hops; j >= 1; j-- {
		own, clientKey := privateOf(t, fixed(byte(0x40+j))), privateOf(t, fixed(byte(0x20+j)))
		h := &Hop{hop: j, share: own.PublicKey().Bytes()}
		share := clientKey.PublicKey().Bytes()
		if h.fwd, h.bwd, err = deriveKeys(j, fixed(byte(j)), own, share, share, h.share); err != nil {
			t.Fatal(err)
		}
		if err := h.SealCreated(created, Answer{TimeMS: int64(1000 * j),
			Digest: [32]byte{byte(j)}}); err != nil {
			t.Fatal(err)
		}
	}
	v.Created.Frame = created
	for j := 1; j <= Hops; j++ {
		v.Created.Exports = append(v.Created.Exports, fixed(byte(j)))
		v.Created.ClientPrivates = append(v.Created.ClientPrivates, fixed(byte(0x20+j)))
		v.Created.HopPrivates = append(v.Created.HopPrivates, fixed(byte(0x40+j)))
		v.Created.TimesMS = append(v.Created.TimesMS, int64(1000*j))
	}

	v.Cells.Forward, v.Cells.ForwardHash = sealed(keyed()), hashCells(keyed())
	l := keyed()
	back := make([]byte, CellSize)
	U64(Pong, 0, 7).Put(l.hops[Hops-1].Own(back))
	l.hops[Hops-1].SealOwn(back)
	for j := Hops - 2; j >= 0; j-- {
		if err := l.hops[j].Backward(back); err != nil {
			t.Fatal(err)
		}
	}
	v.Cells.Backward = back
	out, err := json.MarshalIndent(&v, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(vectorFile, append(out, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}
