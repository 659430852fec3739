package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/ident"
)

func TestPhraseSurvivesPrintingAndReading(t *testing.T) {
	words := strings.TrimSpace(strings.Repeat("abandon ", 23)) + " art"
	var printed bytes.Buffer
	writePhrase(&printed, style{}, words)
	if n := strings.Count(printed.String(), "\n"); n != 6 {
		t.Errorf("got %d lines, want 6 of four words:\n%s", n, printed.String())
	}
	got, err := readWords(&printed)
	if err != nil || got != words {
		t.Errorf("read back: got %q (%v), want %q", got, err, words)
	}
}

func TestReadWordsRefusesWhatIsNoPhrase(t *testing.T) {
	if _, err := readWords(strings.NewReader(strings.Repeat("x", maxPhraseBytes+1))); err == nil {
		t.Error("a file of more than 4 KiB was read as a phrase")
	}
}

func TestCodesReadAloudAreUnderstood(t *testing.T) {
	const code = "01AB7K2M"
	if got := plainCode(groupCode(code)); got != code {
		t.Errorf("grouped and back: got %q, want %q", got, code)
	}
	if got := plainCode("olab 7k2m"); got != code {
		t.Errorf("lower case with look-alikes: got %q, want %q", got, code)
	}
}

func TestForeignTextCannotDriveTheTerminal(t *testing.T) {
	m := client.Message{
		FromName: "Eve\x1b[2J", Text: "hi\r\x1b]0;title\a\n12:00 Bob: give me\u202emoney",
		SentAt: time.Unix(0, 0), ReceivedAt: time.Unix(0, 0),
	}
	var out bytes.Buffer
	writeMessage(&out, style{}, m, place{}, time.Unix(0, 0))
	if s := out.String(); strings.ContainsAny(s, "\x1b\r\a\u202e") {
		t.Errorf("control characters reach the terminal: %q", s)
	}
	for i, l := range strings.Split(strings.TrimSpace(out.String()), "\n") {
		if i > 0 && !strings.HasPrefix(l, "    ") {
			t.Errorf("line %q of a message is not indented: it could pass for another message", l)
		}
	}
}

func TestMessageShape(t *testing.T) {
	reply := ident.MessageID{2}
	m := client.Message{
		Seq: 7, ID: ident.MessageID{1}, Conversation: "05aa", From: ident.AccountID{5}, Mine: true,
		State: client.StateStored, SentAt: time.UnixMilli(1500), ReplyTo: &reply,
		Reactions:   []client.Reaction{{Emoji: "+", From: ident.AccountID{5}}},
		Attachments: []client.Attachment{{ID: "a", Name: "n", Type: "t", Size: 3}},
	}
	b, err := json.Marshal(messageOf(m))
	if err != nil {
		t.Fatal(err)
	}
	zeros := strings.Repeat("00", 32)
	want := `{"id":"01000000000000000000000000000000","short":"01000000","conversation":"05aa","from":"05` + zeros + `","from_name":"",` +
		`"request":false,"text":"","sent_at":1500,"received_at":null,"edited":false,"deleted":false,` +
		`"reply_to":"02000000000000000000000000000000","reactions":[{"emoji":"+","from":"05` + zeros + `"}],` +
		`"attachments":[{"id":"a","name":"n","type":"t","size":3}],"state":"stored","cursor":7,"mentions":[]}`
	if string(b) != want {
		t.Errorf("got  %s\nwant %s", b, want)
	}
}

func TestSentShapeLeavesOutWhatDidNotHappen(t *testing.T) {
	b, err := json.Marshal(sentOf(client.Receipt{ID: ident.MessageID{1}, Conversation: "05aa", State: client.StateQueued, Queued: time.UnixMilli(5)}))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"id":"01000000000000000000000000000000","short":"01000000","to":"05aa","status":"queued","replicas":0,` +
		`"times":{"queued":5,"stored":null,"delivered":null,"read":null}}`
	if string(b) != want {
		t.Errorf("got  %s\nwant %s", b, want)
	}
}

func TestSpread(t *testing.T) {
	var times []time.Duration
	for i := 100; i >= 1; i-- {
		times = append(times, time.Duration(i)*time.Millisecond)
	}
	want := distribution{50 * time.Millisecond, 90 * time.Millisecond, 99 * time.Millisecond, 100 * time.Millisecond, 50500 * time.Microsecond}
	if got := spread(times); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := spread([]time.Duration{7}); got != (distribution{7, 7, 7, 7, 7}) {
		t.Errorf("one value: got %v, want it everywhere", got)
	}
}

func TestTableAlignsAndNeutralisesCells(t *testing.T) {
	tab := newTable("NAME", "ID")
	tab.row("ü\nx", "1")
	tab.row("longer", "2")
	var out bytes.Buffer
	tab.write(&out)
	if want := "NAME    ID\nü\ufffdx     1\nlonger  2\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

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
			a := &app{stdin: strings.NewReader(tc.stdin)}
			peers, text, err := a.sendArgs(tc.args)
			if (err != nil) != tc.fails || strings.Join(peers, " ") != tc.peers || text != tc.text {
				t.Errorf("got %q, %q, %v; want %q, %q, failure %v", peers, text, err, tc.peers, tc.text, tc.fails)
			}
		})
	}
}
