package onion

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"testing"

	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// relay is a node of a test path.
type relay struct {
	id  ident.NodeID
	key *PrivateKey
}

const testPeriod = 81_000

// newPath makes four nodes and the parameters of a circuit through them.
func newPath(t testing.TB) ([Hops]relay, Params) {
	t.Helper()
	var rs [Hops]relay
	p := Params{Class: MSG, Bucket: 5_832_000, Lifetime: 3600}
	for i := range rs {
		seed, public, err := GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		rs[i].id = ident.NodeIDOf(public[:])
		if rs[i].key, err = ParsePrivate(seed); err != nil {
			t.Fatal(err)
		}
		pub, err := ParsePublic(public[:])
		if err != nil {
			t.Fatal(err)
		}
		p.Hops[i] = HopKey{Node: rs[i].id, Period: testPeriod, Key: pub}
	}
	return rs, p
}

func pad(t testing.TB, frame, create []byte) {
	t.Helper()
	if err := Pad(rand.Reader, frame, create); err != nil {
		t.Fatal(err)
	}
}

// line is a circuit with all its ends in one place. wire sees (and may change) every frame on link i, from 1
// at the client; forward frames have even calls.
type line struct {
	circuit *Circuit
	answers []Answer
	hops    [Hops]*Hop
	tag     [TagSize]byte // as the storage node sees it
}

// establish builds a circuit; wire is called with every frame on its way and may change it.
func establish(t testing.TB, wire func(link int, frame []byte)) (*line, error) {
	t.Helper()
	rs, p := newPath(t)
	pending, frame, err := Build(rand.Reader, p)
	if err != nil {
		t.Fatal(err)
	}
	l := &line{}
	for j := 1; j <= Hops; j++ {
		wire(j, frame)
		c, err := OpenCreate(rs[j-1].key, rs[j-1].id, testPeriod, frame)
		if err != nil {
			return nil, err
		}
		if j < Hops && c.Next != rs[j].id || c.Hop != j || c.Bucket != p.Bucket || c.Lifetime != p.Lifetime ||
			c.Class != MSG {
			t.Fatalf("hop %d reads %+v", j, c.Header)
		}
		if l.hops[j-1], err = c.Accept(rand.Reader); err != nil {
			return nil, err
		}
		if j == Hops {
			l.tag = c.Tag
			break
		}
		frame = make([]byte, CreateSize)
		pad(t, frame, c.Inner)
	}
	created := make([]byte, CellSize)
	for j := Hops; j >= 1; j-- {
		a := Answer{TimeMS: int64(1_000_000 + j), Digest: [32]byte{byte(j)}}
		if err := l.hops[j-1].SealCreated(created, a); err != nil {
			return nil, err
		}
		wire(j, created)
	}
	l.circuit, l.answers, err = pending.Finish(created)
	if err != nil {
		return nil, err
	}
	if l.circuit.Tag != l.tag {
		t.Fatalf("client has tag %x, storage node %x", l.circuit.Tag, l.tag)
	}
	return l, nil
}

// forth carries a payload to a hop and returns what that hop reads, or the number of the hop that refused the
// cell.
func (l *line) forth(p Payload, to int, wire func(link int, frame []byte)) (got Payload, at int, err error) {
	cell := make([]byte, CellSize)
	p.Put(l.circuit.Payload(cell, to))
	l.circuit.Seal(cell, to)
	for j := 1; j <= Hops; j++ {
		wire(j, cell)
		mine, err := l.hops[j-1].Forward(cell)
		if err != nil {
			return got, j, err
		}
		if mine != nil {
			got, err = DecodePayload(mine)
			return got, j, err
		}
	}
	return got, 0, errors.New("nobody took the cell")
}

// back carries a payload from a hop and returns what the client reads and from whom.
func (l *line) back(p Payload, from int,
	wire func(link int, frame []byte)) (got Payload, hop int, err error) {
	cell := make([]byte, CellSize)
	h := l.hops[from-1]
	p.Put(h.Own(cell))
	h.SealOwn(cell)
	for j := from; ; j-- {
		wire(j, cell)
		if j == 1 {
			break
		}
		if err := l.hops[j-2].Backward(cell); err != nil {
			return got, j - 1, err
		}
	}
	hop, mine, err := l.circuit.Open(cell)
	if err != nil {
		return got, hop, err
	}
	got, err = DecodePayload(mine)
	return got, hop, err
}

func untouched(int, []byte) {}

