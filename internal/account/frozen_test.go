package account

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/starling-swarm/starling/devicesync/phrase"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/private"
)

// writeFrozen makes the vectors anew. A change of them is a change of the format: new version bytes, never
// the same.
var writeFrozen = flag.Bool("write-frozen", false, "write testdata/frozen.json")

const frozenFile = "testdata/frozen.json"

// hexBytes is hexadecimal in JSON.
type hexBytes []byte

func (h hexBytes) MarshalJSON() ([]byte, error) { return json.Marshal(hex.EncodeToString(h)) }
func (h *hexBytes) UnmarshalJSON(b []byte) error {
	return (*wyHex)(h).UnmarshalJSON(b)
}

// frozen holds what must never change. Seals are frozen as ciphertexts to open, since crypto/hpke draws its
// own randomness; all else is made again and compared.
type frozen struct {
	Entropy   hexBytes `json:"entropy"`
	Phrase    string   `json:"phrase"`
	AccountID string   `json:"account_id"`
	VaultPK   hexBytes `json:"vault_pk_sha256"`
	Cluster   string   `json:"cluster_id"`
	Mailbox   string   `json:"mailbox_id"`
	Message   string   `json:"mailbox_signs"`
	Signature hexBytes `json:"mailbox_signature"`

	GS       hexBytes   `json:"generation_secret"`
	FirstDay uint32     `json:"first_day"`
	AskPK    hexBytes   `json:"ask_pk"`
	SxPK     hexBytes   `json:"sx_pk"`
	AuthPK   hexBytes   `json:"auth_pk"`
	Seeds    []hexBytes `json:"seeds_day_0_to_40"`
	KemPK    hexBytes   `json:"kem_pk_day_0_sha256"`
	AxPK     hexBytes   `json:"ax_pk_day_0"`
	SyncKey  hexBytes   `json:"sync_key_day_0"`

	Genesis hexBytes `json:"gencert_genesis"`
	Rotate  hexBytes `json:"gencert_rotate"`
	Recover hexBytes `json:"gencert_recover"`
	Record  hexBytes `json:"epoch_record_day_0"`
	Wrapped hexBytes `json:"epoch_record_wrapped"`

	Group    hexBytes `json:"device_group_wrapped"`
	BoxKey   hexBytes `json:"device_group_box_key"`
	GroupGS  hexBytes `json:"device_group_secret"`
	DeviceID string   `json:"device_group_device"`
	Wrap     hexBytes `json:"vault_wrap"`
	VaultKey hexBytes `json:"vault_wrap_key"`

	State    hexBytes `json:"recipient_state"`
	StoredAt int64    `json:"envelope_stored_at"`
	Seq      uint64   `json:"envelope_seq"`
	Envelope hexBytes `json:"envelope"`
	Sender   string   `json:"envelope_sender"`
	Body     string   `json:"envelope_body"`

	Link     hexBytes `json:"link_request"`
	Code     string   `json:"link_code"`
	Copy     hexBytes `json:"copy"`
	Document hexBytes `json:"document"`
	Safety   string   `json:"safety_number"`
}

func testRandom(seed byte) *rand.ChaCha8 { return rand.NewChaCha8([32]byte{seed}) }

