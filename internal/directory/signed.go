package directory

import (
	"crypto/ed25519"
	"time"

	"golang.org/x/crypto/cryptobyte"

	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/private"
)

const labelSign = "starling/v1/directory\x00"

// Validity is how long a directory holds after it was issued; Grace is how long beyond that a client goes on
// with it and a warning, if it finds no newer one.
const (
	Validity = 24 * time.Hour
	Grace    = 24 * time.Hour
)

// Sign returns a signer's signature over an encoded directory: Ed25519 over a label and the bytes.
func Sign(key private.SigningKey, body []byte) (sig [64]byte) { return key.Sign(signedBytes(body)) }

// VerifySignature reports whether sig is the signature of the signer with the given public key over body.
func VerifySignature(key [32]byte, body []byte, sig [64]byte) bool {
	return ed25519.Verify(key[:], signedBytes(body), sig[:])
}

func signedBytes(body []byte) []byte {
	return append([]byte(labelSign), body...)
}

// Encode returns version u8 | body bytes[u32] | count u8 | for each signature: signer u8 | 64 bytes.
func (s *Signed) Encode() []byte {
	var b cryptobyte.Builder
	b.AddUint8(FormatVersion)
	b.AddUint32LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(s.Body) })
	b.AddUint8(uint8(len(s.Signatures)))
	for _, g := range s.Signatures {
		b.AddUint8(g.Signer)
		b.AddBytes(g.Sig[:])
	}
	return b.BytesOrPanic()
}

// DecodeSigned reads what Encode wrote. Body aliases b.
func DecodeSigned(b []byte) (*Signed, error) {
	bad := func(what string) (*Signed, error) {
		return nil, fault.New(fault.Invalid, "decode signed directory", "%s", what)
	}
	p := cryptobyte.String(b)
	var version, n uint8
	var size uint32
	s := new(Signed)
	if !p.ReadUint8(&version) || version != FormatVersion {
		return bad("has an unknown version")
	}
	if !p.ReadUint32(&size) || size > MaxSize || !p.ReadBytes(&s.Body, int(size)) {
		return bad("ends in its body")
	}
	if !p.ReadUint8(&n) || n > MaxSigners || len(p) != 65*int(n) {
		return bad("has a malformed list of signatures")
	}
	s.Signatures = make([]Signature, n)
	for i := range s.Signatures {
		p.ReadUint8(&s.Signatures[i].Signer)
		p.CopyBytes(s.Signatures[i].Sig[:])
		if i > 0 && s.Signatures[i-1].Signer >= s.Signatures[i].Signer {
			return bad("signatures are not in order of their signers")
		}
	}
	return s, nil
}

// Verify returns the directory inside s if it is of this cluster and at least t of the pinned signers signed
// exactly these bytes. It looks neither at the clock (see CheckTime) nor at versions seen before (see
// CheckNewer).
//
// Errors: Denied (too few valid signatures, another cluster), Invalid (format).
func (f *ClusterFile) Verify(s *Signed) (*Directory, error) {
	valid := 0
	for i, g := range s.Signatures {
		if i > 0 && s.Signatures[i-1].Signer >= g.Signer {
			return nil, fault.New(fault.Invalid, "verify directory",
				"signatures are not in order of their signers")
		}
		if int(g.Signer) < len(f.Signers) && VerifySignature(f.Signers[g.Signer], s.Body, g.Sig) {
			valid++
		}
	}
	if valid < f.T {
		return nil, fault.New(fault.Denied, "verify directory",
			"%d valid signatures of the cluster's signers, want %d", valid, f.T)
	}
	d, err := Decode(s.Body)
	if err != nil {
		return nil, err
	}
	if d.Cluster != f.ID {
		return nil, fault.New(fault.Denied, "verify directory", "is of cluster %s, want %s", d.Cluster, f.ID)
	}
	return d, nil
}

// CheckTime says whether d may be used at the instant now: stale is true, without an error, in the grace time
// after the end of its validity.
func (d *Directory) CheckTime(now time.Time) (stale bool, err error) {
	until := time.UnixMilli(d.ValidUntil)
	switch {
	case now.After(until.Add(Grace)):
		return true, fault.New(fault.Unavailable, "check directory",
			"version %d was valid until %s, and it is %s: the clock is wrong or the cluster has stopped "+
				"signing",
			d.Version, until.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	case now.Before(time.UnixMilli(d.IssuedAt).Add(-Grace)):
		return false, fault.New(fault.Unavailable, "check directory",
			"version %d was issued at %s, and it is %s: the clock is wrong",
			d.Version, time.UnixMilli(d.IssuedAt).UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	return now.After(until), nil
}

// CheckNewer refuses a directory below the version that the caller has seen.
func (d *Directory) CheckNewer(seen uint64) error {
	if d.Version < seen {
		return fault.New(fault.Stale, "check directory", "version %d, have seen %d: it was rolled back",
			d.Version, seen)
	}
	return nil
}

// Period returns the onion-key period of the instant.
func Period(now time.Time) uint32 { return uint32(now.Unix() / PeriodSeconds) }
