package statemachine_test

import (
	"crypto/ed25519"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/starling-swarm/starling/cluster/internal/mailstore/storetest"
	"github.com/starling-swarm/starling/cluster/internal/statemachine"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
)

// groupHistory is a history of one group's mailbox.
type groupHistory struct {
	*history
	g    *storetest.Group
	form envelope.GroupForm
}

// TestRandomGroupHistoriesMatchModel is TestRandomHistoriesMatchModel for the mailbox of a group.
func TestRandomGroupHistoriesMatchModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		form := envelope.GroupForm(rapid.IntRange(0, 2).Draw(t, "form"))
		h := &groupHistory{history: newHistory(t), g: storetest.NewGroupOf("group", form), form: form}
		h.model.quota = uint64(rapid.SampledFrom([]int{3000, 6000, 1 << 20}).Draw(t, "group quota"))
		cfg := &statemachine.Config{Stamp: h.stamp(t), Number: 2, DirectoryVersion: 7,
			QuotaBytes: h.model.quota, Replicas: 3, Slots: statemachine.AllSlots()}
		h.real.Apply(statemachine.EncodeCommand(cfg))
		h.model.tick(cfg.Stamp)
		h.begin(t)
		for range rapid.SampledFrom([]int{0, 0, 7}).Draw(t, "generations") {
			h.rekey(t)
			h.follow()
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 19).Draw(t, "kind") {
			case 0:
				h.begin(t)
			case 1, 2:
				h.expire(t)
			case 3, 4, 5:
				h.commit(t)
			case 6, 7:
				h.join(t)
			case 8:
				h.rekey(t)
			default:
				h.operate(t)
			}
			h.follow()
			if err := h.real.Err(); err != nil {
				t.Fatalf("the state machine met damage: %v", err)
			}
		}
		if err := statemachine.Audit(h.real); err != nil {
			t.Fatalf("audit after the history: %v", err)
		}
	})
}

// follow takes over what the log holds, as an admin would.
func (h *groupHistory) follow() {
	b := h.model.find(h.g.Mailbox())
	if b == nil {
		h.g = storetest.NewGroupOf("group", h.form)
		return
	}
	for _, e := range b.mail {
		if e.Namespace == envelope.GroupLog {
			h.g.Accept(envelope.Store{Body: e.Body})
		}
	}
}

func (h *groupHistory) slots(t *rapid.T) (out []envelope.Slot) {
	for _, name := range []string{"a", "b", "c", fmt.Sprint("d", h.g.Generation())} {
		if rapid.IntRange(0, 2).Draw(t, "slot") == 0 {
			sealed := rapid.SampledFrom([]string{"x", "y", "z", strings.Repeat("long", 150)}).Draw(t,
				"sealed")
			out = append(out, envelope.Slot{Locator: storetest.Key(name), Sealed: []byte(sealed)})
		}
	}
	return out
}

func (h *groupHistory) begin(t *rapid.T) {
	form := h.form
	if rapid.IntRange(0, 9).Draw(t, "another form") == 0 {
		form = envelope.GroupForm(rapid.IntRange(0, 2).Draw(t, "form"))
	}
	g := storetest.NewGroupOf("group", form)
	r := g.Genesis(h.slots(t)...)
	if last := len(r.Ops) - 1; form != envelope.FormShared {
		r.Ops[last] = h.damagedDelegate(t, r.Ops[last].(envelope.Delegate))
	} else if rapid.IntRange(0, 9).Draw(t, "delegate") == 0 {
		r.Ops = append(r.Ops, g.Admit(1, 1))
	}
	h.compare(t, r, g.MailboxKey())
	h.follow()
}

// damagedDelegate returns d, or something like it.
func (h *groupHistory) damagedDelegate(t *rapid.T, d envelope.Delegate) envelope.Delegate {
	switch rapid.IntRange(0, 19).Draw(t, "damage of the delegate") {
	case 0:
		d.Serial += rapid.SampledFrom([]uint64{1, 255, 256}).Draw(t, "rise")
	case 1:
		d.Serial -= 256
	case 2:
		d.Generation++
	case 3:
		d.NotAfter = storetest.Epoch + 9000*dayMS
	case 4:
		d.Rights |= envelope.MayRead
	case 5:
		d.Namespaces = []envelope.Namespace{envelope.GroupLeaves, envelope.GroupMail}
	case 6:
		d.Key = [32]byte(h.g.Write(1).Public().(ed25519.PublicKey))
	}
	return d
}