// derived fills in all that follows from the inputs alone.
func (f *frozen) derived(t *testing.T) {
	t.Helper()
	root := NewRoot(private.KeyOf([32]byte(f.Entropy)))
	id := root.ID()
	f.Phrase, f.AccountID = phrase.Encode(private.KeyOf([32]byte(f.Entropy))), id.String()
	vault := root.vaultKey()
	f.VaultPK = sum(vault.public())
	cluster, err := ident.ParseClusterID(f.Cluster)
	if err != nil {
		t.Fatal(err)
	}
	key := root.MailboxKey(cluster)
	f.Mailbox = ident.MailboxID(key.Public()).String()
	sig := key.Sign([]byte(f.Message))
	f.Signature = sig[:]

	gen := expand([32]byte(f.GS), id, 1, f.FirstDay)
	ask, sx, auth := gen.ask.public(), gen.sx.public(), gen.auth.Public()
	f.AskPK, f.SxPK, f.AuthPK, f.Seeds = ask[:], sx[:], auth[:], nil
	for day := range uint32(41) {
		seed, _ := gen.ck.seedOf(f.FirstDay + day)
		f.Seeds = append(f.Seeds, bytes.Clone(seed.b[:]))
	}
	first, _ := gen.ck.seedOf(f.FirstDay)
	keys := expandDay(first)
	ax := keys.ax.public()
	f.KemPK, f.AxPK, f.SyncKey = sum(keys.kem.public()), ax[:], keys.sync.b[:]

	created := int64(f.FirstDay)*dayMS + 5
	genesis := mustCert(t, Cert{Kind: CertGenesis, Account: id, G: 1, Ask: ask, Sx: sx, Auth: auth,
		Created: created}, nil, root)
	rotate := mustCert(t, Cert{Kind: CertRotate, Account: id, G: 2, Prev: genesis.Hash(), Ask: ask, Sx: sx,
		Auth: auth, Created: created}, &gen.ask, nil)
	recovered := mustCert(t, Cert{Kind: CertRecover, Account: id, G: 3, Prev: rotate.Hash(), Ask: ask, Sx: sx,
		Auth: auth, Created: created}, nil, root)
	f.Genesis, f.Rotate, f.Recover = genesis.raw, rotate.raw, recovered.raw
	record, err := newRecord(&gen, genesis, f.FirstDay, keys)
	if err != nil {
		t.Fatal(err)
	}
	f.Record = record.raw
	if f.Wrapped, err = wrapRecord(testRandom(3), id, envelope.Days, DayKey(f.FirstDay),
		record.raw); err != nil {
		t.Fatal(err)
	}
	f.Safety = SafetyNumber(id, NewRoot(private.KeyOf([32]byte{9})).ID())
}

func sum(b []byte) []byte {
	h := sha256.Sum256(b)
	return h[:]
}

