package client

import (
	"context"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

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
	{"requests", "announce messages of unknown senders; off: they only wait in the list of requests", devicesync.SettingRequests},
	{"typing", "tell approved contacts when a message is being written to them", devicesync.SettingTyping},
}

// Settings returns the settings of the account.
func (c *Client) Settings(ctx context.Context) (out []Setting, err error) {
	err = c.p.db.View(func(*store.Tx) error {
		for _, s := range settings {
			out = append(out, Setting{Name: s.name, About: s.about, On: c.setting(s.field)})
		}
		return nil
	})
	return out, err
}

// Set switches a setting on or off, on all devices. Errors: NotFound (there is no such setting).
func (c *Client) Set(ctx context.Context, name string, on bool) error {
	for _, s := range settings {
		if s.name == name {
			return c.changeDocuments("change setting", c.me, func(_ *store.Tx, now int64) error {
				return c.docs.Set(now, s.field, "", devicesync.Bool(on))
			})
		}
	}
	return fault.New(fault.NotFound, "change setting", "there is none called %q: %s", name, strings.Join(SettingNames(), ", "))
}

// SettingNames returns the names of all settings.
func SettingNames() (out []string) {
	for _, s := range settings {
		out = append(out, s.name)
	}
	return slices.Clip(out)
}

// setting reports whether a setting is on, as it is unless somebody switched it off. Only inside a transaction.
func (c *Client) setting(f devicesync.Field) bool {
	b, ok := c.docs.Get(f, "")
	return !ok || devicesync.IsTrue(b)
}

// Rename gives the account another name. Contacts learn of it with the next message to them.
func (c *Client) Rename(ctx context.Context, name string) error {
	if len(name) > maxName || !utf8.ValidString(name) || strings.TrimSpace(name) == "" {
		return fault.New(fault.Invalid, "rename account", "want a name of 1 to %d bytes", maxName)
	}
	return c.changeDocuments("rename account", c.me, func(tx *store.Tx, now int64) error {
		return c.setName(tx, name, now)
	})
}

// typingFor is how long it counts that somebody types.
const typingFor = time.Minute

// Typing tells an approved contact that a message is being written, or not any more; own devices are not told. It does
// nothing if the account's setting says so. Errors: Unavailable (it is of no use later, so it is not queued while the
// cluster is out of reach).
func (c *Client) Typing(ctx context.Context, peer ident.AccountID, stopped bool) error {
	if err := c.checkWrite("tell that we type", peer); err != nil {
		return err
	}
	if err := c.WaitOnline(ctx); err != nil {
		return err
	}
	err := c.update(func(tx *store.Tx) error {
		p, err := c.person(tx, peer)
		if err != nil || !p.Approved || c.isContested(&p.Peer) || !c.setting(devicesync.SettingTyping) {
			return err
		}
		return c.queueQuiet(tx, peer, &bodyv1.Body{Kind: &bodyv1.Body_Typing{Typing: &bodyv1.Typing{Stopped: stopped}}}, c.net.Now())
	})
	if err == nil {
		c.out.kick(peer)
	}
	return err
}
