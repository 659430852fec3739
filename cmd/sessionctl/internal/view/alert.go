package view

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/refs"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/render"
	"github.com/starling-swarm/starling/internal/ident"
)

// Alerts says what a person must be told of events, each thing once. The zero value but for Self is ready to
// use.
type Alerts struct {
	Self    string // how the profile is called on the command line: "sessionctl -p alice"
	Joining bool   // the command itself answers why a group cannot be joined

	told sync.Map // of groupTold
}

// groupTold is something about a group that the user is told once.
type groupTold struct {
	group ident.GroupID
	what  string
	who   ident.AccountID
}

// groupWarning says what of a group waits for this user's word: an invitation, somebody who can come back
// only with an admin's approval.
func (a *Alerts) groupWarning(ctx context.Context, c *client.Client, id ident.GroupID) string {
	g, err := c.Group(id).Get(ctx)
	if err != nil {
		return ""
	}
	once := func(what string, who ident.AccountID) bool {
		_, told := a.told.LoadOrStore(groupTold{id, what, who}, true)
		return !told
	}
	group, name := a.Self+" group ", render.Quote(refs.GroupArg(g))
	if g.Status == client.GroupInvited && g.Invitation != nil && once("invited", g.Invitation.From) {
		return fmt.Sprintf("%s invites you to %s: %sjoin %s, or %sdecline %s",
			render.Printable(refs.Called(ctx, c, g.Invitation.From)), render.Printable(refs.GroupLabel(g)),
			group, name, group, name)
	}
	for _, p := range g.Pending {
		if p.Held && p.Kind != "join" && once(p.Kind, p.Account) {
			who := render.Printable(refs.Called(ctx, c, p.Account))
			return fmt.Sprintf("%s asks to be let into %s again, after their account was restored. "+
				"If it was them: %sapprove %s %s",
				who, render.Printable(refs.GroupLabel(g)), group, name, p.Account)
		}
	}
	return ""
}

// Text says in a person's words what happened to the account's or a contact's safety, and what to type; ""
// for events that need no words.
func (a *Alerts) Text(ctx context.Context, c *client.Client, e client.Event) string {
	me := a.Self
	switch {
	case e.Kind == client.EventNotice && e.Message != nil:
		return "" // a line of a group's conversation
	case e.Kind == client.EventNotice && a.Joining && strings.Contains(e.Text, ": cannot join: "):
		return ""
	case e.Kind == client.EventNotice:
		return render.PrintableText(e.Text) // it can quote what others are called
	case e.Kind == client.EventGroup:
		return a.groupWarning(ctx, c, *e.Group)
	case e.Kind == client.EventContact && (e.Text == "recovered" || e.Text == "contested"):
		name := a.nameOf(ctx, c, e)
		if e.Text == "contested" {
			return fmt.Sprintf("CONTESTED: one of %s's devices says that somebody else has restored the "+
				"account. Nothing is sent to it until you have compared numbers in person: "+
				"%s contact verify %s",
				name, me, e.Contact)
		}
		return fmt.Sprintf("%s restored the account from the recovery phrase."+
			" If you are not sure that it was them, compare numbers: %s contact verify %s",
			name, me, e.Contact)
	case e.Kind == client.EventDevice:
		return a.deviceWarning(ctx, c, e.Device)
	case e.Kind == client.EventLink:
		return fmt.Sprintf("%s has the recovery phrase and asks to be linked."+
			" If it is yours, type the code from its screen: %s device approve CODE",
			render.Printable(e.Link.Label), me)
	}
	return ""
}

func (a *Alerts) deviceWarning(ctx context.Context, c *client.Client, e *client.DeviceEvent) string {
	acc, me := c.Account(), a.Self
	when := e.At.Local().Format("2006-01-02 15:04")
	switch e.Kind {
	case "recovered":
		if acc.Revoked {
			return fmt.Sprintf("ALARM: this account was restored from its recovery phrase on %s, "+
				"and this device is no longer part of it. Was it not you? %s device contest. It was you? "+
				"%s device link",
				when, me, me)
		}
		return fmt.Sprintf("this account was changed with its recovery phrase on %s; contacts see it."+
			" Look at its devices: %s device list", when, me)
	case "revoked":
		if e.Device == acc.Device {
			return fmt.Sprintf("this device was removed from the account: it can neither fetch nor send."+
				" To bring it back: %s device link", me)
		}
		return fmt.Sprintf("a device was removed from the account: %s device list", me)
	case "linked":
		if e.Device == acc.Device || e.By != nil && *e.By == acc.Device {
			return "" // whoever did it knows
		}
		label := e.Device.String()[:8]
		if ds, err := c.Devices(ctx); err == nil {
			for _, d := range ds.Devices {
				if d.ID == e.Device {
					label = render.Printable(d.Label)
				}
			}
		}
		return fmt.Sprintf("a new device was linked to this account: %s. Not yours? %s device revoke %s",
			label, me, e.Device)
	case "contested":
		if acc.Revoked {
			return "" // this device did it
		}
		return fmt.Sprintf("one of this account's former devices contests that it was restored."+
			" Contacts write to it only after they have compared numbers: %s contact verify PEER shows yours",
			me)
	}
	return ""
}

// nameOf is what the contact of an event is called.
func (a *Alerts) nameOf(ctx context.Context, c *client.Client, e client.Event) string {
	contacts, err := c.Contacts(ctx)
	if err == nil {
		for _, p := range contacts {
			if p.ID == *e.Contact {
				return render.Printable(refs.ContactName(p))
			}
		}
	}
	return refs.ShortAccount(*e.Contact)
}
