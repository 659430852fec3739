package closed

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/devicesync"
	"github.com/starling-swarm/starling/groups"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	bodyv1 "github.com/starling-swarm/starling/proto/starling/body/v1"
)

// An account that was restored from its phrase alone knows its groups and has the keys of none. Where it is
// the only admin, it comes back by itself (spare.go). Elsewhere it asks the admins, whose accounts the groups
// document names, by direct messages; an admin's device takes it out and in again with new keys and says what
// finds its slot. What it was besides a member, an admin grants anew.

const (
	// returnAgain is how long an account waits before it asks the admins once more.
	returnAgain = 24 * time.Hour
	// recoveryDoubt is how long after a recovery nobody returns without an admin's word: who has the phrase
	// may not be who was a member, and a device that was left out has that long to object.
	recoveryDoubt = 72 * time.Hour
	// maxWelcomes bounds what waits to be tried.
	maxWelcomes = 8
)

// askAdmins asks all admins of a group that the document knows to let this account in again.
func (c *Groups) askAdmins(e store.GroupErrand) error {
	return c.errand(e, func(tx *store.Tx, g *group) error {
		tx.DropGroupErrands(e.Group, errandReturn)
		if s, ok := c.standing(e.Group); g.state != nil || !ok || s.Status != devicesync.GroupJoined {
			return tx.Err()
		}
		admins := c.groupAdmins(e.Group)
		g.Warning = "the keys of the group are on none of the account's devices that answer: " +
			"its admins were asked to let this account in again"
		if len(admins) == 0 {
			g.Warning = "the keys of the group are on none of the account's devices that answer, " +
				"and it has no other admin who could let this account in again: only a device that still " +
				"has them can"
		}
		keys, err := g.returnKeys()
		if err != nil {
			return err
		}
		c.save(tx, g)
		for _, id := range admins {
			if err := c.askAdmin(tx, id, e.Group, keys); err != nil {
				return err
			}
		}
		next := errandReturn
		if len(c.spares(e.Group)) > 0 {
			next = errandSpare
		}
		c.put(tx, e.Group, next, returnAgain+core.Spread(0, time.Hour), nil)
		return tx.Err()
	})
}

// groupAdmins returns the admins of a group but the own account, as the document knows them.
func (c *Groups) groupAdmins(id ident.GroupID) (out []ident.AccountID) {
	for _, b := range c.core.Docs.Elements(devicesync.GroupAdmins, string(id[:])) {
		if len(b) == len(c.core.Me) && !bytes.Equal(b, c.core.Me[:]) && len(out) < devicesync.MaxGroupAdmins {
			out = append(out, ident.AccountID(b))
		}
	}
	return out
}

// returnKeys returns the keys that the account returns with, the same until it has.
func (g *group) returnKeys() (*groups.Keys, error) {
	if Status(g.Status) == Returning && g.Keys != nil {
		return groups.UnmarshalKeys(g.Keys)
	}
	keys, err := groups.NewKeys(rand.Reader)
	if err != nil {
		return nil, err
	}
	g.Status, g.Keys, g.Request, g.Asked = string(Returning), keys.Marshal(), nil, false
	return keys, nil
}

func (c *Groups) askAdmin(tx *store.Tx, admin ident.AccountID, id ident.GroupID, keys *groups.Keys) error {
	credential, err := c.groupCredential(id, keys.SignPublic())
	if err != nil {
		return err
	}
	return c.sayOfGroup(tx, admin, &bodyv1.GroupReturn{GroupId: id[:], Request: groups.NewReturn(id,
		c.core.Me, keys, credential)})
}

// sayOfGroup queues a direct message that no conversation shows.
func (c *Groups) sayOfGroup(tx *store.Tx, to ident.AccountID, r *bodyv1.GroupReturn) error {
	body, err := proto.Marshal(&bodyv1.Body{Kind: &bodyv1.Body_GroupReturn{GroupReturn: r}})
	if err != nil {
		return err
	}
	leg := store.Leg{Kind: store.LegReceipt, Peer: to.Key(), SentAt: c.core.NowMS(), Body: body,
		Due: c.core.NowMS()}
	rand.Read(leg.Message[:])
	tx.AddLeg(&leg)
	c.core.Kick(to)
	return tx.Err()
}

// welcomeBack welcomes those who asked to return and are members anew with the commit that was taken in,
// whoever let them in.
func (c *Groups) welcomeBack(tx *store.Tx, g *group, b before) error {
	for _, m := range g.state.Members() {
		if m.Joined <= b.Index {
			continue
		}
		if _, asked := tx.GroupErrand(g.ID, errandBack+m.Account.String()); !asked {
			continue
		}
		tx.DropGroupErrands(g.ID, errandBack+m.Account.String())
		if err := c.welcome(tx, g, m.Account); err != nil {
			return err
		}
	}
	return tx.Err()
}