// join tries to let a member in without an admin, or nearly.
func (h *groupHistory) join(t *rapid.T) {
	var head uint64
	b := h.model.find(h.g.Mailbox())
	if b == nil {
		return
	}
	head = b.heads[envelope.GroupLog]
	n := rapid.Uint32Range(2, 4).Draw(t, "joiner")
	c := h.g.Next(envelope.CommitJoin, rapid.SampledFrom([]string{"p", "q"}).Draw(t, "join body"))
	now := c.Generation
	switch rapid.IntRange(0, 19).Draw(t, "damage of the join") {
	case 0:
		c.PrevHash[0] ^= 1
	case 1:
		c.Generation++
	case 2:
		c.Mod = [32]byte(h.g.Mod(20).Public().(ed25519.PublicKey))
	case 3:
		c.Read, c.Generation = [32]byte(h.g.Read(now+1).Public().(ed25519.PublicKey)), now+1
	case 4:
		c.Kind = envelope.CommitInfo
	case 5, 6, 7:
		c.Form = envelope.FormPublic
	}
	st := h.g.Sign(c, head)
	if rapid.IntRange(0, 15).Draw(t, "forged join") == 0 {
		st.Body[len(st.Body)-1] ^= 1
	}
	if i := rapid.IntRange(0, 40).Draw(t, "old"); i < len(b.mail) &&
		b.mail[i].Namespace == envelope.GroupLog {
		st.Body = b.mail[i].Body
	}
	key := rapid.SampledFrom([]ed25519.PrivateKey{
		h.g.Write(now), h.g.Write(now), h.g.Write(now), h.g.Write(now), h.g.Write(now), h.g.Write(now),
		h.g.Write(1), h.g.Admin(now), h.g.Member(2), nil,
	}).Draw(t, "joining key")
	r := h.g.Request(key, st)
	r.Mode = rapid.SampledFrom([]envelope.Mode{envelope.All, envelope.All, envelope.All,
		envelope.Each}).Draw(t, "mode")
	if rapid.IntRange(0, 9).Draw(t, "between") == 0 {
		r.Ops = append(r.Ops, envelope.Info{})
	}
	for range rapid.SampledFrom([]int{0, 1, 1, 1, 1, 2}).Draw(t, "delegates") {
		r.Ops = append(r.Ops, h.damagedDelegate(t, h.g.Admit(c.Index, n)))
	}
	h.compare(t, r, key)
}

// commit tries a commit that fits, or nearly.
func (h *groupHistory) commit(t *rapid.T) {
	kinds := []envelope.CommitKind{envelope.CommitAdd, envelope.CommitAdd, envelope.CommitInfo,
		envelope.CommitRekey, envelope.CommitRemove, envelope.CommitRekey, envelope.CommitRole}
	if rapid.IntRange(0, 9).Draw(t, "end") == 0 {
		kinds = append(kinds[:0], envelope.CommitDisband)
	}
	slots := h.slots(t)
	c := h.g.Next(rapid.SampledFrom(kinds).Draw(t, "commit"), rapid.SampledFrom([]string{"p", "q"}).Draw(t,
		"commit body"), slots...)
	if c.Index == 1 {
		return
	}
	switch rapid.IntRange(0, 16).Draw(t, "damage") {
	case 16:
		c.Form = (c.Form + 1) % 3
	case 0:
		c.Index++
	case 1:
		c.PrevHash[0] ^= 1
	case 2:
		c.Generation++
	case 3:
		c.Mod = c.Write
	case 4:
		c.Admin = [32]byte(h.g.Admin(1).Public().(ed25519.PublicKey))
	case 5:
		c.Write = [32]byte(h.g.Write(1).Public().(ed25519.PublicKey))
	case 6:
		c.SlotsRoot[0] ^= 1
	case 7, 8:
		c.Mod = [32]byte(h.g.Mod(rapid.Uint32Range(20, 22).Draw(t, "mod")).Public().(ed25519.PublicKey))
	}
	var head uint64
	if b := h.model.find(h.g.Mailbox()); b != nil {
		head = b.heads[envelope.GroupLog]
	}
	st := h.g.Sign(c, head-min(head, uint64(rapid.SampledFrom([]int{0, 0, 0, 0, 1}).Draw(t, "behind"))))
	if rapid.IntRange(0, 15).Draw(t, "forged commit") == 0 {
		st.Body[len(st.Body)-1] ^= 1
	}
	key := h.g.Admin(h.g.Generation())
	r := h.g.Request(key)
	if rapid.IntRange(0, 4).Draw(t, "stage") > 0 {
		r.Ops = storetest.Stage(slots...)
	}
	r.Ops = append(r.Ops, st)
	r.Mode = rapid.SampledFrom([]envelope.Mode{envelope.All, envelope.All, envelope.Each}).Draw(t, "mode")
	h.compare(t, r, key)
}

