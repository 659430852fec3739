// Package devicesync holds the documents that all devices of an account share, and the join that makes them
// equal: profile, contacts, conversations, groups, settings and names.
//
// A Replica is one device's copy. Local changes (Set, Remove, Raise, Add, Discard) are dirty until the delta
// that carries them is acknowledged: Delta encodes them, Acked settles them. MergeDelta and MergeSnapshot
// take in what other devices stored. The join is commutative, associative and idempotent: replicas that saw
// the same entries are equal, whatever the order, and what was removed stays removed. Changed gives the rows
// to write to disk, Load reads them back.
//
// Who the devices are, how one is linked and what the bytes are sealed with need keys: see internal/account.
//
// The package is pure: time is an argument (Unix milliseconds), and bytes are neither encrypted nor sent
// here. Layouts and rules of the join: docs/formats.md, section 7.
package devicesync
