package client

import (
	"slices"

	"github.com/starling-swarm/starling/client/internal/content"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

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
	if len(once) > content.MaxMentions {
		return fault.New(fault.Invalid, "send message", "it mentions %d accounts, want at most %d", len(once),
			content.MaxMentions)
	}
	m.Mentions = once
	return nil
}