// rekey begins a generation, if there is room.
func (h *groupHistory) rekey(t *rapid.T) {
	b := h.model.find(h.g.Mailbox())
	if b == nil {
		return
	}
	slots := h.slots(t)
	for i := range slots {
		slots[i].Locator[8], slots[i].Locator[9] = byte(h.g.Index()), 1
	}
	st := h.g.Sign(h.g.Next(envelope.CommitRekey, "rekey", slots...), b.heads[envelope.GroupLog])
	h.compare(t, h.g.Request(h.g.Admin(h.g.Generation()), append(storetest.Stage(slots...), st)...),
		h.g.Admin(h.g.Generation()))
}

func (h *groupHistory) operate(t *rapid.T) {
	now := max(h.g.Generation(), 1)
	n := rapid.SampledFrom([]uint32{1, now, now, now, now + 1}).Draw(t, "generation")
	keys := []ed25519.PrivateKey{
		nil, h.g.Read(n), h.g.Read(n), h.g.Write(n), h.g.Write(n), h.g.Mod(n), h.g.Admin(n),
		h.g.Admin(now), h.g.Admin(now),
		h.g.Invite(1), h.g.Invite(2), h.g.Invite(3), h.g.Member(1), h.g.Member(1), h.g.Member(2),
		h.g.Member(2), h.g.Member(3), h.g.MailboxKey(), h.accounts[0].MailboxKey(),
	}
	key := rapid.SampledFrom(keys).Draw(t, "key")
	r := h.g.Request(key)
	r.Mode = rapid.SampledFrom([]envelope.Mode{envelope.All, envelope.Each}).Draw(t, "mode")
	for range rapid.SampledFrom([]int{1, 1, 1, 2, 3}).Draw(t, "ops") {
		r.Ops = append(r.Ops, h.groupOp(t))
	}
	if rapid.IntRange(0, 29).Draw(t, "forged") == 0 {
		key = nil
	}
	h.compare(t, r, key)
}

