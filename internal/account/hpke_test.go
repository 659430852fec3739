package account

import (
	"bytes"
	"crypto/hpke"
	"crypto/rand"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/private"
)

// TestKnownAnswersOfTheHPKESuite opens the standard library's vectors of our suite through our key type:
// another KEM, KDF or AEAD, or another way to read private keys, does not.
func TestKnownAnswersOfTheHPKESuite(t *testing.T) {
	goroot, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Skip("no Go toolchain: ", err)
	}
	b, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(goroot)), "src", "crypto", "hpke",
		"testdata", "hpke-pq.json"))
	if err != nil {
		t.Skip("the toolchain comes without vectors: ", err)
	}
	var suites []struct {
		KEM  uint16 `json:"kem_id"`
		KDF  uint16 `json:"kdf_id"`
		AEAD uint16 `json:"aead_id"`

		Info    wyHex `json:"info"`
		Private wyHex `json:"skRm"`
		Public  wyHex `json:"pkRm"`
		Enc     wyHex `json:"enc"`

		Encryptions []struct{ AAD, CT, PT wyHex }
		Exports     []struct {
			Context wyHex `json:"exporter_context"`
			Value   wyHex `json:"exported_value"`
			L       int
		}
	}
	if err := json.Unmarshal(b, &suites); err != nil {
		t.Fatal(err)
	}
	opened := 0
	for _, v := range suites {
		if v.KEM != 0x647a || v.KDF != 1 || v.AEAD != 3 {
			continue
		}
		k := newBoxKey([32]byte(v.Private))
		if !bytes.Equal(k.public(), v.Public) {
			t.Error("another public key")
		}
		r, err := hpke.NewRecipient(v.Enc, k.key, hpke.HKDFSHA256(), hpke.ChaCha20Poly1305(), v.Info)
		if err != nil {
			t.Fatal(err)
		}
		for i, e := range v.Encryptions {
			if pt, err := r.Open(e.AAD, e.CT); err != nil || !bytes.Equal(pt, e.PT) {
				t.Errorf("ciphertext %d: %v", i, err)
			}
			opened++
		}
		for i, e := range v.Exports {
			if got, err := r.Export(string(e.Context), e.L); err != nil || !bytes.Equal(got, e.Value) {
				t.Errorf("export %d: %v", i, err)
			}
		}
	}
	if opened == 0 {
		t.Error("no vector of the suite was found")
	}
}

func BenchmarkSeal1KiB(b *testing.B) {
	w := newWorld(b)
	to, s, body := w.alice.box.recipient(w.alice.id, w.now), w.bob.devices[0], make([]byte, 1024)
	for b.Loop() {
		if _, err := s.Seal(to, Outgoing{PeerSeen: 1, Body: body}, w.now); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen1KiB(b *testing.B) {
	w := newWorld(b)
	e := w.bob.send(w.bob.devices[0], w.alice, string(make([]byte, 1024)), 1, w.now)
	chain := w.bob.box.recipient(w.bob.id, w.now).Chain
	for b.Loop() {
		if in, err := w.alice.devices[0].Open(e, func(ident.AccountID) *Chain { return chain }); err != nil ||
			!in.Verified {
			b.Fatal(err)
		}
	}
}

func BenchmarkGenesis(b *testing.B) {
	for b.Loop() {
		if _, err := Create(rand.Reader, NewRoot(private.KeyOf([32]byte{1})), testCluster, "bench", testStart,
			nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAdopt(b *testing.B) {
	w := newWorld(b)
	s := w.alice.devices[0]
	c, err := s.Rotate(rand.Reader, Rotation{}, w.now)
	if err != nil {
		b.Fatal(err)
	}
	k, _ := s.Authority()
	w.alice.box.do(c.Request, k, w.now)
	raw, certs := s.Marshal(), w.alice.box.in(envelope.Certs)
	for b.Loop() {
		d, err := UnmarshalState(raw)
		if err != nil {
			b.Fatal(err)
		}
		d.LearnCerts(certs)
		if _, err := d.Adopt(rand.Reader, c.Group); err != nil {
			b.Fatal(err)
		}
	}
}