func TestCellsReachEveryHopAndComeBack(t *testing.T) {
	seen := map[int]bool{}
	sizes := func(link int, frame []byte) { seen[len(frame)] = true }
	l, err := establish(t, sizes)
	if err != nil {
		t.Fatal(err)
	}
	for j, a := range l.answers {
		if a.TimeMS != int64(1_000_001+j) || a.Digest[0] != byte(j+1) || a.Status != StatusOK {
			t.Errorf("answer %d is %+v", j+1, a)
		}
	}
	for range 3 {
		for hop := 1; hop <= Hops; hop++ {
			want := U64(Ping, 0, uint64(hop))
			if got, at, err := l.forth(want, hop, sizes); err != nil || at != hop ||
				got.Number() != uint64(hop) {
				t.Fatalf("ping of hop %d: got %+v at hop %d, %v", hop, got, at, err)
			}
			if got, at, err := l.back(U64(Pong, 0, 7), hop, sizes); err != nil || at != hop ||
				got.Number() != 7 {
				t.Fatalf("pong of hop %d: got %+v from hop %d, %v", hop, got, at, err)
			}
		}
		data := bytes.Repeat([]byte{0xa5}, DataSize)
		if got, _, err := l.forth(Payload{Command: Req, Stream: 1, Flags: FlagStart, Data: data}, Hops,
			sizes); err != nil || !bytes.Equal(got.Data, data) {
			t.Fatalf("full cell: got %d bytes, %v", len(got.Data), err)
		}
	}
	if len(seen) != 2 || !seen[CreateSize] || !seen[CellSize] {
		t.Errorf("frame sizes on the links are %v, want %d and %d only", seen, CreateSize, CellSize)
	}
}

func TestRatchetKeepsBothEndsInStep(t *testing.T) {
	l, err := establish(t, untouched)
	if err != nil {
		t.Fatal(err)
	}
	first := l.hops[2].fwd.key
	for i := range 2*ratchetEvery + 10 {
		if got, _, err := l.forth(U64(Ping, 0, uint64(i)), Hops, untouched); err != nil ||
			got.Number() != uint64(i) {
			t.Fatalf("cell %d forth: %v", i, err)
		}
		if got, _, err := l.back(U64(Pong, 0, uint64(i)), Hops, untouched); err != nil ||
			got.Number() != uint64(i) {
			t.Fatalf("cell %d back: %v", i, err)
		}
	}
	if l.hops[2].fwd.key == first {
		t.Error("the key is the same after 2,058 cells")
	}
}

// flip returns a wire function that flips one bit of the nth frame on a link.
func flip(link, nth, bit int) func(int, []byte) {
	return func(l int, frame []byte) {
		if l != link {
			return
		}
		if nth == 0 {
			frame[bit/8] ^= 1 << (bit % 8)
		}
		nth--
	}
}

func TestFlippedBitOfCreateOrCreatedEndsTheCircuit(t *testing.T) {
	step := 97
	if testing.Short() {
		step = 1009
	}
	for link := 1; link <= Hops; link++ {
		for bit := link; bit < 8*createSize(link); bit += step * 8 {
			if _, err := establish(t, flip(link, 0, bit)); err == nil {
				t.Fatalf("bit %d of CREATE on link %d was flipped and nobody noticed", bit, link)
			}
		}
		for bit := link; bit < 8*CellSize; bit += step * 8 {
			if _, err := establish(t, flip(link, 1, bit)); err == nil {
				t.Fatalf("bit %d of CREATED on link %d was flipped and nobody noticed", bit, link)
			}
		}
	}
}

func TestFlippedBitOfCellIsRefusedByTheNextHop(t *testing.T) {
	step := 13
	if testing.Short() {
		step = 401
	}
	for link := 1; link <= Hops; link++ {
		for bit := link; bit < 8*CellSize; bit += step {
			l := keyed()
			_, at, err := l.forth(U64(Ping, 0, 1), Hops, flip(link, 0, bit))
			if err == nil || at != link {
				t.Fatalf("bit %d forward on link %d: error %v at hop %d, want one at hop %d", bit,
					link, err, at, link)
			}
			_, _, err = l.back(U64(Pong, 0, 1), Hops, flip(link, 0, bit))
			if err == nil {
				t.Fatalf("bit %d backward on link %d was flipped and nobody noticed", bit, link)
			}
		}
	}
}

// keyed returns a circuit with keys made up, for tests that need many.
func keyed() *line {
	l := &line{circuit: new(Circuit)}
	for j := 1; j <= Hops; j++ {
		chainOf := func(direction int) *chain {
			return newChain(bytes.Repeat([]byte{byte(16*direction + j)}, 32), direction, j)
		}
		l.hops[j-1] = &Hop{hop: j, fwd: chainOf(forward), bwd: chainOf(backward)}
		l.circuit.hops[j-1] = circuitHop{fwd: chainOf(forward), bwd: chainOf(backward)}
	}
	return l
}

