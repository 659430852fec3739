// Package consensus replicates commands with Raft: many groups per node, over one listener.
//
// A node has one Mux, which takes connections from an authenticated listener and dials its peers by NodeID.
// Each replica of a swarm, and of the directory, is a Group: Open starts it on a directory and an FSM,
// Bootstrap founds it, Propose replicates a command and returns what the FSM answered. An acknowledgement
// means that a majority has the command on disk. The FSM's own durability is never on that path: after a
// restart the log is replayed from the index that the FSM says it has.
//
// The package wraps hashicorp/raft and closes the gaps that a mailbox store would fall into: a follower that
// commits entries of its own divergent tail (see clamp.go), one that is sent the same snapshot for ever
// (align.go), a fresh group that waits out an election timeout (founding.go), logs and snapshots counted in
// entries instead of bytes (logstore.go, retention.go), and a log that is written to after a failed fsync
// (logstore.go). Terms and indexes do not leave this package and the FSM.
//
// Failures are fault errors: Unavailable with ErrNotLeader when nothing was proposed, Unavailable with
// ErrOutcomeUnknown when the command may still be committed. Both are safe to retry if commands are
// idempotent.
//
// The package is impure: it owns goroutines, files and connections. Layouts: docs/formats.md, section 8.
package consensus

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// Causes of an Unavailable error, for errors.Is.
var (
	// ErrNotLeader says that this replica does not lead: nothing was proposed, ask the leader.
	ErrNotLeader = errors.New("not the leader")
	// ErrOutcomeUnknown says that the command was proposed and may or may not be committed.
	ErrOutcomeUnknown = errors.New("outcome unknown")
	// ErrClosed says that the group is closed, crashed, or stopped itself after a failed write.
	ErrClosed = errors.New("group is closed")
)

// ServerID names a replica. A node that lost its data takes a new incarnation, because a replica that forgot
// its votes must never vote under its old name.
type ServerID struct {
	Node        ident.NodeID
	Incarnation uint32
}

// String returns "<node ID in hex>.<incarnation>".
func (s ServerID) String() string {
	return s.Node.String() + "." + strconv.FormatUint(uint64(s.Incarnation), 10)
}

// ParseServerID reads what String writes.
func ParseServerID(text string) (ServerID, error) {
	node, inc, ok := strings.Cut(text, ".")
	if !ok {
		return ServerID{}, fault.New(fault.Invalid, "parse server ID", "%q has no incarnation", text)
	}
	id, err := ident.ParseNodeID(node)
	if err != nil {
		return ServerID{}, err
	}
	n, err := strconv.ParseUint(inc, 10, 32)
	if err != nil || strconv.FormatUint(n, 10) != inc {
		return ServerID{}, fault.New(fault.Invalid, "parse server ID",
			"incarnation %q is not a number of 32 bits", inc)
	}
	s := ServerID{Node: id, Incarnation: uint32(n)}
	if s.String() != text { // Raft compares these as text
		return ServerID{}, fault.New(fault.Invalid, "parse server ID", "%q is not in lower case", text)
	}
	return s, nil
}

// Server is a member of a group. A non-voter receives the log and counts for no majority.
type Server struct {
	ID       ServerID
	NonVoter bool
}

// Batch is the part of one Raft entry that concerns the FSM: the commands that were coalesced into it, in the
// order of their proposal. A batch without commands is a change of membership: it only moves Applied.
type Batch struct {
	Index, Term uint64
	Commands    [][]byte
}

// FSM is what a group replicates. ApplyBatch, Snapshot and Restore are called by one goroutine, one at a
// time; Applied and a Snapshot's Persist may run beside them.
//
// It must be deterministic: the same batches give the same state on every replica.
type FSM interface {
	// ApplyBatch applies batches in order and returns for each one result per command. Batches up to Applied
	// are not passed. When it returns, Applied is the last batch's index; that need not be durable yet.
	ApplyBatch([]Batch) [][]any
	// Applied returns the index and term of the last batch in the state. After a restart it is what is
	// durable.
	Applied() (index, term uint64)
	// Snapshot captures the state as of now, and makes it durable first: the log behind it will be deleted.
	Snapshot() (Snapshot, error)
	// Restore replaces the state with that of a snapshot, durably, including Applied.
	Restore(io.Reader) error
}