func mustCert(t testing.TB, c Cert, prev *certKey, root *Root) *Cert {
	t.Helper()
	out, err := newCert(c, prev, root)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// sealed makes the ciphertexts to freeze.
func (f *frozen) sealed(t *testing.T) {
	t.Helper()
	now := time.UnixMilli(int64(f.FirstDay)*dayMS + 5)
	alice, bob := newPerson(t, 1, now), newPerson(t, 2, now)
	second := alice.link("second", now)
	group := alice.box.keyed(envelope.Devices, GroupKey(2))
	// The key that opened the group is gone from the device; freeze a group that its next key opens.
	s := alice.devices[0]
	c, err := s.Rotate(testRandom(4), Rotation{}, now)
	if err != nil {
		t.Fatal(err)
	}
	group.Body = c.Group
	p, _, err := openGroup(alice.id, 3, c.Group, []*boxKey{&second.box})
	if err != nil {
		t.Fatal(err)
	}
	f.Group, f.BoxKey, f.GroupGS, f.DeviceID = c.Group, bytes.Clone(second.box.raw.b[:]),
		bytes.Clone(p.gs.b[:]), second.device.String()
	f.Wrap, f.VaultKey = alice.box.keyed(envelope.Vault,
		WrapKey(1)).Body, bytes.Clone(s.vault[len(s.vault)-1].key.b[:])

	e := bob.send(bob.devices[0], alice, "frozen hello", 0, now)
	f.State, f.Envelope, f.Seq, f.StoredAt, f.Sender, f.Body = s.Marshal(), e.Body, e.Seq, e.StoredAt,
		bob.id.String(), "frozen hello"
	fresh, err := NewDevice(testRandom(5), alice.id, testCluster, "third", now)
	if err != nil {
		t.Fatal(err)
	}
	l, _, err := fresh.LinkRequest(alice.root(), alice.box.recipient(alice.id, now), now)
	if err != nil {
		t.Fatal(err)
	}
	f.Link, f.Code = l.raw, l.Code
	if f.Copy, err = s.SealCopy(testRandom(6), CopySent, []byte("frozen copy"), now); err != nil {
		t.Fatal(err)
	}
	if f.Document, err = s.SealDocument(testRandom(7), []byte("frozen document")); err != nil {
		t.Fatal(err)
	}
}

func loadFrozen(t *testing.T) *frozen {
	t.Helper()
	f, _ := frozenState(t)
	return f
}

func unmarshalFrozen(b []byte, f *frozen) error { return json.Unmarshal(b, f) }

func TestDerivationsAreFrozen(t *testing.T) {
	if *writeFrozen {
		f := &frozen{
			Entropy: sum([]byte("entropy")), Cluster: testCluster.String(), Message: "mailbox signs this",
			GS: sum([]byte("generation")), FirstDay: 21_916,
		}
		f.derived(t)
		f.sealed(t)
		b, err := json.MarshalIndent(f, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(frozenFile, append(b, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want := loadFrozen(t)
	got := *want
	got.derived(t)
	a, _ := json.Marshal(got)
	b, _ := json.Marshal(want)
	if bytes.Equal(a, b) {
		return
	}
	var ma, mb map[string]any
	_ = json.Unmarshal(a, &ma)
	_ = json.Unmarshal(b, &mb)
	for k := range mb {
		ja, _ := json.Marshal(ma[k])
		jb, _ := json.Marshal(mb[k])
		if !bytes.Equal(ja, jb) {
			t.Errorf("%s: got %s, want %s", k, ja, jb)
		}
	}
}

func TestFrozenCertificatesMakeAChain(t *testing.T) {
	f := loadFrozen(t)
	id, err := ident.ParseAccountID(f.AccountID)
	if err != nil {
		t.Fatal(err)
	}
	var certs []*Cert
	for _, raw := range []hexBytes{f.Genesis, f.Rotate, f.Recover} {
		c, err := DecodeCert(raw)
		if err != nil {
			t.Fatal(err)
		}
		certs = append(certs, c)
	}
	chain, err := VerifyChain(id, certs)
	if err != nil || chain.G() != 3 {
		t.Fatalf("got %v, %v", chain, err)
	}
	r, err := DecodeEpochRecord(f.Record)
	if err != nil {
		t.Fatal(err)
	}
	first, _ := VerifyChain(id, certs[:1])
	if err := first.CheckRecord(r); err != nil {
		t.Error(err)
	}
	again, err := OpenRecord(id, envelope.Envelope{Namespace: envelope.Days, Key: DayKey(f.FirstDay),
		Body: f.Wrapped})
	if err != nil || !bytes.Equal(again.raw, f.Record) {
		t.Errorf("wrapped record: %v", err)
	}
}

func TestFrozenSealsOpen(t *testing.T) {
	f := loadFrozen(t)
	alice := NewRoot(private.KeyOf([32]byte{1}))
	key := newBoxKey([32]byte(f.BoxKey))
	p, _, err := openGroup(alice.ID(), 3, f.Group, []*boxKey{&key})
	if err != nil || !bytes.Equal(p.gs.b[:], f.GroupGS) || len(p.devices) != 2 {
		t.Fatalf("device group: got %v, %v", p, err)
	}
	id, _ := ident.ParseDeviceID(f.DeviceID)
	if d, ok := p.device(id); !ok || d.Label != "second" {
		t.Errorf("device %s is not in the group", f.DeviceID)
	}
	s, err := UnmarshalState(f.State)
	if err != nil {
		t.Fatal(err)
	}
	in, err := s.Open(envelope.Envelope{Seq: f.Seq, Namespace: envelope.Inbox, StoredAt: f.StoredAt,
		Body: f.Envelope}, nobody)
	if err != nil || !in.Verified || string(in.Body) != f.Body || in.Sender.String() != f.Sender {
		t.Errorf("envelope: got %+v, %v", in, err)
	}
	if l, err := DecodeLinkRequest(alice.ID(), f.Link); err != nil || l.Code != f.Code || l.Label != "third" {
		t.Errorf("link request: got %+v, %v", l, err)
	}
	if kind, body, err := s.OpenCopy(f.Copy); err != nil || kind != CopySent ||
		string(body) != "frozen copy" {
		t.Errorf("copy: got %q, %v", body, err)
	}
	if body, err := s.OpenDocument(f.Document); err != nil || string(body) != "frozen document" {
		t.Errorf("document: got %q, %v", body, err)
	}
	s.vault = nil
	if err := s.LearnVault(alice, f.Wrap); err != nil || !bytes.Equal(s.vault[0].key.b[:], f.VaultKey) {
		t.Errorf("vault wrap: %v", err)
	}
}
