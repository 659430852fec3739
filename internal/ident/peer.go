package ident

import "github.com/starling-swarm/starling/internal/fault"

// Peer is whom a conversation is with: an AccountID or a GroupID. Values are comparable.
type Peer interface {
	// Key returns the ID's bytes.
	Key() PeerKey
	// String returns the ID in lower-case hex, which is also the conversation's ID.
	String() string
	// Short returns the first digits, for people.
	Short() string
}

// PeerKey is the ID of an account or a group where either may stand, as a map's key or a row's: the first
// byte tells which (PeerOf).
type PeerKey [33]byte

// Key returns the bytes of the ID.
func (a AccountID) Key() PeerKey { return PeerKey(a) }

// Key returns the bytes of the ID.
func (g GroupID) Key() PeerKey { return PeerKey(g) }

// Short returns the first 10 hex digits, for people.
func (a AccountID) Short() string { return a.String()[:10] }

// Short returns the first 10 hex digits, for people.
func (g GroupID) Short() string { return g.String()[:10] }

// PeerOf returns the account or group with the given bytes; false for any other type byte.
func PeerOf(key PeerKey) (Peer, bool) {
	switch key[0] {
	case AccountType:
		return AccountID(key), true
	case GroupType:
		return GroupID(key), true
	}
	return nil, false
}

// ParsePeer reads 66 hex digits that begin with 05 or 03.
func ParsePeer(s string) (Peer, error) {
	var key PeerKey
	if err := parseHex("account or group ID", s, key[:]); err != nil {
		return nil, err
	}
	p, ok := PeerOf(key)
	if !ok {
		return nil, fault.New(fault.Invalid, "parse account or group ID", "begins with %02x, want 05 or 03",
			key[0])
	}
	return p, nil
}
