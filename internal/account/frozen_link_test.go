package account

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"testing"

	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/private"
)

// frozenJoiner is a new device whose secrets count upwards.
func frozenJoiner(t testing.TB) *Joiner {
	t.Helper()
	b := []byte{joinerMark, formatVersion}
	b = append(b, bytes.Repeat([]byte{0xc1}, 32)...) // cluster
	b = append(b, bytes.Repeat([]byte{0xd1}, 16)...) // device
	b = append(b, 6, 't', 'a', 'b', 'l', 'e', 't')   // label
	b = append(b, 0, 0, 1, 0x8c, 0, 0, 0, 0)         // made at
	b = append(b, bytes.Repeat([]byte{0x5e}, 16)...) // seed
	for _, k := range []byte{0x11, 0x22, 0x33} {     // dsk, dk, next dk
		b = append(b, bytes.Repeat([]byte{k}, 32)...)
	}
	j, err := UnmarshalJoiner(b)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// TestFrozenLink holds the bytes of docs/formats.md, section 6.2: other programs have to make the same.
func TestFrozenLink(t *testing.T) {
	j := frozenJoiner(t)
	r := j.Invite().Rendezvous()
	authority, offer := r.Authority.Public(), sha256.Sum256(j.offer())
	var id ident.AccountID
	root := NewRoot(private.KeyOf([32]byte{1}))
	id = root.ID()
	cert, err := newCert(Cert{Kind: CertGenesis, Account: id, G: 1, Ask: authority, Sx: [32]byte{9},
		Auth: authority, Created: 1}, nil, root)
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string]struct{ got, want string }{
		"invitation": {j.Invite().String(),
			"STARLING-LINK-070W-3GE1-YTYV-TX6E-MEK9-CYPZ-N8R2-H8MF-MM2C-D2XS-BSF5-WQJY-BSF5-WQJY-BSF5-WQJY-BR66"},
		"mailbox": {r.Mailbox.String(),
			"5789f9605a4624c0a5fdfad93f9dc6c90f693a6e60761843fc5ba40503a4ea7c"},
		"authority": {hex.EncodeToString(authority[:]),
			"cd1a0c718970476faa010aebdaca482657e3d9e596819e575f9634fea51faa6b"},
		"SHA-256 of offer": {hex.EncodeToString(offer[:]),
			"ce5deb76cc039db5876c9d8af10a010864e752348e05c06068fea44e1e1c52de"},
		"number of a chain": {ChainNumber(id, ident.AccountIDOf(r.Mailbox[:]), cert),
			"24805 81007 24214 13095 65760 42675"},
	} {
		if v.got != v.want {
			t.Errorf("%s: got %s, want %s", name, v.got, v.want)
		}
	}
}
