package client

import (
	"github.com/starling-swarm/starling/internal/directory"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// The names that programs outside of this module use for what this package takes and returns.
type (
	AccountID = ident.AccountID // 33 bytes; as text 05 and 64 hexadecimal digits
	GroupID   = ident.GroupID   // 33 bytes; as text 03 and 64 hexadecimal digits
	Peer      = ident.Peer      // whom a conversation is with: an AccountID or a GroupID
	DeviceID  = ident.DeviceID  // 16 bytes
	MessageID = ident.MessageID // 16 bytes; counts for its author only
	NodeID    = ident.NodeID    // 32 bytes
	ClusterID = ident.ClusterID // 32 bytes
	Path      = ident.Path      // guard, middle and exit of a circuit

	// ClusterFile says which cluster a profile belongs to and whom to trust about it.
	ClusterFile = directory.ClusterFile
)

// ParseAccountID reads an account's 66 hexadecimal digits. Errors: ErrInvalid.
func ParseAccountID(s string) (AccountID, error) { return ident.ParseAccountID(s) }

// ParseGroupID reads a group's 66 hexadecimal digits. Errors: ErrInvalid.
func ParseGroupID(s string) (GroupID, error) { return ident.ParseGroupID(s) }

// ParsePeer reads the 66 hexadecimal digits of an account or a group. Errors: ErrInvalid.
func ParsePeer(s string) (Peer, error) { return ident.ParsePeer(s) }

// ParseMessageID reads a UUID or 32 hexadecimal digits. Errors: ErrInvalid.
func ParseMessageID(s string) (MessageID, error) { return ident.ParseMessageID(s) }

// ParseClusterFile reads the bytes of a cluster file, as a node's administrator hands it out. Errors:
// ErrInvalid.
func ParseClusterFile(b []byte) (*ClusterFile, error) { return directory.ParseClusterFile(b) }

// What a caller can do about an error, for errors.Is.
const (
	ErrInvalid         = fault.Invalid         // it breaks a limit or a format: do not try again
	ErrUnauthenticated = fault.Unauthenticated // no valid signature
	ErrDenied          = fault.Denied          // not allowed
	ErrNotFound        = fault.NotFound        // it does not exist
	ErrExists          = fault.Exists          // it exists already, or nothing is left to do
	ErrStale           = fault.Stale           // a race was lost: read again
	ErrLimited         = fault.Limited         // a quota or a rate: later
	ErrUnavailable     = fault.Unavailable     // the cluster cannot be reached now; trying again is safe
	ErrCorrupt         = fault.Corrupt         // bytes fail their check
	ErrInternal        = fault.Internal        // an error of this program
)
