package sessionapi

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/ident"
)

func TestMessageShape(t *testing.T) {
	reply := ident.MessageID{2}
	m := client.Message{
		Seq: 7, ID: ident.MessageID{1}, Conversation: "05aa", From: ident.AccountID{5}, Mine: true,
		State: client.StateStored, SentAt: time.UnixMilli(1500), ReplyTo: &reply,
		Reactions:   []client.Reaction{{Emoji: "+", From: ident.AccountID{5}}},
		Attachments: []client.Attachment{{ID: "a", Name: "n", Type: "t", Size: 3}},
	}
	b, err := json.Marshal(MessageOf(m))
	if err != nil {
		t.Fatal(err)
	}
	zeros := strings.Repeat("00", 32)
	want := `{"id":"01000000000000000000000000000000","short":"01000000","conversation":"05aa","from":"05` +
		zeros + `","from_name":"",` +
		`"request":false,"text":"","sent_at":1500,"received_at":null,"edited":false,"deleted":false,` +
		`"reply_to":"02000000000000000000000000000000","reactions":[{"emoji":"+","from":"05` +
		zeros + `"}],` +
		`"attachments":[{"id":"a","name":"n","type":"t","size":3}],"state":"stored","cursor":7,"mentions":[]}`
	if string(b) != want {
		t.Errorf("got  %s\nwant %s", b, want)
	}
}

func TestSentShapeLeavesOutWhatDidNotHappen(t *testing.T) {
	b, err := json.Marshal(SentOf(client.Receipt{ID: ident.MessageID{1}, Conversation: "05aa",
		State: client.StateQueued, Queued: time.UnixMilli(5)}))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"id":"01000000000000000000000000000000","short":"01000000","to":"05aa","status":"queued",` +
		`"replicas":0,"times":{"queued":5,"stored":null,"delivered":null,"read":null}}`
	if string(b) != want {
		t.Errorf("got  %s\nwant %s", b, want)
	}
}
