// Package demo plays a short story on a cluster in this process, with real nodes and real clients, and prints
// what happens and how long it takes: messages through three relays, several devices of one account, a node
// killed in the middle of a burst, a group. It counts what arrives, and what is lost or comes twice.
package demo
