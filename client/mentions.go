package client

import (
	"slices"

	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	bodyv1 "github.com/starling-swarm/starling/proto/starling/body/v1"
)

// MaxMentions is how many accounts one text names at most.
const MaxMentions = 100

// checkMentions checks whom a message names, and leaves each once.
func checkMentions(m *Outgoing) error {
	var once []ident.AccountID
	for _, id := range m.Mentions {
		if err := account.CheckID(id); err != nil {
			return err
		}
		if !slices.Contains(once, id) {
			once = append(once, id)
		}
	}
	if len(once) > MaxMentions {
		return fault.New(fault.Invalid, "send message", "it mentions %d accounts, want at most %d", len(once), MaxMentions)
	}
	m.Mentions = once
	return nil
}

func mentionBytes(ids []ident.AccountID) (out [][]byte) {
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

// mentioned returns whom a text names.
func mentioned(t *bodyv1.Text) (out []ident.AccountID) {
	for _, b := range t.GetMentions() {
		out = append(out, ident.AccountID(b))
	}
	return out
}

// mentions reports whether a text names an account.
func mentions(t *bodyv1.Text, id ident.AccountID) bool {
	return slices.Contains(mentioned(t), id)
}
