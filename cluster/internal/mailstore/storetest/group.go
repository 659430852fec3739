package storetest

import (
	"crypto/ed25519"
	"fmt"

	"github.com/starling-swarm/starling/internal/envelope"
)

// Group is a group's mailbox and its keys, as an admin has them. Its account holds the genesis key.
type Group struct {
	*Account
	header envelope.CommitHeader // of the last commit that Accept took
	last   [32]byte
}

// NewGroup returns the group of a seed. Equal seeds give equal groups.
func NewGroup(seed string) *Group { return &Group{Account: NewAccount(seed)} }

// NewGroupOf returns the group of a seed and of a form.
func NewGroupOf(seed string, form envelope.GroupForm) *Group {
	g := NewGroup(seed)
	g.header.Form = form
	return g
}

// Read, Write, Mod and Admin return the keys of a generation.
func (g *Group) Read(generation uint32) ed25519.PrivateKey  { return g.key("read", generation) }
func (g *Group) Write(generation uint32) ed25519.PrivateKey { return g.key("write", generation) }
func (g *Group) Mod(generation uint32) ed25519.PrivateKey   { return g.key("mod", generation) }
func (g *Group) Admin(generation uint32) ed25519.PrivateKey { return g.key("admin", generation) }

// Member returns the signing key of a member; 1 is the creator.
func (g *Group) Member(n uint32) ed25519.PrivateKey { return g.key("member", n) }

// Invite returns the key of an invitation.
func (g *Group) Invite(n uint32) ed25519.PrivateKey { return g.key("invite", n) }

func (g *Group) key(use string, n uint32) ed25519.PrivateKey {
	return keyOf(fmt.Sprintf("%s/%s/%d", g.seed, use, n))
}

// Index returns that of the last accepted commit.
func (g *Group) Index() uint64 { return g.header.Index }

// Admit returns the delegation that lets a member write, right after the commit with an index.
func (g *Group) Admit(index uint64, n uint32) envelope.Delegate {
	return envelope.Delegate{
		Serial: envelope.Serial(index, 0), Key: public(g.Member(n)), Rights: envelope.MayWrite,
		Generation: max(g.header.Generation, 1),
		Namespaces: []envelope.Namespace{envelope.GroupMail, envelope.GroupLeaves},
	}
}

// Join returns the operations by which a member lets itself in, under the write key.
func (g *Group) Join(head uint64, n uint32) []envelope.Op {
	c := g.Next(envelope.CommitJoin, fmt.Sprint("join of ", n))
	return []envelope.Op{g.Sign(c, head), g.Admit(c.Index, n)}
}

// Generation returns that of the last accepted commit.
func (g *Group) Generation() uint32 { return g.header.Generation }

// Next returns the commit that follows the last accepted one, unsigned: of the next generation for create,
// remove and rekey, with all keys new, else of the same.
func (g *Group) Next(kind envelope.CommitKind, body string, slots ...envelope.Slot) *envelope.Commit {
	c := &envelope.Commit{CommitHeader: g.header, Body: []byte(body)}
	c.Index++
	c.Kind, c.PrevHash, c.SlotsRoot = kind, g.last, envelope.SlotsRoot(slots)
	if kind == envelope.CommitCreate || kind == envelope.CommitRemove || kind == envelope.CommitRekey {
		c.Generation++
		c.Read, c.Write, c.Mod, c.Admin = public(g.Read(c.Generation)), public(g.Write(c.Generation)),
			public(g.Mod(c.Generation)), public(g.Admin(c.Generation))
	}
	return c
}

// Sign signs c by the admin key in force, a create by the mailbox key, a join by the write key, and returns
// its store after head.
func (g *Group) Sign(c *envelope.Commit, head uint64) envelope.Store {
	key := g.Admin(g.header.Generation)
	switch c.Kind {
	case envelope.CommitCreate:
		key = g.MailboxKey()
	case envelope.CommitJoin:
		key = g.Write(g.header.Generation)
	}
	copy(c.Signature[:], ed25519.Sign(key, c.SignedBytes(g.Mailbox())))
	return envelope.Store{Namespace: envelope.GroupLog, IfHead: &head, Body: c.Encode()}
}

// Accept notes that a commit was appended.
func (g *Group) Accept(st envelope.Store) {
	c, err := envelope.DecodeCommit(st.Body)
	if err != nil {
		panic(err)
	}
	g.header, g.last = c.CommitHeader, envelope.CommitHash(st.Body)
}

// Genesis returns the batch that makes the group, with the slots of its first commit, and member 1 where
// members have own keys.
func (g *Group) Genesis(slots ...envelope.Slot) *envelope.Request {
	r := g.Request(g.MailboxKey(), envelope.SetAuthority{Change: envelope.Genesis, Key: public(g.Admin(1)),
		Flags: envelope.NoRecover})
	r.Ops = append(r.Ops, Stage(slots...)...)
	r.Ops = append(r.Ops, g.Sign(g.Next(envelope.CommitCreate, "create", slots...), 0))
	if g.header.Form != envelope.FormShared {
		r.Ops = append(r.Ops, g.Admit(1, 1))
	}
	return r
}

// Stage returns the stores that stage a set of slots.
func Stage(slots ...envelope.Slot) (ops []envelope.Op) {
	root := envelope.SlotsRoot(slots)
	for _, s := range slots {
		ops = append(ops, envelope.Store{Namespace: envelope.GroupSlots, Key: s.Locator, TTL: day,
			Body: envelope.SlotBody(root, s.Sealed)})
	}
	return ops
}
