package groups

import (
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/private"
)

// grant holds the keys of a generation as one member has them.
type grant struct {
	private.Redacted
	group ident.GroupID
	g     uint32
	index uint64 // the commit that gave it
	role  Role
	day   uint32 // of ck

	ck   secret
	all  secret // what every member holds: gives the read, write, body and word keys
	next secret // locates the member's next slot
	// of an admin the secret that gives mod and admin keys, of a moderator the mod key, else zero
	power secret
}

// expand makes the keys of a generation from its secret; what it returns is what an admin holds.
func expand(gs *secret, group ident.GroupID, g, day uint32) *grant {
	c := context(group, g)
	k := func(label string) secret { return derive(gs.b[:], nil, label, c...) }
	return &grant{group: group, g: g, role: Admin, day: day, ck: k(labelChain), all: k(labelMembers),
		power: k(labelAdmins)}
}

func memberKey(all *secret, label string, group ident.GroupID, g uint32) secret {
	return derive(all.b[:], nil, label, context(group, g)...)
}

func (k *grant) read() secret  { return memberKey(&k.all, labelRead, k.group, k.g) }
func (k *grant) write() secret { return memberKey(&k.all, labelWrite, k.group, k.g) }

// mod returns the key of moderators, zero without the role.
func (k *grant) mod() secret {
	switch {
	case k.role >= Admin:
		return derive(k.power.b[:], nil, labelMod, context(k.group, k.g)...)
	case k.role == Moderator:
		return secret{b: k.power.b}
	}
	return secret{}
}

// admin returns the key of admins, zero without the role.
func (k *grant) admin() secret {
	if k.role < Admin {
		return secret{}
	}
	return derive(k.power.b[:], nil, labelAdmin, context(k.group, k.g)...)
}

// slotSecret locates the next slot of a member; only admins can compute it for others.
func (k *grant) slotSecret(account ident.AccountID) secret {
	return derive(k.power.b[:], nil, labelSlotSecret, account[:]...)
}

// doorSecret is slotSecret for a member that let itself in with this generation: only members can compute it.
func (k *grant) doorSecret(account ident.AccountID) secret {
	return derive(k.all.b[:], nil, labelDoorSecret, account[:]...)
}

// nextSecret locates the slot of m that follows the one that gave it k.
func (k *grant) nextSecret(m *Member) secret {
	if m.Door && m.JoinedGen == k.g {
		return k.doorSecret(m.Account)
	}
	return k.slotSecret(m.Account)
}

// forMember returns the part of an admin's k that a member gets.
func (k *grant) forMember(m *Member, index uint64) *grant {
	out := *k
	out.index, out.next = index, k.nextSecret(m)
	out.lower(m.Role)
	return &out
}

// forDoor returns the part of an admin's k that whoever comes through a door gets.
func (k *grant) forDoor(index uint64) *grant {
	out := *k
	out.index, out.next = index, secret{}
	out.lower(Plain)
	return &out
}

// lower drops what a role does not hold.
func (k *grant) lower(role Role) {
	if role >= k.role {
		return
	}
	mod := k.mod()
	k.power.wipe()
	if k.role = role; role == Moderator {
		k.power = mod
	}
}

// publics are the public halves that a commit installs at the node.
type publics struct{ read, write, mod, admin [32]byte }

func publicsOf(h *envelope.CommitHeader) publics { return publics{h.Read, h.Write, h.Mod, h.Admin} }

func (p *publics) into(h *envelope.CommitHeader) {
	h.Read, h.Write, h.Mod, h.Admin = p.read, p.write, p.mod, p.admin
}

// publics returns the public halves of what k holds, zero for the rest.
func (k *grant) publics() (p publics) {
	read, write := k.read(), k.write()
	p.read, p.write = read.public(), write.public()
	if k.role >= Moderator {
		mod := k.mod()
		p.mod = mod.public()
	}
	if k.role >= Admin {
		admin := k.admin()
		p.admin = admin.public()
	}
	return p
}

// fit reports whether a member's keys are those of q; keys that the member does not hold are zero.
func (p publics) fit(q *publics) bool {
	none := [32]byte{}
	return p.read == q.read && p.write == q.write && (p.mod == none || p.mod == q.mod) && (p.admin == none ||
		p.admin == q.admin)
}

// opens reports whether all is what the members of generation g hold, if read is its read key.
func opens(all *secret, group ident.GroupID, g uint32, read [32]byte) bool {
	k := memberKey(all, labelRead, group, g)
	return k.public() == read
}
