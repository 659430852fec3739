package refs

import (
	"context"
	"strings"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/render"
	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// Message reads a reference to a message: last, last:PEER, a full ID, or its first 7 or more digits.
func (f Finder) Message(ctx context.Context, ref string) (client.Message, error) {
	ref = strings.TrimPrefix(ref, "#")
	if ref == "last" || strings.HasPrefix(ref, "last:") {
		return f.lastMessage(ctx, ref)
	}
	if id, err := ident.ParseMessageID(ref); err == nil {
		ref = id.String()
	}
	if len(ref) < 7 || strings.Trim(ref, "0123456789abcdef") != "" {
		return client.Message{}, cli.Usage("message %s: want last, last:PEER, or at least 7 digits of an ID",
			render.Printable(ref))
	}
	found, err := f.Client.Messages(ctx, client.Filter{Limit: 2, IDPrefix: ref})
	switch {
	case err != nil:
		return client.Message{}, err
	case len(found) == 0:
		return client.Message{}, f.noMessage(ref)
	case len(found) > 1:
		return client.Message{}, cli.Usage("message %s: more than one begins like this", ref)
	}
	return found[0], nil
}

// lastMessage is the newest message that somebody wrote: what happened to a group is none.
func (f Finder) lastMessage(ctx context.Context, ref string) (client.Message, error) {
	newest := client.Filter{Newest: true}
	if _, name, ok := strings.Cut(ref, ":"); ok {
		id, err := f.Peer(ctx, name)
		if err != nil {
			return client.Message{}, err
		}
		newest.Conversation = id.String()
	}
	for _, newest.Limit = range []int{8, 0} {
		found, err := f.Client.Messages(ctx, newest)
		if err != nil {
			return client.Message{}, err
		}
		for i := len(found) - 1; i >= 0; i-- {
			if found[i].Notice == nil {
				return found[i], nil
			}
		}
	}
	return client.Message{}, f.noMessage(ref)
}

func (f Finder) noMessage(ref string) error {
	return cli.Fail("no such message", fault.New(fault.NotFound, "find message", "nothing here matches %q",
		ref),
		f.Self+" log")
}