// finishReturns lets those in again whose removal for their return was taken in, and who asked this admin
// too: the one who removed them may be gone. What is in the log when its turn comes is passed over. Any other
// removal ends a return.
func (c *Groups) finishReturns(tx *store.Tx, g *group, commit []byte) error {
	d, err := g.state.Describe(commit)
	if err != nil || d.Void || d.Kind != groups.KindRemove || !g.admin() {
		return nil
	}
	if !d.Change.Return {
		return c.dropReturns(tx, g.ID, d.Change.Targets)
	}
	if d.Author == c.core.Me {
		return nil
	}
	gone := targets(d.Change)
	for _, ask := range tx.GroupAsks(g.ID) {
		if ask.Kind != askReturn || !slices.Contains(gone, ask.Account) {
			continue
		}
		tx.DropGroupAsk(ask.N)
		add, err := g.state.FinishReturn(ask.Account, ask.Body)
		if err != nil || errors.Is(c.checkGroupCredential(tx, g.ID, add.Adds[0].Member), fault.Denied) {
			continue
		}
		if _, err := c.want(tx, g.ID, wantChange(add)); err != nil {
			return err
		}
	}
	return tx.Err()
}

// dropReturns forgets that this device wanted members back in again who were removed meanwhile: they do not
// return from that.
func (c *Groups) dropReturns(tx *store.Tx, id ident.GroupID, removed []groups.Target) error {
	for _, row := range tx.GroupChanges(id) {
		w, err := decodeWanted(row.Want)
		if err != nil {
			return err
		}
		ch, err := groups.DecodeChange(w.Change)
		if err != nil || ch.Kind != groups.KindAdd || len(ch.Adds) != 1 {
			continue // no return: those have a row of their own
		}
		if a := &ch.Adds[0]; slices.Contains(removed, groups.Target{Account: a.Member.Account,
			Joined: a.Replaces}) {
			tx.DropGroupChange(row.N)
		}
	}
	return tx.Err()
}

// welcome tells an account that is in again what finds its slot.
func (c *Groups) welcome(tx *store.Tx, g *group, id ident.AccountID) error {
	return c.sayOfGroup(tx, id, &bodyv1.GroupReturn{GroupId: g.ID[:], Welcome: g.state.Welcome()})
}

// takeReturn takes in what a member without keys asks, or what an admin answers.
func (c *Groups) takeReturn(tx *store.Tx, a *core.Batch, from ident.AccountID, r *bodyv1.GroupReturn) error {
	g, err := c.get(tx, ident.GroupID(r.GetGroupId()))
	if err != nil {
		return orNoGroup(err)
	}
	switch {
	case len(r.GetRequest()) > 0 && g.admin() && g.state.Member(from) != nil:
		return c.returnAsked(tx, a, g, from, r.GetRequest())
	case len(r.GetWelcome()) > 0 && g.state == nil && Status(g.Status) == Returning && g.Keys != nil &&
		slices.Contains(c.groupAdmins(g.ID), from):
		waiting := 0
		for _, h := range tx.GroupHandovers() {
			if h.Group == g.ID && h.Welcome {
				waiting++
			}
		}
		if waiting < maxWelcomes {
			tx.AddGroupHandover(store.GroupHandover{Group: g.ID, Welcome: true, Body: r.GetWelcome()})
			c.WakeKeeper()
		}
	}
	return tx.Err()
}

// returnAsked keeps the wish of a member to return, the newest only, until it is known whether it needs an
// admin's word.
func (c *Groups) returnAsked(tx *store.Tx, a *core.Batch, g *group, from ident.AccountID,
	request []byte) error {
	for _, ask := range tx.GroupAsks(g.ID) {
		if ask.Kind != askReturn || ask.Account != from {
			continue
		}
		if bytes.Equal(ask.Body, request) {
			return tx.Err()
		}
		tx.DropGroupAsk(ask.N)
	}
	if _, _, err := g.state.OpenReturn(from, request); errors.Is(err, fault.Exists) {
		return c.welcome(tx, g, from) // another admin was faster, or the answer was lost
	} else if err != nil {
		c.core.Log.Debug("return not taken", "error", err)
		return tx.Err()
	}
	tx.SetGroupErrand(store.GroupErrand{Group: g.ID, Kind: errandBack + from.String(), Due: store.Held})
	err := c.askGroup(tx, store.GroupAsk{Group: g.ID, Kind: askReturn, Account: from, Body: request,
		At: a.Now.UnixMilli(), Held: true})
	c.put(tx, g.ID, errandJudge, 0, nil)
	c.WakeKeeper()
	c.changed(a, g.ID)
	return err
}

