// Package envelope is the vocabulary of what a mailbox holds and of what can be asked of it: namespaces and
// their rules, envelopes, operations, and the exact bytes that requests are signed over.
//
// The package knows formats and limits only. Who may do what at a given moment is decided by
// cluster/internal/statemachine, which replays these bytes on every replica. All layouts are big-endian and
// are written down in docs/formats.md, section 3; every decoder checks sizes before it allocates and rejects
// what it does not know.
package envelope

import "time"

// Namespace is a numbered box of a mailbox.
type Namespace uint16

// The namespaces of this version. Numbers from Application on are free for applications.
const (
	Inbox       Namespace = 1      // messages from anyone
	Certs       Namespace = 2      // the account's certificate log
	Days        Namespace = 3      // EpochRecords, keyed by day
	Devices     Namespace = 4      // device groups, keyed by generation
	Vault       Namespace = 5      // snapshots of sync documents
	Sync        Namespace = 6      // deltas and copies for own devices
	Contest     Namespace = 7      // a replaced authority's one objection
	Blobs       Namespace = 8      // chunks of files in one-time mailboxes
	GroupLog    Namespace = 16     // group commits
	GroupSlots  Namespace = 17     // staged slots, keyed by locator
	GroupMail   Namespace = 18     // group messages
	GroupLeaves Namespace = 19     // members' leaf keys
	GroupNotice Namespace = 20     // notices of admins
	GroupAsk    Namespace = 21     // requests to join
	Application Namespace = 0x8000 // first of the applications' own
)

// Sizes and counts that every node and client agrees on.
const (
	MaxBody         = 98_304  // bytes of an envelope's body, in the largest namespaces
	MaxOps          = 24      // operations of one request
	MaxBatchBodies  = 393_216 // bytes of all bodies of one request
	MaxDeleteHashes = 4_096   // hashes of one delete
	MaxRevokeKeys   = 1_000   // keys of one revocation
	MaxRequest      = 450_000 // bytes of one encoded request
	MaxClientBatch  = 120_000 // bytes of a request that fits one message of a MSG circuit
	KeySize         = 16      // bytes of an envelope's key in keyed namespaces
	MaxPage         = 1 << 20 // bytes of envelopes in one answer to a retrieve
	MaxPageCount    = 1_000   // envelopes in one answer to a retrieve
	MaxNamespaces   = 16      // namespaces named by one retrieve or subscribe
	MaxAdmission    = 256     // bytes of an admission
	MaxDetail       = 255     // bytes of an error's text on the wire
)

// Who is a set of parties that may store or read.
type Who uint16

const (
	Anyone    Who = 1 << iota // anyone who knows the MailboxID (stores need admission)
	Authority                 // the mailbox's current authority
	// the blinded root key, in a request that holds an authority genesis or recover
	MailboxKey
	Replaced   // the authority that the last recover replaced, once
	ReadKey    // a group's read key of any generation
	NewestRead // a group's current read key
	WriteKey   // a group's current write key, where members share it
	AdminKey   // a group's current admin key
)

// Rules are a namespace's fixed properties (docs/formats.md, section 3.1).
type Rules struct {
	Name        string
	Store, Read Who
	Keyed       bool          // the newest envelope per 16-byte key replaces the older
	Conditional bool          // a store must carry IfHead
	Permanent   bool          // TTL 0 allowed: the envelope has no expiry
	TTLOnly0    bool          // TTL must be 0
	MinTTL      time.Duration // least TTL otherwise
	MaxTTL      time.Duration
	MaxBody     int // bytes
	MaxEntries  int // per mailbox; 0: quota only
	MaxBytes    int // per mailbox; 0: quota only
}

const (
	day    = 24 * time.Hour
	second = time.Second
)

var rules = map[Namespace]Rules{
	Inbox: {Name: "inbox", Store: Anyone, Read: Authority, MinTTL: 10 * second, MaxTTL: 14 * day,
		MaxBody: MaxBody},
	Certs: {Name: "certs", Store: Authority | MailboxKey, Read: Anyone, Conditional: true, Permanent: true,
		TTLOnly0: true, MaxBody: 1 << 10, MaxEntries: 4096},
	Days: {Name: "days", Store: Authority | MailboxKey, Read: Anyone, Keyed: true, MinTTL: 10 * second,
		MaxTTL: 30 * day, MaxBody: 2 << 10},
	Devices: {Name: "devices", Store: Authority | MailboxKey, Read: Anyone, Keyed: true, Permanent: true,
		MinTTL: 10 * second, MaxTTL: 60 * day, MaxBody: 64 << 10},
	Vault: {Name: "vault", Store: Authority | MailboxKey, Read: Authority, Keyed: true, Permanent: true,
		TTLOnly0: true, MaxBody: 96 << 10, MaxBytes: 8 << 20},
	Sync: {Name: "sync", Store: Authority, Read: Authority, Permanent: true, MinTTL: 1 * second,
		MaxTTL: 30 * day, MaxBody: 96 << 10},
	Contest: {Name: "contest", Store: Replaced, Read: Anyone, Keyed: true, MinTTL: 90 * day, MaxTTL: 90 * day,
		MaxBody: 1 << 10},
	Blobs: {Name: "blobs", Store: Authority, Read: Anyone, Keyed: true, MinTTL: 10 * second,
		MaxTTL: 30 * day, MaxBody: MaxBody},

	GroupLog: {Name: "group log", Store: AdminKey | MailboxKey, Read: ReadKey | AdminKey,
		Conditional: true, Permanent: true, TTLOnly0: true, MaxBody: 96 << 10},
	GroupSlots: {Name: "group slots", Store: AdminKey | MailboxKey, Read: ReadKey | AdminKey, Keyed: true,
		MinTTL: 10 * second, MaxTTL: day, MaxBody: 2 << 10, MaxEntries: 16_384},
	GroupMail: {Name: "group messages", Store: WriteKey, Read: NewestRead, MinTTL: 10 * second,
		MaxTTL: 30 * day, MaxBody: MaxBody},
	GroupLeaves: {Name: "group leaves", Store: WriteKey, Read: AdminKey, MinTTL: 10 * second,
		MaxTTL: 30 * day, MaxBody: 2 << 10},
	GroupNotice: {Name: "group notices", Store: AdminKey, Read: ReadKey | AdminKey, MinTTL: 10 * second,
		MaxTTL: 30 * day, MaxBody: 2 << 10},
	GroupAsk: {Name: "group requests", Read: AdminKey, MinTTL: 10 * second, MaxTTL: 14 * day,
		MaxBody: 4 << 10, MaxEntries: 1024},
}

var application = Rules{Name: "application", Store: Authority, Read: Authority, MinTTL: 10 * second,
	MaxTTL: 30 * day, MaxBody: MaxBody}

// RulesOf returns the rules of ns, and false for a namespace that this version does not serve.
func RulesOf(ns Namespace) (Rules, bool) {
	if ns >= Application {
		return application, true
	}
	r, ok := rules[ns]
	return r, ok
}