func TestReplayedReorderedAndLostCellsAreRefused(t *testing.T) {
	cell := func(l *line) []byte {
		c := make([]byte, CellSize)
		Payload{Command: Drop}.Put(l.circuit.Payload(c, Hops))
		l.circuit.Seal(c, Hops)
		return c
	}
	cases := map[string]func(a, b []byte) [][]byte{
		"replayed":  func(a, _ []byte) [][]byte { return [][]byte{a, a} },
		"reordered": func(a, b []byte) [][]byte { return [][]byte{b, a} },
		"lost":      func(_, b []byte) [][]byte { return [][]byte{b} },
	}
	for name, order := range cases {
		l := keyed()
		var err error
		for _, c := range order(cell(l), cell(l)) {
			_, err = l.hops[0].Forward(bytes.Clone(c))
		}
		if err == nil {
			t.Errorf("%s cell was accepted", name)
		}
	}
}

func TestTailCarriesNoMark(t *testing.T) {
	l := keyed()
	c := make([]byte, CellSize)
	Payload{Command: Drop}.Put(l.circuit.Payload(c, Hops))
	l.circuit.Seal(c, Hops)
	for j := 1; j < Hops; j++ {
		if _, err := l.hops[j-1].Forward(c); err != nil {
			t.Fatal(err)
		}
		if tail := c[layerSize(CellSize, j+1):]; !allZero(tail) {
			t.Errorf("hop %d sends %x behind the layer, want zeros", j, tail)
		}
	}
}

func TestFailedHopSpeaksUnderItsOwnKey(t *testing.T) {
	for failing := 1; failing < Hops; failing++ {
		for _, status := range []Status{StatusExtendFail, StatusRefused} {
			rs, p := newPath(t)
			pending, frame, err := Build(rand.Reader, p)
			if err != nil {
				t.Fatal(err)
			}
			var hops []*Hop
			for j := 1; j <= failing; j++ {
				c, err := OpenCreate(rs[j-1].key, rs[j-1].id, testPeriod, frame)
				if err != nil {
					t.Fatal(err)
				}
				h, err := c.Accept(rand.Reader)
				if err != nil {
					t.Fatal(err)
				}
				hops = append(hops, h)
				frame = make([]byte, CreateSize)
				pad(t, frame, c.Inner)
			}
			created := make([]byte, CellSize)
			rand.Read(created) // leftovers must not get out
			for j := failing; j >= 1; j-- {
				a := Answer{}
				if j == failing {
					a.Status = status
				}
				if err := hops[j-1].SealCreated(created, a); err != nil {
					t.Fatal(err)
				}
			}
			_, _, err = pending.Finish(created)
			var e *ExtendError
			if !errors.As(err, &e) || e.Hop != failing || e.Status != status {
				t.Errorf("hop %d says %d: got %v", failing, status, err)
			}
			if !errors.Is(err, fault.Unavailable) {
				t.Errorf("kind is %v, want unavailable", fault.KindOf(err))
			}
		}
	}
}

func TestCreateOpensOnlyForItsNodePeriodAndKey(t *testing.T) {
	rs, p := newPath(t)
	_, frame, err := Build(rand.Reader, p)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenCreate(rs[0].key, rs[0].id, testPeriod+1, frame); err == nil {
		t.Error("opened for another period")
	}
	if _, err := OpenCreate(rs[0].key, rs[1].id, testPeriod, frame); err == nil {
		t.Error("opened for another node")
	}
	if _, err := OpenCreate(rs[1].key, rs[0].id, testPeriod, frame); err == nil {
		t.Error("opened with another key")
	}
	if _, err := OpenCreate(rs[0].key, rs[0].id, testPeriod, frame[:CreateSize-1]); err == nil {
		t.Error("opened though a byte is missing")
	}
}

func TestReplayTagNamesTheEncapsulation(t *testing.T) {
	_, p := newPath(t)
	_, a, _ := Build(rand.Reader, p)
	_, b, _ := Build(rand.Reader, p)
	if ReplayTag(a) == ReplayTag(b) {
		t.Error("two packets have one tag")
	}
	c := bytes.Clone(a)
	c[0]++                  // another puzzle solution
	c[CreateSize-1] ^= 0xff // other padding
	if ReplayTag(a) != ReplayTag(c) {
		t.Error("a packet got another tag by another solution or padding")
	}
}

