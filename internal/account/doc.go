// Package account holds what an account is made of, and what its devices do with it: the keys that come from
// the recovery phrase, generation certificates, day keys, device groups, sealed messages and linking.
//
// A State is the secret memory of one device. Create makes an account and its first device; NewDevice makes a
// device that joins an account by LinkRequest (approved by a live device through Rotate) or by Recover
// (signed by the phrase). Rotate, Recover and Create give a Change: one atomic batch for the account's
// mailbox. Once it is stored, every device learns of it from the certificate log (LearnCerts) and takes part
// with Adopt. Seal and Open carry messages between accounts, SealCopy and SealDocument what own devices tell
// each other.
//
// The package is pure: it does no I/O and reads no clock; time is an argument and randomness an io.Reader,
// except where crypto/hpke draws its own. A State is not safe for concurrent use. After every call that
// changes it the caller writes Marshal's bytes to disk, encrypted, before it acts on the result.
//
// Nothing here encrypts to a long-term key: without a valid day key a message cannot be sealed at all.
// Layouts, labels and the key schedule: docs/formats.md, sections 5 to 7.
package account
