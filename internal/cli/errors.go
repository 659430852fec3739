package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/starling-swarm/starling/internal/fault"
)

// Exit codes of both commands. swarmd gives 4 and 5 its own meaning (ExitNewerData, ExitClock).
const (
	ExitOK        = 0
	ExitFailed    = 1  // the user can fix it
	ExitUsage     = 2  // wrong command line
	ExitNetwork   = 3  // network or cluster unreachable; swarmd: cannot join
	ExitDenied    = 4  // untrusted key, not allowed, revoked
	ExitLimited   = 5  // rate limit or quota
	ExitTimeout   = 6  // timed out waiting
	ExitPartly    = 7  // partly done
	ExitNotFound  = 8  // peer, message, node or file
	ExitBusy      = 9  // local store in use
	ExitVersion   = 10 // too old or too new
	ExitCancelled = 11 // by the user
	ExitBug       = 70 // ours

	ExitNewerData = 4 // swarmd: the data directory is of a newer version
	ExitClock     = 5 // swarmd: the clock is too far off
)

// Error is an error as a person or a script sees it. The zero values of Code and Exit are filled in by
// Describe from the kind of the cause.
type Error struct {
	What  string   // what did not work, lower case: "swarm 4 has no leader"
	Cause error    // why; may be nil
	Code  string   // catalogue code, "NET-100"
	Try   []string // what to type, one command each
	Exit  int      // exit code
	List  []string // what the error is made of, one line each: the problems of a file
}

func (e *Error) Error() string {
	switch {
	case e.Cause == nil:
		return e.What
	case e.What == "":
		return e.Cause.Error()
	}
	return e.What + ": " + e.Cause.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Usage returns an error of the command line: exit code 2.
func Usage(format string, args ...any) *Error {
	return &Error{What: fmt.Sprintf(format, args...), Code: "USE-100", Exit: ExitUsage}
}

// Fail wraps cause with what was done and what to type next. Code and exit code follow from the cause's kind.
func Fail(what string, cause error, try ...string) *Error {
	return &Error{What: what, Cause: cause, Try: try}
}

// classes gives every fault kind its code and exit code.
var classes = map[fault.Kind]struct {
	code string
	exit int
}{
	fault.Invalid:         {"ARG-100", ExitFailed},
	fault.Unauthenticated: {"KEY-100", ExitDenied},
	fault.Denied:          {"KEY-101", ExitDenied},
	fault.NotFound:        {"REF-100", ExitNotFound},
	fault.Exists:          {"REF-101", ExitFailed},
	fault.Stale:           {"REF-102", ExitFailed},
	fault.WrongSwarm:      {"NET-101", ExitNetwork},
	fault.Limited:         {"QTA-100", ExitLimited},
	fault.Unavailable:     {"NET-100", ExitNetwork},
	fault.Corrupt:         {"STO-100", ExitBug},
	fault.Internal:        {"BUG-100", ExitBug},
}

// Describe returns err as an Error with a code and an exit code; nil for nil. An Error in err's chain keeps
// what it says; a fault gives its kind's class; a deadline exits 6 and a cancelled context 11. Anything else
// is a failure of the machine that the user can see to (a file, a port): exit 1.
func Describe(err error) *Error {
	if err == nil {
		return nil
	}
	var out Error
	var e *Error
	if errors.As(err, &e) {
		out = *e
	} else {
		out.Cause = err
	}
	if out.Code != "" && out.Exit != 0 {
		return &out
	}
	code, exit := class(err)
	if out.Code == "" {
		out.Code = code
	}
	if out.Exit == 0 {
		out.Exit = exit
	}
	return &out
}

func class(err error) (code string, exit int) {
	// The clock and the user come first: an RPC that ran out of time is Unavailable as well, and the user
	// asked for the deadline.
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "NET-102", ExitTimeout
	case errors.Is(err, context.Canceled):
		return "USE-101", ExitCancelled
	}
	var f *fault.Error
	var k fault.Kind
	if errors.As(err, &f) || errors.As(err, &k) {
		c := classes[fault.KindOf(err)]
		return c.code, c.exit
	}
	return "SYS-100", ExitFailed
}

// document is the JSON form of an Error.
type document struct {
	Code  string   `json:"code"`
	What  string   `json:"what"`
	Cause string   `json:"cause,omitempty"`
	Try   []string `json:"try"`
	Exit  int      `json:"exit"`
	List  []string `json:"list,omitempty"`
}

// Report prints err on w, as text or as one JSON document, and returns the exit code. It prints nothing for
// nil.
func Report(w io.Writer, asJSON bool, err error) int {
	e := Describe(err)
	if e == nil {
		return ExitOK
	}
	what, cause := e.What, ""
	if e.Cause != nil {
		cause = e.Cause.Error()
	}
	if what == "" {
		what, cause, _ = strings.Cut(cause, ": ")
	}
	if asJSON {
		try := e.Try
		if try == nil {
			try = []string{}
		}
		_ = WriteJSON(w, "error", document{e.Code, what, cause, try, e.Exit, e.List})
		return e.Exit
	}
	text := what
	if cause != "" {
		text += ": " + cause
	}
	fmt.Fprintf(w, "error: %s [%s]\n", text, e.Code)
	for _, l := range e.List {
		fmt.Fprintf(w, "  %s\n", l)
	}
	for _, t := range e.Try {
		fmt.Fprintf(w, "try: %s\n", t)
	}
	return e.Exit
}

// WriteJSON writes v, which must marshal to a JSON object, as one line with "v":1 and "kind" in front of its
// fields.
func WriteJSON(w io.Writer, kind string, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(body) < 2 || body[0] != '{' {
		return fmt.Errorf("write %s: %T is no JSON object", kind, v)
	}
	head := fmt.Sprintf(`{"v":1,"kind":%q`, kind)
	if len(body) > 2 {
		head += ","
	}
	_, err = fmt.Fprintf(w, "%s%s\n", head, body[1:])
	return err
}