func (h *groupHistory) groupOp(t *rapid.T) envelope.Op {
	ns := envelope.Namespace(rapid.SampledFrom([]int{16, 17, 18, 18, 18, 19, 20, 21, 21, 1, 2}).Draw(t,
		"namespace"))
	ttl := rapid.SampledFrom([]uint32{10, 3600, 86400}).Draw(t, "ttl")
	switch rapid.IntRange(0, 13).Draw(t, "op") {
	case 0, 1:
		return envelope.Retrieve{Namespaces: []envelope.Namespace{ns}, After: rapid.Uint64Range(0, 9).Draw(t,
			"after"), MaxCount: rapid.Uint16Range(0, 2).Draw(t, "count")}
	case 2:
		return envelope.RetrieveKey{Namespace: envelope.GroupSlots,
			Key: storetest.Key(rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "locator"))}
	case 3:
		d := envelope.Delete{Namespace: rapid.SampledFrom([]envelope.Namespace{0, ns,
			envelope.GroupMail}).Draw(t, "where"), Hashes: []envelope.Hash{{1}}}
		if b := h.model.find(h.g.Mailbox()); b != nil && len(b.mail) > 0 {
			d.Hashes = []envelope.Hash{rapid.SampledFrom(b.mail).Draw(t, "victim").hash}
		}
		return d
	case 4:
		return envelope.DeleteBefore{Namespace: ns, Before: h.now}
	case 5:
		return envelope.Info{}
	case 6, 7:
		i := rapid.Uint32Range(1, 3).Draw(t, "invite")
		return envelope.Delegate{
			Serial: h.serial(t), Key: [32]byte(h.g.Invite(i).Public().(ed25519.PublicKey)),
			Rights: envelope.MayRead | envelope.MayWrite | envelope.MayDelete, NotAfter: rapid.SampledFrom(
				[]int64{0, 0, storetest.Epoch, storetest.Epoch + 40*dayMS,
					storetest.Epoch + 9000*dayMS}).Draw(t, "end"),
			Generation: rapid.Uint32Range(1, 3).Draw(t,
				"cap generation"), Namespaces: []envelope.Namespace{envelope.GroupAsk, envelope.GroupMail},
		}
	case 8:
		if rapid.Bool().Draw(t, "by generation") {
			return envelope.Revoke{ByGeneration: true, Generation: rapid.Uint32Range(0, 2).Draw(t,
				"revoked generation")}
		}
		return envelope.Revoke{Serial: h.serial(t)}
	case 12:
		var op envelope.RevokeKeys
		for range rapid.IntRange(1, 3).Draw(t, "revoked keys") {
			n := rapid.Uint32Range(1, 4).Draw(t, "revoked key")
			k := rapid.SampledFrom([]ed25519.PrivateKey{h.g.Member(n), h.g.Member(n), h.g.Invite(n),
				h.g.Read(n), h.g.Admin(n)}).Draw(t, "kind of key")
			op.Keys = append(op.Keys, [32]byte(k.Public().(ed25519.PublicKey)))
		}
		return op
	case 13:
		n := rapid.Uint32Range(1, 4).Draw(t, "admitted")
		return h.damagedDelegate(t, h.g.Admit(h.g.Index(), n))
	case 9:
		if ops := storetest.Stage(h.slots(t)...); len(ops) > 0 {
			return ops[0]
		}
	}
	st := envelope.Store{Namespace: ns, TTL: ttl,
		Body: []byte(rapid.SampledFrom([]string{"a", "b", "c", "longer"}).Draw(t, "body"))}
	if rapid.IntRange(0, 3).Draw(t, "if generation") > 0 {
		st.IfGeneration = new(max(h.g.Generation(), 1) - min(1,
			uint32(rapid.IntRange(0, 9).Draw(t, "behind")/9)))
	}
	if ns == envelope.GroupLeaves && st.IfGeneration != nil {
		named := *st.IfGeneration + uint32(rapid.IntRange(0, 9).Draw(t, "names another")/9)
		st.Body = append(binary.BigEndian.AppendUint32([]byte{1}, named), st.Body...)
	}
	if ns == envelope.GroupSlots {
		st.Key, st.Body = storetest.Key("a"), envelope.SlotBody([32]byte{1}, st.Body)
	}
	return st
}

// serial is one that was given, or that could be next.
func (h *groupHistory) serial(t *rapid.T) uint64 {
	if b := h.model.find(h.g.Mailbox()); b != nil && len(b.group.caps) > 0 && rapid.Bool().Draw(t, "given") {
		return rapid.SampledFrom(b.group.caps).Draw(t, "capability").Serial
	}
	index := h.g.Index() + uint64(rapid.SampledFrom([]int{1, 1, 1, 1, 1, 0, 2}).Draw(t, "index"))
	return max(envelope.Serial(max(index, 1)-1, uint8(rapid.IntRange(0, 5).Draw(t, "place"))), 1)
}

// TestAuditMissesNoRowOfAGroup removes every row of the groups' tables in turn.
func TestAuditMissesNoRowOfAGroup(t *testing.T) {
	s := newSwarm(t, statemachine.Config{})
	g := storetest.NewGroup("account")
	s.want(s.do(g.Genesis(), 0), 0)
	for _, table := range []statemachine.Table{statemachine.TableGroup, statemachine.TableGroupKey} {
		for _, row := range rowsOf(s.mem, table) {
			s.mem.Delete(table, row[0])
			if statemachine.Audit(s.mem) == nil {
				t.Errorf("without row %x of table %d: got no error", row[0], table)
			}
			s.mem.Put(table, row[0], row[1])
		}
	}
}

func rowsOf(m *storetest.Memory, table statemachine.Table) (out [][2][]byte) {
	for k, v := m.Next(table, nil); k != nil; k, v = m.Next(table, append(append([]byte(nil), k...), 0)) {
		out = append(out, [2][]byte{append([]byte(nil), k...), append([]byte(nil), v...)})
	}
	return out
}

