package sessionapi

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/ident"
)

func TestGroupShape(t *testing.T) {
	b, err := json.Marshal(GroupOf(client.Group{ID: ident.GroupID{3}, Status: client.GroupLeft}, nil))
	if err != nil {
		t.Fatal(err)
	}
	zeros := strings.Repeat("00", 32)
	want := `{"group_id":"03` + zeros +
		`","name":"","description":"","status":"left","role":null,"form":null,` +
		`"generation":0,"commits":0,"picture":0,"members":[],"pending":[],"links":[],"banned":[]}`
	if string(b) != want {
		t.Errorf("got  %s\nwant %s", b, want)
	}
}

func TestNoticeAndMentionShape(t *testing.T) {
	m := client.Message{Mentions: []ident.AccountID{{5, 1}}, MentionsMe: true,
		Notice: &client.Notice{Kind: "added", By: ident.AccountID{5, 2}, Members: []ident.AccountID{{5, 1}}}}
	b, err := json.Marshal(MessageOf(m))
	if err != nil {
		t.Fatal(err)
	}
	a1, a2 := ident.AccountID{5, 1}.String(), ident.AccountID{5, 2}.String()
	for _, want := range []string{`"mentions":["` + a1 + `"],"mentions_me":true`,
		`"notice":{"kind":"added","by":"` + a2 + `","members":["` + a1 + `"]}`} {
		if !strings.Contains(string(b), want) {
			t.Errorf("got %s, want it to contain %s", b, want)
		}
	}
}
