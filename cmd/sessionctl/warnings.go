package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/starling-swarm/starling/client"
)

// warning says in a person's words what happened to the account's or a contact's safety, and what to type; "" for
// events that need no words.
func (a *app) warning(ctx context.Context, c *client.Client, e client.Event) string {
	me := "sessionctl" + a.profileFlag()
	switch {
	case e.Kind == client.EventNotice && e.Message != nil:
		return "" // a line of a group's conversation
	case e.Kind == client.EventNotice && a.joining && strings.Contains(e.Text, ": cannot join: "):
		return ""
	case e.Kind == client.EventNotice:
		return e.Text
	case e.Kind == client.EventGroup:
		return a.groupWarning(ctx, c, *e.Group)
	case e.Kind == client.EventContact && (e.Text == "recovered" || e.Text == "contested"):
		name := a.nameOf(ctx, c, e)
		if e.Text == "contested" {
			return fmt.Sprintf("CONTESTED: one of %s's devices says that somebody else has restored the account. Nothing is sent to it until you have"+
				" compared numbers in person: %s contact verify %s", name, me, e.Contact)
		}
		return fmt.Sprintf("%s restored the account from the recovery phrase. If you are not sure that it was them, compare numbers: %s contact verify %s",
			name, me, e.Contact)
	case e.Kind == client.EventDevice:
		return a.deviceWarning(ctx, c, e.Device, me)
	case e.Kind == client.EventLink:
		return fmt.Sprintf("%s has the recovery phrase and asks to be linked. If it is yours, type the code from its screen: %s device approve CODE",
			printable(e.Link.Label), me)
	}
	return ""
}

func (a *app) deviceWarning(ctx context.Context, c *client.Client, e *client.DeviceEvent, me string) string {
	acc := c.Account()
	switch e.Kind {
	case "recovered":
		if acc.Revoked {
			return fmt.Sprintf("ALARM: this account was restored from its recovery phrase on %s, and this device is no longer part of it."+
				" Was it not you? %s device contest. It was you? %s device link", e.At.Local().Format("2006-01-02 15:04"), me, me)
		}
		return fmt.Sprintf("this account was changed with its recovery phrase on %s; contacts see it. Look at its devices: %s device list",
			e.At.Local().Format("2006-01-02 15:04"), me)
	case "revoked":
		if e.Device == acc.Device {
			return fmt.Sprintf("this device was removed from the account: it can neither fetch nor send. To bring it back: %s device link", me)
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
					label = printable(d.Label)
				}
			}
		}
		return fmt.Sprintf("a new device was linked to this account: %s. Not yours? %s device revoke %s", label, me, e.Device)
	case "contested":
		if acc.Revoked {
			return "" // this device did it
		}
		return fmt.Sprintf("one of this account's former devices contests that it was restored. Contacts write to it only after they have compared numbers:"+
			" %s contact verify PEER shows yours", me)
	}
	return ""
}

// nameOf is what the contact of an event is called.
func (a *app) nameOf(ctx context.Context, c *client.Client, e client.Event) string {
	contacts, err := c.Contacts(ctx)
	if err == nil {
		for _, p := range contacts {
			if p.ID == *e.Contact {
				return printable(contactName(p))
			}
		}
	}
	return shortAccount(*e.Contact)
}
