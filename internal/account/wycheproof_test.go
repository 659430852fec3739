package account

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// wyHex is a hexadecimal string of a test vector.
type wyHex []byte

func (h *wyHex) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	out, err := hex.DecodeString(s)
	*h = out
	return err
}

type wyTest struct {
	ID      int    `json:"tcId"`
	Comment string `json:"comment"`
	Result  string `json:"result"`

	Public, Private, Shared    wyHex
	Key, IV, AAD, Msg, CT, Tag wyHex
	IKM, Salt, Info, OKM       wyHex
	Sig                        wyHex
	Size                       int
}

type wyGroup struct {
	Tests     []wyTest `json:"tests"`
	IVSize    int      `json:"ivSize"`
	PublicKey struct {
		PK wyHex `json:"pk"`
	} `json:"publicKey"`
}

// vectors reads a file of the Wycheproof project, which lies beside the checkout where it is present.
func vectors(t *testing.T, name string) []wyGroup {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		b, err := os.ReadFile(filepath.Join(dir, "shared", "vectors", name))
		if err != nil {
			continue
		}
		var file struct {
			Groups []wyGroup `json:"testGroups"`
		}
		if err := json.Unmarshal(b, &file); err != nil {
			t.Fatal(err)
		}
		return file.Groups
	}
	t.Skip("test vectors are not there")
	return nil
}

func each(t *testing.T, name string, check func(g *wyGroup, v *wyTest) (accepted bool)) {
	t.Helper()
	n := 0
	for _, g := range vectors(t, name) {
		for _, v := range g.Tests {
			n++
			if got := check(&g, &v); v.Result == "valid" && !got || v.Result == "invalid" && got {
				t.Errorf("test %d (%s): accepted %v, want %s", v.ID, v.Comment, got, v.Result)
			}
		}
	}
	if n == 0 {
		t.Errorf("%s has no tests", name)
	}
}

func TestWycheproofEd25519(t *testing.T) {
	each(t, "ed25519_test.json", func(g *wyGroup, v *wyTest) bool {
		return verify([32]byte(g.PublicKey.PK), v.Sig, "", v.Msg)
	})
}

func TestWycheproofX25519(t *testing.T) {
	zero := make([]byte, 32)
	each(t, "x25519_test.json", func(_ *wyGroup, v *wyTest) bool {
		k := newDHKey([32]byte(v.Private))
		got, err := k.exchange([32]byte(v.Public))
		if bytes.Equal(v.Shared, zero) {
			if err == nil {
				t.Errorf("test %d: a point of small order is accepted", v.ID)
			}
			return true
		}
		if wrong := checkDHPublic([32]byte(v.Public)); wrong == "is of small order" {
			t.Errorf("test %d: refused as of small order", v.ID)
		}
		return err == nil && bytes.Equal(got, v.Shared)
	})
}

func TestWycheproofXChaCha20Poly1305(t *testing.T) {
	each(t, "xchacha20_poly1305_test.json", func(g *wyGroup, v *wyTest) bool {
		if g.IVSize != 192 {
			return v.Result == "valid"
		}
		got, err := openBytes("test", [32]byte(v.Key), v.AAD, append(append(bytes.Clone(v.IV), v.CT...),
			v.Tag...))
		return err == nil && bytes.Equal(got, v.Msg)
	})
}

func TestWycheproofHKDF(t *testing.T) {
	each(t, "hkdf_sha256_test.json", func(_ *wyGroup, v *wyTest) bool {
		got, err := hkdf.Key(sha256.New, v.IKM, v.Salt, string(v.Info), v.Size)
		return err == nil && bytes.Equal(got, v.OKM)
	})
}
