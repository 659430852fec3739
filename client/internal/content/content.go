package content

import (
	"google.golang.org/protobuf/proto"

	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/ident"
	bodyv1 "github.com/starling-swarm/starling/proto/starling/body/v1"
)

const MaxReceiptIDs = 1_000

const MaxName = 256

const MaxEmoji = 64

const MaxAttachments = 32

// ReplyTo returns the message that a text answers, nil if it answers none.
func ReplyTo(body *bodyv1.Body) *ident.MessageID {
	if q := body.GetText().GetQuote(); q != nil {
		id := ident.MessageID(q.GetMessageId())
		return &id
	}
	return nil
}

// DecodeBody reads a body and checks every length that later code relies on.
func DecodeBody(b []byte) (*bodyv1.Body, bool) {
	body := new(bodyv1.Body)
	if proto.Unmarshal(b, body) != nil || len(body.GetProfile().GetName()) > MaxName {
		return nil, false
	}
	ok := true
	switch k := body.GetKind().(type) {
	case *bodyv1.Body_Text:
		ok = validText(k.Text)
	case *bodyv1.Body_Edit:
		ok = len(k.Edit.GetMessageId()) == 16 && validText(k.Edit.GetText())
	case *bodyv1.Body_Reaction:
		ok = len(k.Reaction.GetMessageId()) == 16 && len(k.Reaction.GetAuthor()) == 33 &&
			len(k.Reaction.GetEmoji()) <= MaxEmoji && k.Reaction.GetEmoji() != ""
	case *bodyv1.Body_Deletion:
		ok = validDeletion(k.Deletion)
	case *bodyv1.Body_Receipt:
		ok = validIDs(k.Receipt.GetMessageIds())
	case *bodyv1.Body_Removal:
		ok = validRefs(k.Removal.GetMessages())
	case *bodyv1.Body_GroupReturn:
		ok = validReturn(k.GroupReturn)
	case *bodyv1.Body_Pin:
		ok = validRefs([]*bodyv1.MessageRef{k.Pin.GetMessage()})
	case *bodyv1.Body_Notice:
		ok = ValidNotice(k.Notice)
	}
	return body, ok
}

func validText(t *bodyv1.Text) bool {
	if q := t.GetQuote(); q != nil && (len(q.GetMessageId()) != 16 || len(q.GetAuthor()) != 33 ||
		len(q.GetExcerpt()) > 4*MaxExcerpt) {
		return false
	}
	return len(t.GetText()) <= MaxText && len(t.GetAttachments()) <= MaxAttachments &&
		validMentions(t.GetMentions())
}

func validDeletion(d *bodyv1.Deletion) bool {
	ids, refs := d.GetMessageIds(), d.GetMessages()
	return len(ids)+len(refs) > 0 && (len(ids) == 0 || validIDs(ids)) && (len(refs) == 0 || validRefs(refs))
}

func validReturn(r *bodyv1.GroupReturn) bool {
	return len(r.GetGroupId()) == 33 && r.GetGroupId()[0] == ident.GroupType &&
		len(r.GetRequest()) <= account.MaxGroupCopy && len(r.GetWelcome()) <= account.MaxGroupCopy
}

func validRefs(refs []*bodyv1.MessageRef) bool {
	if len(refs) == 0 || len(refs) > MaxReceiptIDs {
		return false
	}
	for _, r := range refs {
		if len(r.GetMessageId()) != 16 || len(r.GetAuthor()) != 33 {
			return false
		}
	}
	return true
}

func validIDs(ids [][]byte) bool {
	if len(ids) == 0 || len(ids) > MaxReceiptIDs {
		return false
	}
	for _, id := range ids {
		if len(id) != 16 {
			return false
		}
	}
	return true
}

// maxAheadMS is how far a time that somebody else wrote may be past the node's.
const maxAheadMS = 10 * 60_000

// Capped is a time that somebody else wrote, as every device takes it.
func Capped(at, storedAt int64) int64 { return min(at, storedAt+maxAheadMS) }

// ValidNotice reports whether the lengths of a notice are right.
func ValidNotice(n *bodyv1.Notice) bool {
	for _, b := range n.GetMembers() {
		if len(b) != len(ident.AccountID{}) {
			return false
		}
	}
	return len(n.GetBy()) == 0 || len(n.GetBy()) == len(ident.AccountID{})
}
