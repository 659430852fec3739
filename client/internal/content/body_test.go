package content

import (
	"bytes"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	bodyv1 "github.com/starling-swarm/starling/proto/starling/body/v1"
)

func textBody(t *bodyv1.Text) *bodyv1.Body { return &bodyv1.Body{Kind: &bodyv1.Body_Text{Text: t}} }

func TestBodiesOverTheirLimitsAreRefused(t *testing.T) {
	id, author := make([]byte, 16), make([]byte, 33)
	many := make([][]byte, MaxReceiptIDs+1)
	for i := range many {
		many[i] = id
	}
	for name, tt := range map[string]struct {
		body *bodyv1.Body
		ok   bool
	}{
		"text":      {textBody(&bodyv1.Text{Text: strings.Repeat("x", MaxText)}), true},
		"long text": {textBody(&bodyv1.Text{Text: strings.Repeat("x", MaxText+1)}), false},
		"quote": {textBody(&bodyv1.Text{Text: "x", Quote: &bodyv1.Quote{MessageId: id,
			Author: author}}), true},
		"quote of nothing": {textBody(&bodyv1.Text{Text: "x", Quote: &bodyv1.Quote{}}), false},
		"many attachments": {textBody(&bodyv1.Text{Attachments: make([]*bodyv1.Attachment,
			MaxAttachments+1)}), false},
		"long name": {&bodyv1.Body{Profile: &bodyv1.Profile{Name: strings.Repeat("n", MaxName+1)}},
			false},
		"reaction": {&bodyv1.Body{
			Kind: &bodyv1.Body_Reaction{Reaction: &bodyv1.Reaction{
				MessageId: id, Author: author, Emoji: "!"}}}, true},
		"reaction, short": {&bodyv1.Body{
			Kind: &bodyv1.Body_Reaction{Reaction: &bodyv1.Reaction{
				MessageId: id, Author: author[1:], Emoji: "!"}}}, false},
		"receipt": {&bodyv1.Body{
			Kind: &bodyv1.Body_Receipt{Receipt: &bodyv1.Receipt{MessageIds: many[1:]}}}, true},
		"receipt, many": {&bodyv1.Body{
			Kind: &bodyv1.Body_Receipt{Receipt: &bodyv1.Receipt{MessageIds: many}}}, false},
		"deletion, short": {&bodyv1.Body{
			Kind: &bodyv1.Body_Deletion{Deletion: &bodyv1.Deletion{MessageIds: [][]byte{id[1:]}}}}, false},
		"removal": {&bodyv1.Body{
			Kind: &bodyv1.Body_Removal{Removal: &bodyv1.Removal{
				Messages: []*bodyv1.MessageRef{{MessageId: id, Author: author}}}}}, true},
		"removal, short": {&bodyv1.Body{
			Kind: &bodyv1.Body_Removal{Removal: &bodyv1.Removal{
				Messages: []*bodyv1.MessageRef{{MessageId: id, Author: id}}}}}, false},
		"removal of none":   {&bodyv1.Body{Kind: &bodyv1.Body_Removal{Removal: &bodyv1.Removal{}}}, false},
		"edit of nothing":   {&bodyv1.Body{Kind: &bodyv1.Body_Edit{Edit: &bodyv1.Edit{}}}, false},
		"a kind of later":   {&bodyv1.Body{}, true},
		"deletion of none ": {&bodyv1.Body{Kind: &bodyv1.Body_Deletion{Deletion: &bodyv1.Deletion{}}}, false},
	} {
		for i, a := range tt.body.GetText().GetAttachments() {
			if a == nil {
				tt.body.GetText().Attachments[i] = &bodyv1.Attachment{}
			}
		}
		b, err := proto.Marshal(tt.body)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, ok := DecodeBody(b); ok != tt.ok {
			t.Errorf("%s: got %v, want %v", name, ok, tt.ok)
		}
	}
}

// FuzzDecodeBody checks that every length that the engine relies on holds in a body that is accepted, and
// that what a later version added survives.
func FuzzDecodeBody(f *testing.F) {
	for _, b := range []*bodyv1.Body{
		textBody(&bodyv1.Text{Text: "hello", Quote: &bodyv1.Quote{MessageId: make([]byte, 16),
			Author: make([]byte, 33)}}),
		{Kind: &bodyv1.Body_Receipt{Receipt: &bodyv1.Receipt{MessageIds: [][]byte{make([]byte, 16)}}}},
		{Kind: &bodyv1.Body_Reaction{Reaction: &bodyv1.Reaction{MessageId: make([]byte, 16),
			Author: make([]byte, 33), Emoji: "+"}}},
		{Profile: &bodyv1.Profile{Name: "n"}},
		{Kind: &bodyv1.Body_Removal{Removal: &bodyv1.Removal{Messages: []*bodyv1.MessageRef{{MessageId: make(
			[]byte, 16), Author: make([]byte, 33)}}}}},
	} {
		p, _ := proto.Marshal(b)
		f.Add(p)
	}
	f.Add([]byte{0xfa, 0x7f, 0x01, 0x00})
	f.Fuzz(func(t *testing.T, in []byte) {
		body, ok := DecodeBody(in)
		if !ok {
			return
		}
		if q := body.GetText().GetQuote(); q != nil && len(q.GetMessageId()) != 16 {
			t.Errorf("quote with an ID of %d bytes is accepted", len(q.GetMessageId()))
		}
		if id := ReplyTo(body); id == nil != (body.GetText().GetQuote() == nil) {
			t.Errorf("reply: got %v", id)
		}
		for _, ids := range [][][]byte{body.GetReceipt().GetMessageIds(),
			body.GetDeletion().GetMessageIds()} {
			for _, id := range ids {
				if len(id) != 16 {
					t.Errorf("ID of %d bytes is accepted", len(id))
				}
			}
		}
		for _, m := range body.GetRemoval().GetMessages() {
			if len(m.GetMessageId()) != 16 || len(m.GetAuthor()) != 33 {
				t.Errorf("reference of %d and %d bytes is accepted", len(m.GetMessageId()),
					len(m.GetAuthor()))
			}
		}
		out, err := proto.MarshalOptions{Deterministic: true}.Marshal(body)
		if err != nil {
			t.Fatalf("encode an accepted body: %v", err)
		}
		again, ok := DecodeBody(out)
		if !ok || !proto.Equal(body, again) {
			t.Errorf("round trip changes the body")
		}
		if !bytes.Equal(body.ProtoReflect().GetUnknown(), again.ProtoReflect().GetUnknown()) {
			t.Errorf("unknown fields are lost")
		}
	})
}

func TestExcerptsEndAtACharacter(t *testing.T) {
	s := strings.Repeat("ü", MaxExcerpt)
	if got := Excerpt(s); len(got) != MaxExcerpt || strings.Contains(got, "\ufffd") {
		t.Errorf("got %d bytes, want %d whole characters", len(got), MaxExcerpt)
	}
	if got := Excerpt("a" + s); len(got) != MaxExcerpt-1 {
		t.Errorf("cut inside of a character: got %d bytes, want %d", len(got), MaxExcerpt-1)
	}
}
