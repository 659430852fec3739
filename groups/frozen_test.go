package groups

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"testing"
	"time"

	"github.com/starling-swarm/starling/internal/ident"
)

// writeFrozen makes the vectors anew. A change of them is a change of the format: new version bytes, never
// the same.
var writeFrozen = flag.Bool("write-frozen", false, "write testdata/frozen.json")

const frozenFile = "testdata/frozen.json"

// hexBytes is hexadecimal in JSON.
type hexBytes []byte

func (h hexBytes) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(h)), nil }
func (h *hexBytes) UnmarshalText(b []byte) (err error) {
	*h, err = hex.DecodeString(string(b))
	return err
}

// frozen holds what must never change. Seals are frozen as bytes to open, since crypto/hpke draws its own
// randomness.
type frozen struct {
	Seed    hexBytes   `json:"genesis_seed"`
	Group   hexBytes   `json:"group_id"`
	Cluster hexBytes   `json:"cluster_id"`
	Mailbox hexBytes   `json:"mailbox_id"`
	GS      hexBytes   `json:"generation_secret"`
	Keys    []hexBytes `json:"read_write_mod_admin_public"`
	Body    hexBytes   `json:"body_key"`
	Next    hexBytes   `json:"slot_secret_of_an_account_of_zeros"`
	Days    []hexBytes `json:"day_keys_0_to_40"`
	Locator hexBytes   `json:"locator_of_gs_as_secret_generation_7_index_9"`

	State   hexBytes   `json:"state_of_a_member"`
	Commits []hexBytes `json:"commits"`
	Slots   []hexBytes `json:"slots"`
	Digest  hexBytes   `json:"state_hash_after"`
	Message hexBytes   `json:"message"`
	Log     []hexBytes `json:"log_for_joiner"`
	Joiner  hexBytes   `json:"joiner_keys"`
	First   hexBytes   `json:"joiner_slot"`

	Earlier  hexBytes `json:"message_of_generation_1"`
	Handover hexBytes `json:"handover_after"`

	DoorNext     hexBytes   `json:"door_secret_of_an_account_of_zeros"`
	Door         hexBytes   `json:"door_invitation"`
	DoorLocator  hexBytes   `json:"door_locator_of_commit_2"`
	DoorKeys     hexBytes   `json:"door_joiner_keys"`
	DoorSlot     hexBytes   `json:"door_slot"`
	DoorLog      []hexBytes `json:"door_log"`
	DoorNextSlot hexBytes   `json:"door_joiner_next_slot"`
	DoorHandover hexBytes   `json:"door_handover"`
	DoorDigest   hexBytes   `json:"door_state_hash"`
}

// writeDoor freezes a public group that somebody came into by a door, and the generation after.
func (f *frozen) writeDoor(t *testing.T) {
	b, alice := foundForm(t, 1, FormPublic)
	in, bob := b.door(t, alice, 2, 0), newUser(t, 2)
	b.comeIn(t, bob, in)
	ticket := in.DoorTicket(bob.id, bob.keys)
	f.Door, f.DoorKeys, f.DoorSlot, f.DoorHandover = in.Encode(), bob.keys.Marshal(),
		b.slotFor(ticket), bob.Handover()
	at, _ := ticket.Locator(b.log[1])
	f.DoorLocator = at[:]
	b.mustSync(t, alice)
	b.commit(t, alice, Change{Kind: KindRekey})
	for _, c := range b.log {
		f.DoorLog = append(f.DoorLog, c)
	}
	next, _, _ := bob.Needs(b.log[3])
	f.DoorNextSlot = b.slots[3].Find(next)
	sum := alice.Digest()
	f.DoorDigest = sum[:]
}

func (f *frozen) checkDoor(t *testing.T) {
	in, err := DecodeInvitation(f.Door)
	if err != nil || !in.Door {
		t.Fatalf("invitation: %v, or no door", err)
	}
	k, err := UnmarshalKeys(f.DoorKeys)
	if err != nil {
		t.Fatal(err)
	}
	var log [][]byte
	for _, c := range f.DoorLog {
		log = append(log, c)
	}
	self := accountOf(2)
	ticket := in.DoorTicket(self, k)
	if at, ok := ticket.Locator(log[1]); !ok || string(at[:]) != string(f.DoorLocator) {
		t.Errorf("the door's slot: got %x, want %x", at, f.DoorLocator)
	}
	if p, _, err := new(Shared).Join(rand.Reader, start, testCluster, in.DoorTicket(accountOf(3), k), in, nil,
		log[:2], f.DoorSlot); err != nil || p == nil {
		t.Errorf("another join: %v", err)
	}
	handover, err := DecodeHandover(f.DoorHandover)
	if err != nil {
		t.Fatal(err)
	}
	for name, ticket := range map[string]*Ticket{"joiner": ticket, "handover": handover} {
		s, err := Enter(start, testCluster, ticket, nil, log, f.DoorSlot)
		if err != nil {
			t.Fatalf("enter with a %s: %v", name, err)
		}
		if err := s.Apply(start, log[3], f.DoorNextSlot); err != nil {
			t.Fatalf("the generation after, with a %s: %v", name, err)
		}
		if sum := s.Digest(); string(sum[:]) != string(f.DoorDigest) {
			t.Errorf("state hash, with a %s: got %x, want %x", name, sum, f.DoorDigest)
		}
	}
}

