// Package rpc is how processes of a cluster talk: the two listeners of a node, the dialers for both, the
// credentials and interceptors on them, and the one table that maps fault kinds to gRPC codes.
//
// A node has one peer listener (TLS 1.3, both sides present a certificate that is self-signed by the node's
// Ed25519 key, checked by pin and not by date); ALPN picks the protocol: "h2" is gRPC, "starling-raft/1" a
// raw Raft connection. Clients have a listener of their own, where only the server has a certificate, pinned
// by NodeID. Every method is refused unless it is on the listener's list, and what a peer may call follows
// from its Trust, looked up at every call, so that a node removed from the membership is cut off at once.
//
// An error that crosses a connection is a *fault.Error on both ends; text of unclassified errors never leaves
// a node.
package rpc