// judgeReturns lets those return without an admin's word whose accounts were not recovered of late.
func (c *Groups) judgeReturns(ctx context.Context, e store.GroupErrand) error {
	held := map[ident.AccountID]bool{}
	err := c.core.View(func(tx *store.Tx) error {
		for _, ask := range tx.GroupAsks(e.Group) {
			if ask.Kind == askReturn && ask.Held {
				held[ask.Account] = true
			}
		}
		return tx.Err()
	})
	if err != nil {
		return core.Broken(err)
	}
	next := time.Duration(0)
	for id := range held {
		at, err := c.recoveredAt(ctx, id)
		if err != nil {
			return err
		}
		left := at.Add(recoveryDoubt).Sub(c.core.Net.Now())
		if held[id] = left > 0; left > 0 && (next == 0 || left < next) {
			next = left
		}
	}
	return c.errand(e, func(tx *store.Tx, g *group) error {
		tx.DropGroupErrands(e.Group, errandJudge)
		for _, ask := range tx.GroupAsks(e.Group) {
			if ask.Kind == askReturn && ask.Held && !held[ask.Account] {
				ask.Held = false
				tx.SaveGroupAsk(&ask)
			}
		}
		if next > 0 {
			c.put(tx, e.Group, errandJudge, next+time.Second, nil)
		}
		return tx.Err()
	})
}

// recoveredAt returns when an account was last recovered, by the nodes' stamps: what the certificate itself
// says is written by whoever has the phrase. The zero time: never.
func (c *Groups) recoveredAt(ctx context.Context, id ident.AccountID) (at time.Time, err error) {
	p, err := c.people.Lookup(id)
	if err != nil {
		return at, err
	}
	for after := uint64(0); ; {
		r := &envelope.Request{Mailbox: p.Mailbox, MinSeq: p.CertsHead,
			Ops: []envelope.Op{envelope.Retrieve{Namespaces: []envelope.Namespace{envelope.Certs},
				After: after}}}
		resp, _, err := c.core.Request(ctx, core.PurposeFetch, r, nil)
		if err != nil {
			return at, err
		}
		page := resp.Results[0]
		for _, e := range page.Envelopes {
			for _, l := range account.OpenCerts(id, []envelope.Envelope{e}) {
				if l.Cert.Kind == account.CertRecover {
					at = time.UnixMilli(e.StoredAt)
				}
			}
		}
		if !page.More {
			return at, nil
		}
		after = page.Seq
	}
}

// welcomeTicket returns what an admin's answer lets this account enter with.
func (c *Groups) welcomeTicket(h store.GroupHandover) (out handed, ok bool, err error) {
	w, werr := groups.DecodeWelcome(h.Body)
	if werr != nil || w.Group != h.Group {
		return out, false, nil
	}
	err = c.core.View(func(tx *store.Tx) error {
		g, err := c.get(tx, h.Group)
		if err != nil || Status(g.Status) != Returning || g.Keys == nil {
			return orNoGroup(err)
		}
		keys, err := groups.UnmarshalKeys(g.Keys)
		if err != nil {
			return err
		}
		out, ok = handed{key: w.ReadKey(), ticket: keys.Ticket(h.Group, c.core.Me), index: w.HeadIndex,
			hash: w.HeadHash}, true
		return nil
	})
	if err != nil {
		return out, false, core.Broken(err)
	}
	return out, ok, nil
}

// renewAsks makes anew what waits for an admin: the credential in it is of a generation that is over.
func (c *Groups) renewAsks(tx *store.Tx) error {
	for _, id := range tx.GroupIDs() {
		g, err := c.get(tx, id)
		if err != nil {
			return err
		}
		switch {
		case g.Keys == nil:
		case Status(g.Status) == Returning:
			c.put(tx, id, errandReturn, 0, nil)
			c.WakeKeeper()
		case Status(g.Status) == Waiting && !g.knocks():
			if err := c.makeRequest(g); err != nil {
				c.core.Log.Debug("request to join not made anew", "error", err)
				continue
			}
			c.save(tx, g)
			c.kick(id)
		}
	}
	return tx.Err()
}

// makeRequest makes the request to join by the group's invitation.
func (c *Groups) makeRequest(g *group) error {
	in, err := groups.DecodeInvitation(g.Invitation)
	if err != nil {
		return err
	}
	keys, err := groups.UnmarshalKeys(g.Keys)
	if err != nil {
		return err
	}
	credential, err := c.groupCredential(g.ID, keys.SignPublic())
	if err != nil {
		return err
	}
	request, err := in.Request(c.core.Me, keys, credential)
	if err != nil {
		return err
	}
	g.Request, g.Asked = request, false
	return nil
}
