package main

import (
	"io"
	"strings"
	"testing"

	"github.com/starling-swarm/starling/client"
)

func TestSendArguments(t *testing.T) {
	for _, tc := range []struct {
		name, stdin string
		args        []string
		peers, text string
		fails       bool
	}{
		{"text", "", []string{"bob", "hi"}, "bob", "hi", false},
		{"several peers", "", []string{"bob", "carol", "hi"}, "bob carol", "hi", false},
		{"stdin by name", "from a pipe\n", []string{"bob", "-"}, "bob", "from a pipe", false},
		{"stdin alone", "from a pipe", []string{"bob"}, "bob", "from a pipe", false},
		{"nothing to say", "", []string{"bob", "-"}, "", "", true},
		{"too long", strings.Repeat("x", client.MaxText+1), []string{"bob", "-"}, "", "", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := newApp(strings.NewReader(tc.stdin), io.Discard, io.Discard)
			peers, text, err := a.sendArgs(tc.args)
			if (err != nil) != tc.fails || strings.Join(peers, " ") != tc.peers || text != tc.text {
				t.Errorf("got %q, %q, %v; want %q, %q, failure %v", peers, text, err, tc.peers,
					tc.text, tc.fails)
			}
		})
	}
}