func BenchmarkCreate(b *testing.B) {
	rs, p := newPath(b)
	b.Run("build", func(b *testing.B) {
		for b.Loop() {
			if _, _, err := Build(rand.Reader, p); err != nil {
				b.Fatal(err)
			}
		}
	})
	_, frame, err := Build(rand.Reader, p)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("open", func(b *testing.B) {
		for b.Loop() {
			c, err := OpenCreate(rs[0].key, rs[0].id, testPeriod, frame)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := c.Accept(rand.Reader); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkCellThereAndBack(b *testing.B) {
	l := keyed()
	cell := make([]byte, CellSize)
	data := make([]byte, DataSize)
	b.ReportAllocs()
	b.SetBytes(CellSize)
	for b.Loop() {
		Payload{Command: Req, Stream: 1, Data: data}.Put(l.circuit.Payload(cell, Hops))
		l.circuit.Seal(cell, Hops)
		for j := range Hops {
			if _, err := l.hops[j].Forward(cell); err != nil {
				b.Fatal(err)
			}
		}
		h := l.hops[Hops-1]
		Payload{Command: Resp, Stream: 1, Data: data}.Put(h.Own(cell))
		h.SealOwn(cell)
		for j := Hops - 2; j >= 0; j-- {
			if err := l.hops[j].Backward(cell); err != nil {
				b.Fatal(err)
			}
		}
		if _, _, err := l.circuit.Open(cell); err != nil {
			b.Fatal(err)
		}
	}
}

// counting is a source of bytes that count up, and fails after as many as it is told.
type counting struct {
	next byte
	left int
}

func (c *counting) Read(p []byte) (int, error) {
	if c.left < len(p) {
		return 0, io.ErrUnexpectedEOF
	}
	c.left -= len(p)
	for i := range p {
		p[i] = c.next
		c.next++
	}
	return len(p), nil
}

func TestSharesAndPaddingComeFromTheArgument(t *testing.T) {
	rs, p := newPath(t)
	read := func() (share [shareSize]byte, padding, answer []byte) {
		_, frame, err := Build(&counting{left: 1 << 20}, p)
		if err != nil {
			t.Fatal(err)
		}
		c, err := OpenCreate(rs[0].key, rs[0].id, testPeriod, frame)
		if err != nil {
			t.Fatal(err)
		}
		h, err := c.Accept(&counting{left: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		return c.Share, frame[createSize(1):], h.share
	}
	share, padding, answer := read()
	again, pad2, answer2 := read()
	if share != again || !bytes.Equal(padding, pad2) || !bytes.Equal(answer, answer2) {
		t.Error("the same source gives another share or padding")
	}
	seed, _, err := GenerateKey(&counting{left: SeedSize})
	if err != nil || seed.Reveal()[SeedSize-1] != SeedSize-1 {
		t.Errorf("the seed is not what the source gave: %v", err)
	}
}

func TestRandomnessThatFailsIsInternal(t *testing.T) {
	rs, p := newPath(t)
	for _, n := range []int{0, shareSize, Hops * shareSize} { // the last: no padding
		if _, _, err := Build(&counting{left: n}, p); !errors.Is(err, fault.Internal) {
			t.Errorf("build with %d bytes: got %v, want internal", n, err)
		}
	}
	_, frame, err := Build(rand.Reader, p)
	if err != nil {
		t.Fatal(err)
	}
	c, err := OpenCreate(rs[0].key, rs[0].id, testPeriod, frame)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Accept(&counting{}); !errors.Is(err, fault.Internal) {
		t.Errorf("accept: got %v, want internal", err)
	}
	if _, _, err := GenerateKey(&counting{}); !errors.Is(err, fault.Internal) {
		t.Errorf("generate: got %v, want internal", err)
	}
}

// Cells are opened in place. A layer that does not open leaves zeros where its plaintext would be, never the
// plaintext that somebody forged, and leaves what lies behind the layer alone.
func TestFailedOpenLeavesNoPlaintext(t *testing.T) {
	key := bytes.Repeat([]byte{7}, 32)
	text := bytes.Repeat([]byte("what somebody forged "), 20)
	cell := append(bytes.Clone(text), make([]byte, gcmTag)...)
	newChain(bytes.Clone(key), forward, 1).seal(cell, len(text), nil)
	behind := []byte("of another layer")
	for name, at := range map[string]int{"first byte": 0, "last byte": len(text) - 1, "tag": len(cell) - 1} {
		b := append(bytes.Clone(cell), behind...)
		b[at] ^= 1
		if _, ok := newChain(bytes.Clone(key), forward, 1).open(b[:len(cell):len(cell)], nil); ok {
			t.Fatalf("%s: a changed cell opens", name)
		}
		for i, c := range b[:len(text)] {
			if c != 0 && c != cell[i] && i != at {
				t.Fatalf("%s: byte %d is %#x, neither what came nor erased", name, i, c)
			}
		}
		if !bytes.Equal(b[len(cell):], behind) {
			t.Errorf("%s: bytes behind the layer changed to %q", name, b[len(cell):])
		}
	}
}