func (f *frozen) derive() {
	var seed [32]byte
	copy(seed[:], f.Seed)
	g := &Genesis{seed: secret{b: seed}}
	id := g.Group()
	var cluster ident.ClusterID
	copy(cluster[:], f.Cluster)
	mailbox := g.MailboxKey(cluster).Public()
	f.Group, f.Mailbox = id[:], mailbox[:]
	gs := secret{}
	copy(gs.b[:], f.GS)
	k := expand(&gs, id, 7, 100)
	f.Keys, f.Days = nil, nil
	p := k.publics()
	for _, x := range [][32]byte{p.read, p.write, p.mod, p.admin} {
		f.Keys = append(f.Keys, x[:])
	}
	body, next := memberKey(&k.all, labelBody, id, 7), k.slotSecret(ident.AccountID{ident.AccountType})
	f.Body, f.Next = body.b[:], next.b[:]
	door := k.doorSecret(ident.AccountID{ident.AccountType})
	f.DoorNext = door.b[:]
	c := chain{g: 7, day: 100, live: true, ck: k.ck}
	for d := range uint32(41) {
		key, err := c.key(100 + d)
		if err != nil {
			panic(err)
		}
		f.Days = append(f.Days, append([]byte(nil), key.b[:]...))
	}
	at := locate(&gs, 7, 9)
	f.Locator = at[:]
}

func (f *frozen) write(t *testing.T) {
	f.Seed, f.GS, f.Cluster = make([]byte, 32), make([]byte, 32), make([]byte, 32)
	f.Seed[0], f.GS[0], f.Cluster[0] = 1, 2, 3
	f.derive()
	b, alice := found(t, 1)
	bob := b.add(t, alice, 2)
	for _, c := range b.log {
		f.Log = append(f.Log, c)
	}
	f.Joiner, f.First = bob.keys.Marshal(), b.slots[len(b.slots)-1].Body(0)
	f.State, f.Earlier = bob.Marshal(), say(t, b, alice, "earlier")
	old := len(b.log)
	b.commit(t, alice, Change{Kind: KindRole, Targets: target(alice, bob.id), Role: Moderator})
	b.commit(t, alice, Change{Kind: KindRekey})
	for i := old; i < len(b.log); i++ {
		at, _, err := bob.Needs(b.log[i])
		if err != nil {
			t.Fatal(err)
		}
		f.Commits, f.Slots = append(f.Commits, b.log[i]), append(f.Slots, b.slots[i].Find(at))
		if err := bob.Apply(b.now, b.log[i], b.slots[i].Find(at)); err != nil {
			t.Fatal(err)
		}
	}
	sum := alice.Digest()
	f.Digest, f.Message, f.Handover = sum[:], say(t, b, alice, "frozen"), bob.Handover()
	f.writeDoor(t)
	out, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll("testdata", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(frozenFile, append(out, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestFrozenVectors(t *testing.T) {
	if *writeFrozen {
		new(frozen).write(t)
	}
	raw, err := os.ReadFile(frozenFile)
	if err != nil {
		t.Fatal(err)
	}
	f := new(frozen)
	if err := json.Unmarshal(raw, f); err != nil {
		t.Fatal(err)
	}
	again := *f
	again.derive()
	got, err := json.MarshalIndent(again, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if string(got)+"\n" != string(raw) {
		t.Error("what is derived is not what was frozen")
	}
	s, err := Unmarshal(f.State)
	if err != nil {
		t.Fatal(err)
	}
	for i := range f.Commits {
		if err := s.Apply(start, f.Commits[i], f.Slots[i]); err != nil {
			t.Fatalf("commit %d: %v", i, err)
		}
	}
	if sum := s.Digest(); string(sum[:]) != string(f.Digest) {
		t.Errorf("state hash: got %x, want %x", sum, f.Digest)
	}
	m, err := s.Open(f.Message)
	if err != nil || string(m.Body) != "frozen" || m.SentAt != start.UnixMilli() {
		t.Errorf("message: got %+v, %v", m, err)
	}
	f.checkDoor(t)
	k, err := UnmarshalKeys(f.Joiner)
	if err != nil {
		t.Fatal(err)
	}
	var log [][]byte
	for _, c := range f.Log {
		log = append(log, c)
	}
	handover, err := DecodeHandover(f.Handover)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Enter(start.Add(time.Hour), testCluster, k.Ticket(s.Group(), s.Self()), nil, log,
		f.First); err != nil {
		t.Errorf("enter as a joiner: %v", err)
	}
	for _, c := range f.Commits {
		log = append(log, c)
	}
	if s, err = Enter(start.Add(time.Hour), testCluster, handover, nil, log,
		f.Slots[len(f.Slots)-1]); err != nil {
		t.Fatalf("enter with a handover: %v", err)
	}
	for _, blob := range [][]byte{f.Earlier, f.Message} {
		if _, err := s.Open(blob); err != nil {
			t.Errorf("entered with a handover: %v", err)
		}
	}
}
