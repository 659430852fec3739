package client

import (
	"context"
	"strings"

	"github.com/starling-swarm/starling/client/internal/closed"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// namedPeer is somebody, or a group, with the names by which people call it.
type namedPeer struct {
	peer  ident.Peer
	names []string // the first that is not empty is shown
}

func (n *namedPeer) label() string {
	for _, s := range n.names {
		if s != "" {
			return strings.ToLower(s)
		}
	}
	return n.peer.String()
}

func named(contacts []Contact) (out []namedPeer) {
	for _, o := range contacts {
		out = append(out, namedPeer{o.ID, []string{o.Nick, o.Name}})
	}
	return out
}

// pick returns the one that is called s, or else whose name alone begins with s.
func pick(s string, all []namedPeer, what string) (ident.Peer, error) {
	var exact, prefixed []namedPeer
	for _, o := range all {
		for _, name := range o.names {
			if strings.EqualFold(name, s) && name != "" {
				exact = append(exact, o)
				break
			}
			if len(name) >= len(s) && strings.EqualFold(name[:len(s)], s) {
				prefixed = append(prefixed, o)
				break
			}
		}
	}
	for _, found := range [][]namedPeer{exact, prefixed} {
		switch {
		case s == "" || len(found) == 0:
		case len(found) == 1:
			return found[0].peer, nil
		default:
			var labels []string
			for _, o := range found {
				labels = append(labels, o.label())
			}
			return nil, fault.New(fault.Invalid, "find peer", "%q fits %d %ss: %s", s, len(found), what,
				strings.Join(labels, ", "))
		}
	}
	return nil, fault.New(fault.NotFound, "find peer", "no %s is called %q", what, s)
}

// ResolveConversation is ResolvePeer for accounts and groups: it also reads the name of a group, a unique
// prefix of one, and a group ID. Errors: NotFound, Invalid (several match).
func (c *Client) ResolveConversation(ctx context.Context, s string) (ident.Peer, error) {
	s = strings.TrimSpace(s)
	if s == "me" {
		return c.core.Me, nil
	}
	if len(s) == 2*len(ident.GroupID{}) && strings.HasPrefix(s, "03") {
		id, err := ident.ParseGroupID(strings.ToLower(s))
		if err != nil {
			return nil, fault.Wrap(fault.NotFound, "find peer", err)
		}
		return id, c.checkPeer(id)
	}
	if id, ok, err := parsePeer(s); ok || err != nil {
		return id, err
	}
	contacts, err := c.Contacts(ctx)
	if err != nil {
		return nil, err
	}
	all := named(contacts)
	err = c.core.View(func(tx *store.Tx) error {
		for _, id := range tx.GroupIDs() {
			if g, ok := tx.Group(id); ok && g.Status != closed.Declined {
				all = append(all, namedPeer{id, []string{g.Name}})
			}
		}
		return tx.Err()
	})
	if err != nil {
		return nil, err
	}
	return pick(s, all, "conversation")
}
