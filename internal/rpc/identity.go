package rpc

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"time"

	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/private"
)

// Protocols that ALPN chooses on the peer listener.
const (
	protoGRPC = "h2"
	protoRaft = "starling-raft/1"
)

// Identity is a node's key and the certificate it presents on both listeners.
type Identity struct {
	ID   ident.NodeID
	cert tls.Certificate
}

// NewIdentity makes the certificate for a node's key. The certificate carries no name and no meaningful date:
// peers compare its key with their pin and look at nothing else. Errors: Invalid (there is no key), Internal.
func NewIdentity(key private.SigningKey) (*Identity, error) {
	if key.IsZero() {
		return nil, fault.New(fault.Invalid, "make certificate", "there is no key")
	}
	pub := key.Public()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "starling"},
		NotBefore:    time.Unix(0, 0),
		NotAfter:     time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, ed25519.PublicKey(pub[:]),
		key.Reveal())
	if err != nil {
		return nil, fault.Wrap(fault.Internal, "make certificate", err)
	}
	return &Identity{ID: ident.NodeIDOf(pub[:]), cert: tls.Certificate{Certificate: [][]byte{der},
		PrivateKey: key.Reveal()}}, nil
}

// peerID returns the NodeID of the key that the other side of a finished handshake proved to hold.
func peerID(state *tls.ConnectionState) (ident.NodeID, error) {
	if len(state.PeerCertificates) == 0 {
		return ident.NodeID{}, fault.New(fault.Unauthenticated, "check certificate", "peer sent none")
	}
	pub, ok := state.PeerCertificates[0].PublicKey.(ed25519.PublicKey)
	if !ok {
		return ident.NodeID{}, fault.New(fault.Unauthenticated, "check certificate",
			"key is a %T, want Ed25519", state.PeerCertificates[0].PublicKey)
	}
	return ident.NodeIDOf(pub), nil
}

// pinned returns a VerifyConnection that accepts only the node want.
func pinned(want ident.NodeID) func(tls.ConnectionState) error {
	return func(state tls.ConnectionState) error {
		got, err := peerID(&state)
		if err != nil {
			return err
		}
		if got != want {
			return fault.New(fault.Denied, "check certificate", "is of node %s, want %s",
				got.Short(), want.Short())
		}
		return nil
	}
}

// dialTLS is the configuration of a connection to the node want. id is nil on connections of clients.
func dialTLS(id *Identity, want ident.NodeID, proto string) *tls.Config {
	c := &tls.Config{
		MinVersion:         tls.VersionTLS13,
		InsecureSkipVerify: true, // The pin below is the check: there is no CA, and dates mean nothing here.
		VerifyConnection:   pinned(want),
		NextProtos:         []string{proto},
	}
	if id != nil {
		c.Certificates = []tls.Certificate{id.cert}
	}
	return c
}
