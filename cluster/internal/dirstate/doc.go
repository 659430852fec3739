// Package dirstate is what the directory's Raft group replicates: the nodes and their keys, the swarms, the
// table of slots, the parameters, and the signatures under each version.
//
// A member of the group feeds committed commands to State.Apply. Every change makes a new version, whose
// encoded directory each member computes for itself, signs, and sends back as a Sign command; State.Signed is
// the newest version that enough members agreed on. A node's entry comes from a Descriptor that the node
// signed, so that no member, not even the leader, can speak for a node.
//
// The package is pure: equal commands give equal bytes on every member, and time comes with the commands.
// Layouts: docs/formats.md, section 4.
package dirstate
