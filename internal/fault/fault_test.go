package fault_test

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/starling-swarm/starling/internal/fault"
)

func TestErrorsAreTestedByKind(t *testing.T) {
	err := fmt.Errorf("send: %w", fault.New(fault.Stale, "store envelope", "head is %d", 7))
	if !errors.Is(err, fault.Stale) || errors.Is(err, fault.Denied) {
		t.Errorf("errors.Is(%v): got Stale %v, Denied %v, want true, false", err, errors.Is(err, fault.Stale),
			errors.Is(err, fault.Denied))
	}
	if got, want := err.Error(), "send: store envelope: head is 7"; got != want {
		t.Errorf("text: got %q, want %q", got, want)
	}
}

func TestKindOf(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		want fault.Kind
	}{
		{"nil", nil, 0},
		{"a kind alone", fault.Limited, fault.Limited},
		{"a wrapped error", fmt.Errorf("x: %w", fault.Wrap(fault.Corrupt, "read", io.ErrUnexpectedEOF)),
			fault.Corrupt},
		{"the outermost kind wins", fault.Wrap(fault.Unavailable, "ask", fault.New(fault.Denied, "", "no")),
			fault.Unavailable},
		{"anything else is our bug", io.EOF, fault.Internal},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := fault.KindOf(c.err); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestWrapKeepsTheCause(t *testing.T) {
	if err := fault.Wrap(fault.Corrupt, "read log", io.ErrUnexpectedEOF); !errors.Is(err,
		io.ErrUnexpectedEOF) {
		t.Errorf("got %v, want a chain that holds %v", err, io.ErrUnexpectedEOF)
	}
}

func TestEveryKindHasANameAndAStableNumber(t *testing.T) {
	want := []string{"invalid", "unauthenticated", "denied", "not found", "exists", "stale", "wrong swarm",
		"limited", "unavailable", "corrupt", "internal"}
	for i, name := range want {
		k := fault.Kind(i + 1)
		if !k.Valid() || k.String() != name {
			t.Errorf("kind %d: got %q valid %v, want %q", i+1, k, k.Valid(), name)
		}
	}
	if k := fault.Kind(len(want) + 1); k.Valid() {
		t.Errorf("kind %d is valid: a new kind needs its name here", k)
	}
}
