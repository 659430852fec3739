// Package groups is the members' side of closed groups: an ordered log of commits, each signed and sealed,
// that every member checks and applies to the same state, and the messages between them.
//
// A State is one account's secret memory of one group. Create makes a group; Enter makes the state of a
// device from the log, a slot and a Ticket: what an admin added, or what another own device handed over.
// Propose turns a Change into a Proposal: a commit and its slots, to be stored on the condition that the
// log's head has not moved. Whoever loses that race applies the winner's commit and calls Propose with the
// same Change again, which answers fault.Exists once nothing is left to do. Apply takes in every commit, the
// own ones too; one that breaks the rules is void, for all members alike. Seal and Open carry messages.
//
// A removal begins a generation: fresh keys, sealed to everybody who remains. Who was removed opens nothing
// from there on; who was added opens the days that the slot was given and, with TakeHistory, those of earlier
// generations, and learns who was in the group before.
//
// A group's form is fixed when it is made. In a public group an invitation that is bound to nobody is a door:
// whoever has it makes a commit with Join, without an admin, and enters.
//
// The package is pure: time is an argument and randomness an io.Reader, except where crypto/hpke draws its
// own. A State is not safe for concurrent use; after every call that changes it the caller writes Marshal's
// bytes to disk, encrypted, before it acts on the result. Layouts, labels and keys: docs/formats.md, section
// 11.
package groups
