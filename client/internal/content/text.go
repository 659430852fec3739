package content

import (
	"slices"
	"strings"

	"github.com/starling-swarm/starling/internal/ident"
	bodyv1 "github.com/starling-swarm/starling/proto/starling/body/v1"
)

// MaxText is the largest text of a message in bytes. Larger things are attachments.
const MaxText = 65_536

// MaxMentions is how many accounts one text names at most.
const MaxMentions = 100

// MentionBytes is accounts as a body names them.
func MentionBytes(ids []ident.AccountID) (out [][]byte) {
	for _, id := range ids {
		out = append(out, id[:])
	}
	return out
}

// validMentions checks what somebody else wrote.
func validMentions(all [][]byte) bool {
	for _, b := range all {
		if len(b) != len(ident.AccountID{}) || b[0] != ident.AccountType {
			return false
		}
	}
	return len(all) <= MaxMentions
}

// Mentioned returns whom a text names.
func Mentioned(t *bodyv1.Text) (out []ident.AccountID) {
	for _, b := range t.GetMentions() {
		out = append(out, ident.AccountID(b))
	}
	return out
}

// Mentions reports whether a text names an account.
func Mentions(t *bodyv1.Text, id ident.AccountID) bool {
	return slices.Contains(Mentioned(t), id)
}

// MaxExcerpt is how many bytes of a quoted message travel with the answer.
const MaxExcerpt = 200

// Excerpt cuts s at a character boundary.
func Excerpt(s string) string {
	if len(s) <= MaxExcerpt {
		return s
	}
	return strings.ToValidUTF8(s[:MaxExcerpt], "")
}