// Snapshot is a captured state. Persist is called at most once, Release exactly once.
type Snapshot interface {
	Persist(io.Writer) error
	Release()
}

// Limits that two replicas must agree on.
const (
	// MaxEntry is the size in bytes of the largest Raft entry of coalesced commands.
	MaxEntry = 512 << 10
	// MaxCommands is the number of commands in the largest entry.
	MaxCommands = 512
	// MaxCommand is the size in bytes of the largest command: alone in an entry, it fits.
	MaxCommand = MaxEntry - entryOverhead - commandOverhead
)

// Config configures a Group. Zero values take the defaults in parentheses.
type Config struct {
	Group ident.SwarmID // which group; ident.DirectoryGroup is the directory's
	Self  ServerID      // this replica's name, required
	// required, created if absent; holds the log, votes and snapshots of this replica alone
	Dir    string
	FSM    FSM          // required
	Mux    *Mux         // required: how this replica hears its peers, and dials them
	Logger *slog.Logger // nil discards
	// OnFatal is called once, in a goroutine of its own, when a write to the log or to the votes fails. The
	// replica has fallen silent by then and writes no more; the process should exit, or Crash and reopen the
	// group.
	OnFatal func(error)

	// without a leader for 1 to 2 times this a follower stands for election (1.5 s)
	HeartbeatTimeout time.Duration
	ElectionTimeout  time.Duration // an election without a winner is repeated after 1 to 2 times this (2 s)
	LeaseTimeout     time.Duration // a leader without a majority for this long steps down (1 s)
	CommitTimeout    time.Duration // how late followers learn what is committed when the log rests (50 ms)

	InFlight        int // entries in flight before commands are coalesced (4)
	QueueBytes      int // bytes of commands that wait; beyond it Propose answers Limited (32 MiB)
	WALSegmentBytes int // preallocated size of a log segment (32 MiB; 4 MiB suits tests)
	CacheBytes      int // newest log entries kept in memory for followers (4 MiB)
	// log kept behind a snapshot, so that followers catch up without it (32 MiB)
	RetainBytes   int64
	SnapshotBytes int64         // take a snapshot when the log has grown by this (64 MiB)
	SnapshotAge   time.Duration // or when it has grown at all and the last snapshot is this old (1 h)

	unclamped bool     // tests only: leave the hazard of clamp.go open
	hooks     logHooks // tests only: stall or fail the log
}

func (c Config) withDefaults() (Config, error) {
	op := fmt.Sprintf("open group %d", c.Group)
	switch {
	case c.Self.Node.IsZero():
		return c, fault.New(fault.Invalid, op, "has no server ID")
	case c.Dir == "":
		return c, fault.New(fault.Invalid, op, "has no directory")
	case c.FSM == nil:
		return c, fault.New(fault.Invalid, op, "has no state machine")
	case c.Mux == nil:
		return c, fault.New(fault.Invalid, op, "has no mux")
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.Logger = c.Logger.With("group", uint32(c.Group))
	if c.OnFatal == nil {
		c.OnFatal = func(error) {}
	}
	or(&c.HeartbeatTimeout, 1500*time.Millisecond)
	or(&c.ElectionTimeout, max(2*time.Second, c.HeartbeatTimeout))
	or(&c.LeaseTimeout, min(time.Second, c.HeartbeatTimeout))
	or(&c.CommitTimeout, min(50*time.Millisecond, c.HeartbeatTimeout/4))
	or(&c.InFlight, 4)
	or(&c.QueueBytes, 32<<20)
	or(&c.WALSegmentBytes, 32<<20)
	or(&c.CacheBytes, 4<<20)
	or(&c.RetainBytes, 32<<20)
	or(&c.SnapshotBytes, 64<<20)
	or(&c.SnapshotAge, time.Hour)
	return c, nil
}

func or[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
