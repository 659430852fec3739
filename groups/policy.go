package groups

import (
	"slices"

	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

func denied(format string, args ...any) error {
	return fault.New(fault.Denied, "change group", format, args...)
}

func nothing(format string, args ...any) error {
	return fault.New(fault.Exists, "change group", format, args...)
}

// next returns the state after a change by author at a time, and whether the change begins a generation. It
// is the whole policy: fault.Denied if the author may not, fault.Exists if nothing would change.
func (c *core) next(ch *Change, author ident.AccountID, at int64) (out *core, fresh bool, err error) {
	if (ch.Kind == KindCreate) != (c.index == 0) {
		return nil, false, denied("a group is created by its first commit and by no other")
	}
	if c.over {
		return nil, false, denied("the group is disbanded")
	}
	out = c.clone()
	out.index++
	out.void, out.gaps = false, 0
	if ch.Kind == KindCreate {
		return out, true, out.begin(ch, author)
	}
	if ch.Kind == KindJoin {
		if c.gaps > 0 {
			return nil, false, fault.New(fault.Unavailable, "join group",
				"the next commit has to be an admin's: the keys of %d generations are owed", c.gaps)
		}
		return out, false, out.comeIn(ch, author, at)
	}
	if m := c.member(author); m == nil || m.Role != Admin {
		return nil, false, denied("its author is no admin")
	}
	if fresh, err = out.change(ch, author, at); err != nil {
		return nil, false, err
	}
	if !fresh && len(ch.Leaves) > 0 {
		return nil, false, denied("leaf keys change with a generation only")
	}
	if fresh {
		out.gen++
	}
	if err := out.takeLeaves(ch.Leaves); err != nil {
		return nil, false, err
	}
	if out.admins() == 0 {
		return nil, false, denied("no admin would remain")
	}
	return out, fresh, nil
}

func (c *core) begin(ch *Change, author ident.AccountID) error {
	if len(ch.Adds) != 1 || ch.Adds[0].Member.Account != author || !ch.Adds[0].Member.goodKeys() {
		return denied("the creator is not the first admin")
	}
	m := *ch.Adds[0].Member
	m.Role, m.Joined, m.JoinedGen, m.LeafNumber, m.Door = Admin, 1, 1, 1, false
	c.gen, c.info, c.members = 1, ch.Info, []*Member{m.seal()}
	return nil
}

func (c *core) change(ch *Change, author ident.AccountID, at int64) (fresh bool, err error) {
	switch ch.Kind {
	case KindAdd:
		if len(ch.Adds) == 0 {
			return false, nothing("nobody is to be added")
		}
		if len(ch.Adds) > c.maxAdds() {
			return false, denied("%d are to be added, %d at most can be", len(ch.Adds), c.maxAdds())
		}
		for i := range ch.Adds {
			if err := c.join(&ch.Adds[i], at); err != nil {
				return false, err
			}
		}
	case KindRemove:
		return true, c.remove(ch, author)
	case KindRole:
		return c.setRole(ch, author)
	case KindInfo:
		if c.info.Equal(&ch.Info) {
			return false, nothing("the info is so already")
		}
		c.info = ch.Info
	case KindRekey:
		return true, nil
	case KindInvite:
		return false, c.invite(ch.Invite, at)
	case KindRevokeInvite:
		return false, c.revoke(ch)
	case KindDisband:
		c.over, c.invites = true, nil
	default:
		return false, denied("kind %d is unknown", ch.Kind)
	}
	return false, nil
}

// join adds a member, if its invitation or its return counts.
func (c *core) join(a *Addition, at int64) error {
	i, found := c.find(a.Member.Account)
	switch stay := c.lastStay(a.Member.Account); {
	case found:
		return nothing("the account is a member already")
	case slices.Contains(c.banned, a.Member.Account):
		return nothing("the account is banned")
	case len(c.members) >= MaxMembers:
		return fault.New(fault.Limited, "change group", "has %d members, the most there can be", MaxMembers)
	case a.Serial == 0:
		if stay == nil && a.Replaces != 0 || stay != nil && a.Replaces != stay.joined {
			return nothing("the return is not of the account's last stay")
		}
	default:
		if err := c.use(a, stay, at); err != nil {
			return err
		}
	}
	if !a.Member.goodKeys() {
		return denied("the keys of a new member are malformed")
	}
	if c.form != FormShared && c.knows(a.Member.Sign) {
		return nothing("the signing key is that of another stay")
	}
	c.release(func(id ident.AccountID) bool { return id == a.Member.Account }, 0)
	m := *a.Member
	m.Role, m.Joined, m.JoinedGen, m.LeafNumber, m.Door = Plain, c.index, c.gen, 1, a.door
	c.members = slices.Insert(c.members, i, m.seal())
	return nil
}

// use counts a request with an invitation.
func (c *core) use(a *Addition, stay *gone, at int64) error {
	k := slices.IndexFunc(c.invites, func(i Invite) bool { return i.Serial == a.Serial })
	if k < 0 || at > c.invites[k].NotAfter {
		return nothing("the invitation is revoked, used up or expired")
	}
	in := &c.invites[k]
	switch {
	case in.bound() && !slices.Contains(in.For, a.Member.Account):
		return nothing("the invitation is for others")
	case stay != nil && in.Gen < stay.removedGen:
		return nothing("the invitation is older than the removal of the account: ask for a new one")
	case a.ShareDays != in.ShareDays:
		return denied("the invitation shares %d days of history", in.ShareDays)
	case in.bound():
		return nil // release takes the account out
	}
	if in.Uses--; in.Uses == 0 {
		c.invites = slices.Delete(c.invites, k, k+1)
	}
	return nil
}

// release takes accounts out of the bound invitation with a serial, 0 for all of them, and reports whether
// any was there. An invitation that is bound to nobody any more ends.
func (c *core) release(out func(ident.AccountID) bool, serial uint64) (any bool) {
	for i := range c.invites {
		in := &c.invites[i]
		if serial != 0 && in.Serial != serial || !slices.ContainsFunc(in.For, out) {
			continue
		}
		in.For = slices.DeleteFunc(slices.Clone(in.For), out)
		in.Uses, any = uint32(len(in.For)), true
	}
	c.invites = slices.DeleteFunc(c.invites, func(i Invite) bool { return i.Uses == 0 })
	return any
}

func (c *core) remove(ch *Change, author ident.AccountID) error {
	if len(ch.Targets) == 0 {
		return nothing("nobody that is to be removed is there")
	}
	for _, t := range ch.Targets {
		i, ok := c.find(t.Account)
		if !ok || c.members[i].Joined != t.Joined {
			return nothing("a member that is to be removed is not there")
		}
		if t.Account == author {
			return denied("nobody makes a generation that leaves them out")
		}
		m := c.members[i]
		c.members = slices.Delete(c.members, i, i+1)
		c.gone = append(c.gone, gone{account: m.Account, sign: m.Sign, joined: m.Joined,
			joinedGen: m.JoinedGen, removedGen: c.gen + 1})
		if ch.Ban {
			c.ban(m.Account)
		}
	}
	c.gone = c.gone[max(0, len(c.gone)-maxGone):]
	return nil
}

// ban keeps an account out. Of too many the oldest is forgotten.
func (c *core) ban(id ident.AccountID) bool {
	if slices.Contains(c.banned, id) {
		return false
	}
	c.banned = append(c.banned, id)
	c.banned = c.banned[max(0, len(c.banned)-MaxBanned):]
	return true
}

func (c *core) setRole(ch *Change, author ident.AccountID) (fresh bool, err error) {
	if len(ch.Targets) != 1 {
		return false, nothing("the member is not there")
	}
	i, ok := c.find(ch.Targets[0].Account)
	if !ok || c.members[i].Joined != ch.Targets[0].Joined {
		return false, nothing("the member is not there")
	}
	if c.members[i].Role == ch.Role {
		return false, nothing("the member is %v already", ch.Role)
	}
	m := *c.members[i]
	fresh = ch.Role < m.Role
	if fresh && m.Account == author {
		return false, denied("nobody makes a generation that lowers their own role")
	}
	m.Role = ch.Role
	c.members[i] = m.seal()
	return fresh, nil
}

// invite opens an invitation. Those that are over make room.
func (c *core) invite(in Invite, at int64) error {
	c.invites = slices.DeleteFunc(c.invites, func(i Invite) bool { return at > i.NotAfter })
	i, found := slices.BinarySearchFunc(c.invites, in.Serial, func(i Invite, serial uint64) int {
		switch {
		case i.Serial < serial:
			return -1
		case i.Serial > serial:
			return 1
		}
		return 0
	})
	bound, doors := len(in.For), 0
	for i := range c.invites {
		bound += len(c.invites[i].For)
		doors += int(bit(c.door(&c.invites[i])))
	}
	switch {
	case found:
		return nothing("invitation %d is there already", in.Serial)
	case at > in.NotAfter:
		return nothing("the invitation is over")
	case slices.ContainsFunc(in.For, func(id ident.AccountID) bool { return c.member(id) != nil }):
		return nothing("an account that is to be invited is a member already")
	case len(c.invites) >= MaxInvites:
		return fault.New(fault.Limited, "change group", "has %d invitations, the most there can be",
			MaxInvites)
	case c.door(&in) && doors >= MaxDoors:
		return fault.New(fault.Limited, "change group",
			"has %d open links, the most a public group can have: revoke one", MaxDoors)
	case bound > MaxMembers:
		return fault.New(fault.Limited, "change group",
			"%d invitations would be bound to accounts, want at most %d", bound, MaxMembers)
	}
	in.Commit, in.Gen = c.index, c.gen
	c.invites = slices.Insert(c.invites, i, in)
	c.banned = slices.DeleteFunc(c.banned,
		func(id ident.AccountID) bool { return slices.Contains(in.For, id) })
	return nil
}

func (c *core) revoke(ch *Change) error {
	changed := false
	if len(ch.Accounts) == 0 {
		n := len(c.invites)
		c.invites = slices.DeleteFunc(c.invites, func(i Invite) bool {
			return i.Serial == ch.Serial ||
				ch.Serial == 0 && i.bound()
		})
		changed = len(c.invites) != n
	} else {
		changed = c.release(func(id ident.AccountID) bool { return slices.Contains(ch.Accounts, id) },
			ch.Serial)
	}
	if ch.Ban {
		for _, id := range ch.Accounts {
			if c.member(id) != nil {
				return denied("a member is banned by a removal")
			}
			changed = c.ban(id) || changed
		}
	}
	if !changed {
		return nothing("no such invitation")
	}
	return nil
}

func (c *core) takeLeaves(all []LeafUpdate) error {
	for i := range all {
		u := &all[i]
		k, ok := c.find(u.Account)
		if !ok || u.Number <= c.members[k].LeafNumber || !verify(c.members[k].Sign, u.Signature, labelLeaf,
			u.signed(c.group)) {
			return denied("a leaf key is stale or not signed by its member")
		}
		m := *c.members[k]
		m.Leaf, m.LeafNumber = u.Leaf, u.Number
		c.members[k] = m.seal()
	}
	return nil
}

// prune drops what no longer applies of a change that was made upon an older head. If nothing of an addition
// applies, the error says why the first of them does not.
func (c *core) prune(ch Change, at int64) (*Change, error) {
	seen := map[ident.AccountID]bool{}
	ch.Targets = slices.DeleteFunc(slices.Clone(ch.Targets), func(t Target) bool {
		m := c.member(t.Account)
		out := m == nil || m.Joined != t.Joined || seen[t.Account]
		seen[t.Account] = true
		return out
	})
	ch.Leaves = c.pruneLeaves(&ch)
	ch.Accounts = sorted(ch.Accounts)
	if bound := len(ch.Invite.For) > 0; bound {
		ch.Invite.For = slices.DeleteFunc(sorted(ch.Invite.For),
			func(id ident.AccountID) bool { return c.member(id) != nil })
		if ch.Invite.Uses = uint32(len(ch.Invite.For)); ch.Invite.Uses == 0 {
			return nil, nothing("all that are to be invited are members already")
		}
	}
	if ch.Kind != KindAdd {
		return &ch, nil
	}
	var first error
	try := c.clone()
	try.index++
	ch.Adds = slices.DeleteFunc(slices.Clone(ch.Adds), func(a Addition) bool {
		err := try.join(&a, at)
		if first == nil {
			first = err
		}
		return err != nil
	})
	if len(ch.Adds) > 0 {
		first = nil
	}
	return &ch, first
}

// pruneLeaves keeps the newest update of each member that stays, if it is newer than what the state has, as
// many as there is room for.
func (c *core) pruneLeaves(ch *Change) []LeafUpdate {
	newest := map[ident.AccountID]uint32{}
	for _, u := range ch.Leaves {
		newest[u.Account] = max(newest[u.Account], u.Number)
	}
	out := slices.DeleteFunc(slices.Clone(ch.Leaves), func(u LeafUpdate) bool {
		m := c.member(u.Account)
		gone := slices.ContainsFunc(ch.Targets, func(t Target) bool {
			return ch.Kind == KindRemove &&
				t.Account == u.Account
		})
		if m == nil || gone || u.Number <= m.LeafNumber || u.Number != newest[u.Account] {
			return true
		}
		return !verify(m.Sign, u.Signature, labelLeaf, u.signed(c.group))
	})
	return out[:min(len(out), c.leafRoom(len(ch.Targets)))]
}

const (
	contentOverhead = 1 + 33 + 8 + 3 + 32 + 2 + 64 // of a commit's plaintext, beside change and values
	leafUpdateSize  = 33 + 4 + leafSize + 64
	targetSize      = 33 + 8
	maxBeside       = 512 // targets whose keys are revoked in one request with a commit of the largest size
)

// leafRoom returns how many leaf updates go with so many targets: a removal always has to fit into a commit
// and, where it revokes the keys of those that it removes, into a request. Updates that are left out wait for
// the next generation.
func (c *core) leafRoom(targets int) int {
	room := maxPlain
	if c.form != FormShared && targets > maxBeside {
		room = nextSmaller
	}
	return (room - contentOverhead - 8 - targetSize*targets - 32*(int(c.gaps)+1)) / leafUpdateSize
}
