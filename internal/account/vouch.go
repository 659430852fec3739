package account

import (
	"golang.org/x/crypto/cryptobyte"

	"github.com/starling-swarm/starling/internal/fault"
)

// VouchSize is the length of a vouch.
const VouchSize = 1 + 4 + 64

// Vouch signs a statement for the account, for whoever has its certificates: see Chain.CheckVouch. The
// statement names its purpose and everything it is bound to. fault.Denied: this device is not part of the
// account.
func (s *State) Vouch(statement []byte) ([]byte, error) {
	if s.gen == nil || s.revoked {
		return nil, fault.New(fault.Denied, "vouch", "this device is not part of the account")
	}
	return s.gen.vouch(statement), nil
}

func (g *generation) vouch(statement []byte) []byte {
	var b cryptobyte.Builder
	b.AddUint8(formatVersion)
	b.AddUint32(g.g)
	head := b.BytesOrPanic()
	sig := g.ask.sign(labelVouch, head, statement)
	return append(head, sig[:]...)
}

// VouchGeneration returns the generation that made a vouch. fault.Corrupt: it is none.
func VouchGeneration(vouch []byte) (g uint32, err error) {
	s := cryptobyte.String(vouch)
	var version uint8
	if len(vouch) != VouchSize || !s.ReadUint8(&version) || version != formatVersion || !s.ReadUint32(&g) ||
		g == 0 {
		return 0, fault.New(fault.Corrupt, "read vouch", "malformed, or of a later version")
	}
	return g, nil
}

// CheckVouch says whether a generation of the chain vouched for a statement; nil if so.
//
// Errors: Corrupt (malformed), Unauthenticated (its generation did not sign it), NotFound (its generation is
// newer than the chain: read the certificates again), Stale (its generation ended with a recovery, and nobody
// answers for it any more).
func (c *Chain) CheckVouch(statement, vouch []byte) error {
	const op = "check vouch"
	g, err := VouchGeneration(vouch)
	if err != nil {
		return err
	}
	if g > c.G() {
		return fault.New(fault.NotFound, op, "generation %d is not known, have %d", g, c.G())
	}
	cert, ok := c.Cert(g)
	if !ok {
		return fault.New(fault.Stale, op, "generation %d was before the account's last recovery", g)
	}
	if !verify(cert.Ask, vouch[5:], labelVouch, vouch[:5], statement) {
		return fault.New(fault.Unauthenticated, op, "generation %d of the account did not sign it", g)
	}
	return nil
}
