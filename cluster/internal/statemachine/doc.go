// Package statemachine is what a swarm replicates: mailboxes, and what every command does to them.
//
// A replica decodes the commands of each committed Raft entry with DecodeCommand and runs them through Apply,
// which reads and writes ordered tables in one storage transaction (Tx). Requests that change nothing go to
// Read on any replica, subscriptions through VerifySubscribe and ReadAfter. cluster/internal/mailstore
// provides the transaction, durability and snapshots.
//
// The package is pure: equal tables and equal commands give equal tables and results on every replica,
// whatever its wall clock. Time comes with the commands (Stamp), signatures are checked here again on every
// replica, and nothing depends on map order. Layouts: docs/formats.md, sections 3 and 8.
package statemachine
