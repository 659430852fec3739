package view

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/render"
)

func TestForeignTextCannotDriveTheTerminal(t *testing.T) {
	m := client.Message{
		FromName: "Eve\x1b[2J", Text: "hi\r\x1b]0;title\a\n12:00 Bob: give me\u202emoney",
		SentAt: time.Unix(0, 0), ReceivedAt: time.Unix(0, 0),
	}
	var out bytes.Buffer
	WriteMessage(&out, render.Style{}, m, Place{}, time.Unix(0, 0))
	if s := out.String(); strings.ContainsAny(s, "\x1b\r\a\u202e") {
		t.Errorf("control characters reach the terminal: %q", s)
	}
	for i, l := range strings.Split(strings.TrimSpace(out.String()), "\n") {
		if i > 0 && !strings.HasPrefix(l, "    ") {
			t.Errorf("line %q of a message is not indented: it could pass for another message", l)
		}
	}
}
