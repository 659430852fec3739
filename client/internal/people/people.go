package people

import (
	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/devicesync"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	bodyv1 "github.com/starling-swarm/starling/proto/starling/body/v1"
)

// LearnSender keeps what a verified message told about its sender.
func (c *People) LearnSender(tx *store.Tx, a *core.Batch, p *Person, in *account.Incoming) {
	changed := false
	if in.Chain != nil && (p.Certs == nil || in.Chain.G() > p.Certs.G()) {
		p.Certs, changed = in.Chain, true
		c.noteChanges(tx, a, p, in.Events)
	}
	if in.Record != nil && (p.DayKey == nil || p.DayKey.Version().Less(in.Record.Version())) {
		p.DayKey, changed = in.Record, true
	}
	if in.SeenG > p.KnowsG {
		p.KnowsG, changed = in.SeenG, true
	}
	if changed {
		c.Save(tx, *p)
	}
}

// LearnProfile takes in what an account says of itself.
func (c *People) LearnProfile(tx *store.Tx, a *core.Batch, p *Person, pr *bodyv1.Profile) {
	if pr == nil || pr.GetChangedAt() <= p.NameAt || p.Account == c.core.Me {
		return
	}
	p.Name, p.NameAt = pr.GetName(), pr.GetChangedAt()
	c.Save(tx, *p)
	id := p.Account
	a.Tell(core.Fact{Kind: core.FactContact, Contact: &id})
}

// TellProfile adds to a body what the recipient does not know of our profile yet.
func (c *People) TellProfile(tx *store.Tx, p *Person, b *bodyv1.Body) {
	if name, at := c.core.ProfileName(), int64(tx.Number(store.MetaProfileChanged)); name != "" &&
		p.ToldAt < at && p.Account != c.core.Me {
		b.Profile = &bodyv1.Profile{Name: name, ChangedAt: at}
		p.ToldAt = at
	}
}

// Approve marks an account as approved, here and in the contacts document. p is saved by the caller.
func (c *People) Approve(tx *store.Tx, p *Person, now int64) (dirty bool, err error) {
	if p.Account == c.core.Me || p.Approved {
		return false, nil
	}
	p.Approved = true
	subject := string(p.Account[:])
	if b, ok := c.core.Docs.Get(devicesync.ContactApproved, subject); ok && devicesync.IsTrue(b) {
		return false, nil
	}
	if err := c.core.Docs.Set(now, devicesync.ContactApproved, subject, devicesync.Bool(true)); err != nil {
		return false, err
	}
	if err := c.core.Docs.Set(now, devicesync.ContactAddedAt, subject,
		devicesync.Uint(uint64(now))); err != nil {
		return false, err
	}
	if err := c.core.Docs.Set(now, devicesync.ConvStartedAt, subject,
		devicesync.Uint(uint64(now))); err != nil {
		return false, err
	}
	if p.Name != "" {
		if err := c.core.Docs.Set(now, devicesync.ContactName, subject, devicesync.Text(p.Name)); err != nil {
			return false, err
		}
	}
	return true, c.core.SaveDocuments(tx)
}

// unverify takes the verified mark off a contact.
func (c *People) unverify(tx *store.Tx, id ident.AccountID) {
	subject := string(id[:])
	if b, ok := c.core.Docs.Get(devicesync.ContactVerified, subject); !ok || devicesync.AsUint(b) == 0 {
		return
	}
	if c.core.Docs.Set(c.core.NowMS(), devicesync.ContactVerified, subject, devicesync.Uint(0)) == nil {
		// A failure to write shows as the transaction's.
		_ = c.core.SaveDocuments(tx)
	}
}

// Blocked reports whether the user has blocked an account. Only inside a transaction.
func (c *People) Blocked(id ident.AccountID) bool {
	b, ok := c.core.Docs.Get(devicesync.ContactBlocked, string(id[:]))
	return ok && devicesync.IsTrue(b)
}

// Contested reports whether an account must not be written to: its recovery was contested, and it has not
// been verified since.
func (c *People) Contested(p *store.Peer) bool {
	if p.ContestedAt == 0 {
		return false
	}
	b, ok := c.core.Docs.Get(devicesync.ContactVerified, string(p.Account[:]))
	return !ok || devicesync.AsUint(b) <= uint64(p.ContestedAt)
}

// ErrContested is the error of writing to a contested account: Denied.
func ErrContested(id ident.AccountID) error {
	return fault.New(fault.Denied, "send to "+core.Short(id),
		"the account is contested: one of its devices says that somebody else has restored it; compare the "+
			"numbers first (contact verify)")
}

// Name is what to call an account: our petname for it, else its own.
func (c *People) Name(tx *store.Tx, id ident.AccountID) string {
	if id == c.core.Me {
		return c.core.ProfileName()
	}
	if nick, ok := c.core.Docs.Get(devicesync.ContactNick, string(id[:])); ok && len(nick) > 0 {
		return string(nick)
	}
	if p, err := c.Get(tx, id); err == nil && p.Name != "" {
		return p.Name
	}
	name, _ := c.core.Docs.Get(devicesync.ContactName, string(id[:]))
	return string(name)
}

const InboxTTL = 14 * 24 * 3600 // seconds
