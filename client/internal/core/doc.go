// Package core is what every room of the client stands on: the one door to the store, the device's keys, the
// documents that the account's devices share, the account's own certificates, and the line to the cluster.
//
// Update runs a transaction with a Batch. What the transaction did is told to the Batch as facts, and wakes
// others only once it is on disk. If it fails, everything that memory knew better than the disk is forgotten:
// see OnRollback.
//
// Locks: the store serialises transactions, and they guard Docs. A Keyring may be entered inside a
// transaction, never the other way round. core owns the rows of the profile (stage, cluster), of the
// documents and the own cursor.
package core
