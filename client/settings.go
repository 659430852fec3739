package client

import (
	"context"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/starling-swarm/starling/client/internal/content"
	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/inbox"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/devicesync"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	bodyv1 "github.com/starling-swarm/starling/proto/starling/body/v1"
)

// Setting is a setting of the account, the same on all devices.
type Setting struct {
	Name  string
	About string
	On    bool
}

var settings = []struct {
	name, about string
	field       devicesync.Field
}{
	{"receipts", "tell approved contacts when their messages were read", devicesync.SettingReceipts},
	{"requests", "announce messages of unknown senders; off: they only wait in the list of requests",
		devicesync.SettingRequests},
	{"typing", "tell approved contacts when a message is being written to them", devicesync.SettingTyping},
}

// Settings returns the settings of the account.
func (c *Client) Settings(ctx context.Context) (out []Setting, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	err = c.core.View(func(*store.Tx) error {
		for _, s := range settings {
			out = append(out, Setting{Name: s.name, About: s.about, On: c.core.Setting(s.field)})
		}
		return nil
	})
	return out, err
}

// Set switches a setting on or off, on all devices. Errors: NotFound (there is no such setting).
func (c *Client) Set(ctx context.Context, name string, on bool) error {
	for _, s := range settings {
		if s.name == name {
			return c.changeDocuments(ctx, "change setting", c.core.Me, func(_ *store.Tx, _ *core.Batch,
				now int64) error {
				return c.core.Docs.Set(now, s.field, "", devicesync.Bool(on))
			})
		}
	}
	return fault.New(fault.NotFound, "change setting", "there is none called %q: %s", name,
		strings.Join(SettingNames(), ", "))
}

// SettingNames returns the names of all settings.
func SettingNames() (out []string) {
	for _, s := range settings {
		out = append(out, s.name)
	}
	return slices.Clip(out)
}

// Rename gives the account another name. Contacts learn of it with the next message to them.
func (c *Client) Rename(ctx context.Context, name string) error {
	if len(name) > content.MaxName || !utf8.ValidString(name) || strings.TrimSpace(name) == "" {
		return fault.New(fault.Invalid, "rename account", "want a name of 1 to %d bytes", content.MaxName)
	}
	return c.changeDocuments(ctx, "rename account", c.core.Me, func(tx *store.Tx, _ *core.Batch,
		now int64) error {
		return c.setName(tx, name, now)
	})
}

// typingFor is how long it counts that somebody types.
const typingFor = time.Minute

// takeTyping takes in that a contact types, or not any more.
func (c *Client) takeTyping(tx *store.Tx, a *core.Batch, m *inbox.Mail) error {
	id, text := m.Sender, ""
	if m.Body.GetTyping().GetStopped() {
		text = "stopped"
	}
	if fresh := a.Now.UnixMilli()-m.SentAt < typingFor.Milliseconds(); m.From.Approved && fresh {
		a.Tell(core.Fact{Kind: core.FactTyping, Contact: &id, Text: text})
	}
	return tx.Err()
}

// Typing tells an approved contact that a message is being written; own devices are not told. It does nothing
// if the account's setting says so. Errors: Invalid (a group), Denied (somebody blocked), Unavailable (it is
// of no use later, so it is not queued while the cluster is out of reach).
func (h ConversationHandle) Typing(ctx context.Context) error {
	return h.typing(ctx, &bodyv1.Typing{})
}

// StoppedTyping takes Typing back. Errors: as for Typing.
func (h ConversationHandle) StoppedTyping(ctx context.Context) error {
	return h.typing(ctx, &bodyv1.Typing{Stopped: true})
}

func (h ConversationHandle) typing(ctx context.Context, t *bodyv1.Typing) error {
	c := h.c
	peer, direct := h.peer.(ident.AccountID)
	if !direct {
		return fault.New(fault.Invalid, "tell that we type", "a group is not told")
	}
	if err := c.checkWrite("tell that we type", peer); err != nil {
		return err
	}
	if err := c.core.WaitOnline(ctx); err != nil {
		return err
	}
	err := c.core.Update(func(tx *store.Tx, _ *core.Batch) error {
		p, err := c.people.Get(tx, peer)
		if err != nil || !p.Approved || c.people.Contested(&p.Peer) ||
			!c.core.Setting(devicesync.SettingTyping) {
			return err
		}
		return c.queueQuiet(tx, peer, &bodyv1.Body{Kind: &bodyv1.Body_Typing{Typing: t}}, c.core.Net.Now())
	})
	if err == nil {
		c.core.Kick(peer)
	}
	return err
}
