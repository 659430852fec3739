// Package fault holds the one error type that crosses package and node boundaries in Starling.
//
// A Kind says what a caller can do about an error; everything else is text for people. Kinds are errors
// themselves, so callers test them with errors.Is(err, fault.Stale). Their numbers travel on the wire and are
// append-only.
package fault

import (
	"errors"
	"fmt"
	"time"
)

// Kind classifies an error by what the caller should do next. The numbers are part of the wire format: append
// only.
type Kind uint8

// The kinds. Zero is no kind: an unclassified error is Internal.
const (
	Invalid         Kind = 1  // the request breaks a limit or a format: do not retry
	Unauthenticated Kind = 2  // no valid signature or credential
	Denied          Kind = 3  // authenticated, but not allowed
	NotFound        Kind = 4  // the named thing does not exist
	Exists          Kind = 5  // the thing to be created exists already
	Stale           Kind = 6  // lost a race: re-read, merge, retry
	WrongSwarm      Kind = 7  // the mailbox lives elsewhere: refresh the directory
	Limited         Kind = 8  // quota or rate: retry after RetryAfter
	Unavailable     Kind = 9  // no quorum, no node, no network: the outcome may be unknown, retrying is safe
	Corrupt         Kind = 10 // stored or received bytes fail their check
	Internal        Kind = 11 // our bug
)

var kindNames = [...]string{
	Invalid: "invalid", Unauthenticated: "unauthenticated", Denied: "denied", NotFound: "not found",
	Exists: "exists", Stale: "stale", WrongSwarm: "wrong swarm", Limited: "limited",
	Unavailable: "unavailable", Corrupt: "corrupt", Internal: "internal",
}

// String returns the kind in words.
func (k Kind) String() string {
	if k == 0 || int(k) >= len(kindNames) {
		return fmt.Sprintf("kind %d", uint8(k))
	}
	return kindNames[k]
}

// Error makes a Kind usable as the target of errors.Is.
func (k Kind) Error() string { return k.String() }

// Valid reports whether k is one of the kinds above.
func (k Kind) Valid() bool { return k >= Invalid && k <= Internal }

// Error is a classified error. Its text reads "op: detail: cause", lower case.
type Error struct {
	Kind   Kind
	Op     string // what was done, with its object: "store envelope 3q9f"
	Detail string // why it failed, with got and want
	Cause  error  // may be nil

	RetryAfter time.Duration // Limited: when to try again; zero means the caller's own back-off
	Head       uint64        // Stale: the sequence number that the condition met
	Version    uint64        // WrongSwarm: a directory version that knows better
}

// New returns an Error of the given kind; format and args make its Detail.
func New(kind Kind, op, format string, args ...any) *Error {
	return &Error{Kind: kind, Op: op, Detail: fmt.Sprintf(format, args...)}
}

// Wrap returns an Error of the given kind around cause.
func Wrap(kind Kind, op string, cause error) *Error {
	return &Error{Kind: kind, Op: op, Cause: cause}
}

func (e *Error) Error() string {
	s := e.Op
	add := func(t string) {
		if t == "" {
			return
		}
		if s != "" {
			s += ": "
		}
		s += t
	}
	add(e.Detail)
	if e.Cause != nil {
		add(e.Cause.Error())
	}
	if s == "" {
		return e.Kind.String()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Is reports whether target is e's Kind, so that errors.Is(err, fault.Stale) works.
func (e *Error) Is(target error) bool {
	k, ok := target.(Kind)
	return ok && k == e.Kind
}

// KindOf returns the kind of the outermost classified error in err's chain: 0 for nil, Internal for an
// unclassified error.
func KindOf(err error) Kind {
	if err == nil {
		return 0
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	var k Kind
	if errors.As(err, &k) {
		return k
	}
	return Internal
}
