package history_test

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/starling-swarm/starling/devicesync/history"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/private"
)

var me = ident.AccountID{5, 1}

func manifest() *history.Manifest {
	return &history.Manifest{To: ident.DeviceID{1}, From: ident.DeviceID{2}, Transfer: [16]byte{3},
		Seed: private.KeyOf([32]byte{4}), MadeAt: 1_900_000_000_000,
		Messages: 5, Conversations: 6, People: 7, Top: 1<<32 + 8}
}

func message() *history.Message {
	return &history.Message{Order: 9, ID: ident.MessageID{1}, Sender: ident.AccountID{5, 2},
		Conversation: strings.Repeat("05", 33),
		Flags:        history.Mine | history.Edited, State: 3, SentAt: 1, ReceivedAt: 2,
		StoredAt: 3, DeliveredAt: 4,
		ReadAt: 5, MailSeq: 6, ExpiresAt: 7, ExpireAfter: 8, ReplyTo: ident.MessageID{9},
		Body: []byte("body")}
}

func person() *history.Person {
	return &history.Person{Account: ident.AccountID{5, 9}, Named: true, Name: "Bob", NameAt: 10,
		Chain: []byte("chain"), Before: []byte("older"), ContestedAt: 12,
		Events: []history.PersonEvent{{Kind: "recovered", G: 2, At: 11}}}
}

func change() *history.Change {
	return &history.Change{Message: ident.MessageID{1}, Author: me, Kind: 2, Conversation: "05", At: 12,
		ID: ident.MessageID{2}, Body: []byte("edit")}
}

func reaction() *history.Reaction {
	return &history.Reaction{Message: ident.MessageID{1}, Author: me, From: ident.AccountID{5, 3}, Emoji: "👍",
		Conversation: "05", At: 13, ID: ident.MessageID{4}, Removed: true}
}

// pack adds any record.
func pack(p *history.Packer, r history.Record) bool {
	switch r := r.(type) {
	case *history.Message:
		return p.Message(r)
	case *history.Person:
		return p.Person(r)
	case *history.Change:
		return p.Change(r)
	case *history.Reaction:
		return p.Reaction(r)
	}
	return false
}