// TestCapabilitiesThatEndedMakeRoom fills the mailbox with delegates.
func TestCapabilitiesThatEndedMakeRoom(t *testing.T) {
	s := newSwarm(t, statemachine.Config{})
	g := storetest.NewGroup("account")
	s.want(s.do(g.Genesis(), 0), 0)
	g.Accept(g.Genesis().Ops[1].(envelope.Store))
	serial := uint32(0)
	delegate := func() envelope.Op {
		serial++
		return envelope.Delegate{
			Serial: envelope.Serial(g.Index(),
				uint8((serial-1)%240)), Key: [32]byte(g.Invite(serial).Public().(ed25519.PublicKey)),
			Rights: envelope.MayWrite, Generation: 1,
			NotAfter:   s.rep.Now().UnixMilli() + 3_600_000,
			Namespaces: []envelope.Namespace{envelope.GroupAsk},
		}
	}
	send := func(ops ...envelope.Op) *envelope.Response {
		resp, err := s.rep.Do(t.Context(), g.Mailbox(), g.Request(g.Admin(1), ops...).Encode(),
			storetest.Signer(envelope.LabelRequest, g.Admin(1)))
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	head := uint64(1)
	commit := func() {
		st := g.Sign(g.Next(envelope.CommitInfo, "info"), head)
		resp := send(st)
		s.want(resp, 0)
		head = resp.CertsHead
		g.Accept(st)
	}
	for serial < 4096 {
		var ops []envelope.Op
		for len(ops) < 16 {
			ops = append(ops, delegate())
		}
		s.want(send(ops...), 0)
		if serial%240 == 0 { // a commit has 256 serials
			commit()
		}
	}
	s.want(send(delegate()), fault.Limited)
	s.rep.Advance(2 * time.Hour)
	s.want(send(delegate()), 0)
}

// TestJoinsOfAGenerationAreLimited: who has a public group's link cannot fill its log; an admin makes room by
// a new generation.
func TestJoinsOfAGenerationAreLimited(t *testing.T) {
	s := newSwarm(t, statemachine.Config{})
	g := storetest.NewGroupOf("account", envelope.FormPublic)
	genesis := g.Genesis()
	s.want(s.do(genesis, 0), 0)
	g.Accept(genesis.Ops[1].(envelope.Store))
	head := uint64(1)
	send := func(key ed25519.PrivateKey, ops ...envelope.Op) *envelope.Response {
		resp, err := s.rep.Do(t.Context(), g.Mailbox(), g.Request(key, ops...).Encode(),
			storetest.Signer(envelope.LabelRequest, key))
		if err != nil {
			t.Fatal(err)
		}
		if resp.Err() == nil {
			head = resp.CertsHead
			g.Accept(ops[0].(envelope.Store))
		}
		return resp
	}
	for n := range uint32(1024) {
		s.want(send(g.Write(1), g.Join(head, 2+n)...), 0)
	}
	s.want(send(g.Write(1), g.Join(head, 2000)...), fault.Limited)
	s.want(send(g.Admin(1), g.Sign(g.Next(envelope.CommitInfo, "info"), head)), 0)
	s.want(send(g.Write(1), g.Join(head, 2000)...), fault.Limited)
	s.want(send(g.Admin(1), g.Sign(g.Next(envelope.CommitRekey, "rekey"), head)), 0)
	s.want(send(g.Write(2), g.Join(head, 2000)...), 0)
	if err := statemachine.Audit(s.mem); err != nil {
		t.Errorf("audit: %v", err)
	}
}

// TestMessagesLeaveRoomForCommits: a full mailbox still lets a member be removed.
func TestMessagesLeaveRoomForCommits(t *testing.T) {
	s := newSwarm(t, statemachine.Config{QuotaBytes: 8000})
	g := storetest.NewGroup("account")
	genesis := g.Genesis()
	s.want(s.do(genesis, 0), 0)
	g.Accept(genesis.Ops[1].(envelope.Store))
	send := func(key ed25519.PrivateKey, st envelope.Store) *envelope.Response {
		resp, err := s.rep.Do(t.Context(), g.Mailbox(), g.Request(key, st).Encode(),
			storetest.Signer(envelope.LabelRequest, key))
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	full := false
	for i := range 100 {
		resp := send(g.Write(1), envelope.Store{Namespace: envelope.GroupMail, TTL: 3600,
			Body: make([]byte, 200+i)})
		if full = resp.Err() != nil; full {
			s.want(resp, fault.Limited)
			break
		}
	}
	if !full {
		t.Fatal("got 100 messages into a mailbox of 8,000 bytes")
	}
	s.want(send(g.Admin(1), g.Sign(g.Next(envelope.CommitRemove, "remove"), 1)), 0)
}
