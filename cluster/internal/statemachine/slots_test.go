package statemachine_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/starling-swarm/starling/cluster/internal/mailstore/storetest"
	"github.com/starling-swarm/starling/cluster/internal/statemachine"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
)

// slotMailbox is a group's mailbox whose generations bring slots.
type slotMailbox struct {
	*swarm
	g    *storetest.Group
	head uint64
}

func newSlotMailbox(t *testing.T, quota uint64) *slotMailbox {
	m := &slotMailbox{swarm: newSwarm(t, statemachine.Config{QuotaBytes: quota}),
		g: storetest.NewGroup("account"), head: 1}
	genesis := m.g.Genesis()
	m.want(m.do(genesis, 0), 0)
	m.g.Accept(genesis.Ops[1].(envelope.Store))
	return m
}

func (m *slotMailbox) send(key ed25519.PrivateKey, ops ...envelope.Op) *envelope.Response {
	m.t.Helper()
	resp, err := m.rep.Do(m.t.Context(), m.g.Mailbox(), m.g.Request(key, ops...).Encode(),
		storetest.Signer(envelope.LabelRequest, key))
	if err != nil {
		m.t.Fatal(err)
	}
	return resp
}

// slotsOf makes n slots of a generation.
func slotsOf(generation uint32, n, size int) (out []envelope.Slot) {
	for i := range n {
		s := envelope.Slot{Locator: slotKey(generation, i), Sealed: bytes.Repeat([]byte{byte(generation)},
			size)}
		binary.BigEndian.PutUint32(s.Sealed, uint32(i))
		out = append(out, s)
	}
	return out
}

func slotKey(generation uint32, i int) (k [envelope.KeySize]byte) {
	binary.BigEndian.PutUint32(k[:], generation)
	binary.BigEndian.PutUint32(k[4:], uint32(i))
	return k
}

// begin stages the slots of the next generation and begins it. It returns the first refusal.
func (m *slotMailbox) begin(n, size int) *envelope.Response {
	m.t.Helper()
	g := m.g.Generation()
	slots := slotsOf(g+1, n, size)
	ops := storetest.Stage(slots...)
	for len(ops) > 0 {
		some := ops[:min(len(ops), envelope.MaxOps)]
		if resp := m.send(m.g.Admin(g), some...); resp.Err() != nil {
			return resp
		}
		ops = ops[len(some):]
	}
	st := m.g.Sign(m.g.Next(envelope.CommitRekey, "rekey", slots...), m.head)
	resp := m.send(m.g.Admin(g), st)
	if resp.Err() == nil {
		m.head = resp.CertsHead
		m.g.Accept(st)
	}
	return resp
}

// kept counts the slots of a generation that are there.
func (m *slotMailbox) kept(generation uint32, n int) (count int) {
	m.t.Helper()
	for i := range n {
		resp := m.send(m.g.Read(1), envelope.RetrieveKey{Namespace: envelope.GroupSlots,
			Key: slotKey(generation, i)})
		if resp.Err() == nil {
			count++
		} else {
			m.want(resp, fault.NotFound)
		}
	}
	return count
}

func (m *slotMailbox) keeps(n int, want map[uint32]int) {
	m.t.Helper()
	for g, count := range want {
		if got := m.kept(g, n); got != count {
			m.t.Errorf("generation %d: got %d of %d slots, want %d", g, got, n, count)
		}
	}
	if err := statemachine.Audit(m.mem); err != nil {
		m.t.Errorf("audit: %v", err)
	}
}

// fill stores messages until they are refused.
func (m *slotMailbox) fill(size int) (n int) {
	m.t.Helper()
	for ; ; n++ {
		body := bytes.Repeat([]byte("m"), size)
		copy(body, fmt.Sprint(m.g.Generation(), " ", n))
		if resp := m.send(m.g.Write(m.g.Generation()), envelope.Store{Namespace: envelope.GroupMail,
			TTL: 86_400, Body: body}); resp.Err() != nil {
			m.want(resp, fault.Limited)
			return n
		}
	}
}

// slotRoom is what a slot with 100 bytes sealed counts for.
const slotRoom = 32 + 100 + statemachine.EntryOverhead

func TestRetiredSlotsMakeRoom(t *testing.T) {
	const n = 10
	commit := uint64(len(storetest.NewGroup("account").Next(envelope.CommitRekey,
		"rekey").Encode())) + statemachine.EntryOverhead
	quota := func(generations int) uint64 {
		return uint64(generations)*(n*slotRoom+commit) + commit + 50 // 50: the create's body
	}
	t.Run("for slots, the first stored first", func(t *testing.T) {
		m := newSlotMailbox(t, quota(6))
		for range 6 {
			m.want(m.begin(n, 100), 0)
		}
		m.keeps(n, map[uint32]int{2: n, 3: n, 4: n, 5: n, 6: n, 7: n})
		m.want(m.begin(3, 100), 0) // its commit takes some bytes as well
		m.keeps(n, map[uint32]int{2: n - 5, 3: n, 4: n, 5: n, 6: n, 7: n, 8: 3})
	})
	t.Run("but not those of four generations", func(t *testing.T) {
		m := newSlotMailbox(t, quota(5)-n*slotRoom/2)
		for range 4 {
			m.want(m.begin(n, 100), 0)
		}
		m.want(m.begin(n, 100), fault.Limited)
		m.keeps(n, map[uint32]int{2: n, 3: n, 4: n, 5: n})
	})
	t.Run("for the commit", func(t *testing.T) {
		m := newSlotMailbox(t, quota(5)+uint64(n*slotRoom)+commit/2)
		for range 6 {
			m.want(m.begin(n, 100), 0)
		}
		m.keeps(n, map[uint32]int{2: n - 1, 3: n, 7: n})
	})
	t.Run("for messages", func(t *testing.T) {
		m := newSlotMailbox(t, quota(8))
		for range 8 {
			m.want(m.begin(n, 100), 0)
		}
		if got := m.fill(100); got == 0 {
			t.Error("got no message in")
		}
		m.keeps(n, map[uint32]int{2: 0, 3: 0, 6: n, 7: n, 8: n, 9: n})
	})
	t.Run("and staged ones do not", func(t *testing.T) {
		m := newSlotMailbox(t, quota(7))
		lost := slotsOf(100, n, 100)
		m.want(m.send(m.g.Admin(1), storetest.Stage(lost...)...), 0)
		for range 7 {
			m.want(m.begin(n, 100), 0)
		}
		m.keeps(n, map[uint32]int{100: n, 2: 0, 3: n, 8: n})
	})
	t.Run("among the entries", func(t *testing.T) {
		const n = 1024
		m := newSlotMailbox(t, 0)
		for range 17 {
			m.want(m.begin(n, 4), 0)
		}
		m.keeps(n, map[uint32]int{2: 0, 3: n, 18: n})
	})
}

// TestGenerationsOfALargeGroupFindRoom begins generations of 1,000 members in a mailbox of the default quota
// that messages have filled as far as they may.
func TestGenerationsOfALargeGroupFindRoom(t *testing.T) {
	const n, sealed = 1024, 1378 // with the root 1,410
	m := newSlotMailbox(t, 0)
	m.want(m.begin(n, sealed), 0)
	if got := m.fill(envelope.MaxBody - 1000); got < 200 {
		t.Errorf("got %d messages in", got)
	}
	for i := range 20 {
		if m.want(m.begin(n, sealed), 0); i%5 == 4 {
			m.fill(envelope.MaxBody - 1000)
		}
	}
	m.keeps(n, map[uint32]int{19: n, 20: n, 21: n, 22: n})
}