func read(t *testing.T, records []byte) (out []history.Record) {
	t.Helper()
	if err := history.Read(records, func(r history.Record) { out = append(out, r) }); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestManifestBytesAreFrozen(t *testing.T) {
	m := manifest()
	const want = "01" + "01000000000000000000000000000000" + "02000000000000000000000000000000" +
		"03000000000000000000000000000000" +
		"0400000000000000000000000000000000000000000000000000000000000000" + "000001ba60d33800" + "00000005" +
		"00000006" + "00000007" + "0000000100000008"
	if got := hex.EncodeToString(m.Encode()); got != want {
		t.Errorf("manifest:\n got %s\nwant %s", got, want)
	}
	const mailbox = "a3034bd1549402cb64ef8a8db1dfbca6bb0271c7985f136654b4f9adbc35a665"
	if got := m.Mailbox(); hex.EncodeToString(got[:]) != mailbox {
		t.Errorf("mailbox: got %s, want %s", got, mailbox)
	}
	back, err := history.DecodeManifest(m.Encode())
	if err != nil || !reflect.DeepEqual(back, m) {
		t.Errorf("got %x, %v, want %x", back.Encode(), err, m.Encode())
	}
	for n := range m.Encode() {
		if _, err := history.DecodeManifest(m.Encode()[:n]); !errors.Is(err, fault.Corrupt) {
			t.Fatalf("cut at %d: got %v, want corrupt", n, err)
		}
	}
	if s := fmt.Sprintf("%v %+v %x", m, *m, m.MailboxKey()); strings.Contains(s, "04000000") {
		t.Errorf("a manifest prints its seed: %s", s)
	}
}

func TestRecordsComeBackAsTheyWentIn(t *testing.T) {
	want := []history.Record{message(), person(), change(), reaction()}
	p := history.NewPacker(history.ChunkTarget)
	ends := map[int]bool{}
	for _, r := range want {
		if !pack(p, r) {
			t.Fatalf("record %T does not fit", r)
		}
		ends[p.Len()] = true
	}
	if got := read(t, append(bytes.Clone(p.Bytes()), 99, 0, 0, 1, 7)); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	for n := 1; n < p.Len(); n++ {
		err := history.Read(p.Bytes()[:n], func(history.Record) {})
		if ends[n] != (err == nil) || err != nil && !errors.Is(err, fault.Corrupt) {
			t.Fatalf("cut at %d of %d bytes: got %v, want corrupt but between records", n, p.Len(), err)
		}
	}
}

func TestPackerNeverStopsAtOneRecord(t *testing.T) {
	small := history.NewPacker(300)
	if !small.Message(message()) || small.Message(message()) {
		t.Error("room for one message: want the first to fit and the second not")
	}
	for _, r := range []history.Record{
		&history.Message{Conversation: "05", Body: make([]byte, history.MaxRecords)},
		&history.Person{Chain: make([]byte, history.MaxRecords)},
		&history.Change{Body: make([]byte, history.MaxRecords)},
	} {
		p := history.NewPacker(history.MaxRecords)
		if !pack(p, r) || len(read(t, p.Bytes())) != 1 {
			t.Errorf("%T larger than a chunk: got refused, want it without what is large", r)
		}
		if pack(p, r) {
			t.Errorf("%T larger than a chunk that is in use: got taken, want it to wait for the next", r)
		}
	}
}

func TestChunksOpenOnlyInTheirPlace(t *testing.T) {
	m := manifest()
	records := []byte("records")
	body, err := m.Seal(rand.Reader, me, 3, true, records)
	if err != nil {
		t.Fatal(err)
	}
	got, last, err := m.Open(me, 3, body)
	if err != nil || !last || !bytes.Equal(got, records) {
		t.Fatalf("open: got %q, %v, %v, want %q, last", got, last, err, records)
	}
	if _, _, err := m.Open(me, 2, body); !errors.Is(err, fault.Corrupt) {
		t.Errorf("another place: got %v, want corrupt", err)
	}
	if _, _, err := m.Open(ident.AccountID{5, 2}, 3, body); !errors.Is(err, fault.Corrupt) {
		t.Errorf("another account: got %v, want corrupt", err)
	}
	other := manifest()
	other.Transfer[0]++
	if _, _, err := other.Open(me, 3, body); !errors.Is(err, fault.Corrupt) {
		t.Errorf("another transfer: got %v, want corrupt", err)
	}
	for i := range body {
		bad := bytes.Clone(body)
		bad[i] ^= 1
		if _, _, err := m.Open(me, 3, bad); !errors.Is(err, fault.Corrupt) {
			t.Fatalf("byte %d flipped: got %v, want corrupt", i, err)
		}
	}
	again, err := m.Seal(rand.Reader, me, 3, true, records)
	if err != nil || bytes.Equal(again, body) {
		t.Errorf("sealed again: got the same bytes, %v, want a new nonce", err)
	}
	if _, err := m.Seal(rand.Reader, me, 0, false, make([]byte, history.MaxRecords+1)); !errors.Is(err,
		fault.Invalid) {
		t.Errorf("too many records: got %v, want invalid", err)
	}
	for _, i := range []uint32{0, 1, history.MaxChunks - 1} {
		if n, ok := history.ChunkIndex(history.ChunkKey(i)); !ok || n != i {
			t.Errorf("index of chunk %d: got %d, %v", i, n, ok)
		}
	}
	if _, ok := history.ChunkIndex([envelope.KeySize]byte{1}); ok {
		t.Error("a key of something else: got an index, want none")
	}
}

func TestPaddedLengthsAreFewAndNear(t *testing.T) {
	m := manifest()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, history.MaxRecords).Draw(t, "n")
		a, err := m.Seal(rand.Reader, me, 0, false, make([]byte, n))
		if err != nil {
			t.Fatal(err)
		}
		if len(a) > envelope.MaxBody || len(a) < 1_024 || len(a) > 1_024 && len(a) > (n+64)*112/100+1 {
			t.Errorf("%d bytes are padded to %d", n, len(a))
		}
		if got, _, err := m.Open(me, 0, a); err != nil || len(got) != n {
			t.Errorf("%d bytes come back as %d, %v", n, len(got), err)
		}
	})
	sizes := map[int]bool{}
	for n := 0; n <= history.MaxRecords; n += 97 {
		a, _ := m.Seal(rand.Reader, me, 0, false, make([]byte, n))
		sizes[len(a)] = true
	}
	if len(sizes) > 200 {
		t.Errorf("got %d lengths of chunks, want at most 200", len(sizes))
	}
}

func FuzzRead(f *testing.F) {
	p := history.NewPacker(history.ChunkTarget)
	for _, r := range []history.Record{message(), person(), change(), reaction()} {
		pack(p, r)
	}
	f.Add(p.Bytes())
	f.Add([]byte{99, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		p, q := history.NewPacker(history.MaxRecords), history.NewPacker(history.MaxRecords)
		if err := history.Read(b, func(r history.Record) { pack(p, r) }); err != nil &&
			!errors.Is(err, fault.Corrupt) {
			t.Errorf("got %v, want corrupt", err)
		}
		if err := history.Read(p.Bytes(), func(r history.Record) { pack(q, r) }); err != nil ||
			!bytes.Equal(p.Bytes(), q.Bytes()) {
			t.Errorf("records do not come back as they were written: %v", err)
		}
	})
}

func FuzzDecodeManifest(f *testing.F) {
	f.Add(manifest().Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := history.DecodeManifest(b)
		if err == nil && !bytes.Equal(m.Encode(), b) {
			t.Errorf("%x decodes but does not encode to itself", b)
		}
	})
}

func FuzzOpen(f *testing.F) {
	m := manifest()
	body, _ := m.Seal(rand.Reader, me, 0, true, []byte("x"))
	f.Add(body)
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, _, err := m.Open(me, 0, b); err != nil && !errors.Is(err, fault.Corrupt) {
			t.Errorf("got %v, want corrupt", err)
		}
	})
}
