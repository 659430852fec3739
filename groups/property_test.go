package groups

import (
	"crypto/rand"
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/private"
)

// TestHistoriesWithRacingAdminsFollowTheModel plays random changes by admins that are often behind, and
// compares with a model that knows nothing of keys: who is in with which role, who is banned, and who is
// invited, in the order of the log. In public groups strangers race them through doors.
func TestHistoriesWithRacingAdminsFollowTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b, first := foundForm(t, 1, Form(rapid.IntRange(0, 2).Draw(t, "form")))
		w := &history{b: b, users: map[ident.AccountID]*user{first.id: first}, model: model{
			roles: map[ident.AccountID]Role{first.id: Admin}, banned: map[ident.AccountID]bool{},
			invited: map[ident.AccountID]int{}, stays: map[ident.AccountID]uint64{first.id: 1},
			gen: 1, removed: map[ident.AccountID]int{},
		}}
		for range rapid.IntRange(3, 14).Draw(t, "steps") {
			w.step(t)
		}
		w.check(t)
	})
}

type model struct {
	roles   map[ident.AccountID]Role
	banned  map[ident.AccountID]bool
	invited map[ident.AccountID]int // how many invitations are bound to it
	stays   map[ident.AccountID]uint64
	open    []openInvite
	doors   []openDoor
	gen     int
	removed map[ident.AccountID]int // with which generation
	// the generation began with a void commit, and none that counts came since
	owed bool
	bare bool // the generation has no slots for doors
}

// openDoor is a door that somebody has the link of.
type openDoor struct {
	in   *Invitation
	uses int
	gen  int
}

// openInvite is a bound invitation that somebody holds.
type openInvite struct {
	in  *Invitation
	who ident.AccountID
}

type history struct {
	b     *mailbox
	users map[ident.AccountID]*user // who is in
	out   []*user                   // removed: with the state from before
	old   []Change                  // that were made already: late removals and requests
	model model
}

// wish is a change, and what is known of it besides: its joiner, its invitation's seed.
type wish struct {
	Change
	joiner *user
	seed   private.Key
}

// step has two admins change something upon the same head. The second loses, takes the first's commit in and
// tries again.
func (w *history) step(t *rapid.T) {
	w.b.now = w.b.now.Add(time.Duration(rapid.IntRange(0, 30).Draw(t, "hours")) * time.Hour)
	for _, id := range w.in() {
		if rapid.Bool().Draw(t, "online") {
			w.b.mustSync(t, w.users[id])
		}
	}
	a, c := w.admin(t), w.admin(t)
	w.b.mustSync(t, a, c)
	if rapid.IntRange(0, 5).Draw(t, "void") == 0 {
		fresh := rapid.Bool().Draw(t, "fresh")
		w.b.store(bad{kind: KindRekey, fresh: fresh, garbage: true}.make(t, w.b, a))
		w.b.mustSync(t, a, c)
		if fresh {
			w.model.gen++
			w.model.owed, w.model.bare = true, true
		}
	}
	defer w.knock(t, a)()
	w.b.mustSync(t, a, c)
	one, two := w.draw(t, a), w.draw(t, c)
	p1, err1 := a.Propose(rand.Reader, w.b.now, one.Change)
	p2, err2 := c.Propose(rand.Reader, w.b.now, two.Change)
	w.expect(t, one, a, err1)
	if err1 == nil {
		if !w.b.store(p1) {
			t.Fatalf("the first of two commits lost")
		}
		w.applied(t, a, one)
	}
	if err2 != nil || a == c {
		return
	}
	if err1 == nil && w.b.store(p2) {
		t.Fatalf("both of two commits upon one head were stored")
	}
	if err := w.b.sync(c); err != nil || w.users[c.id] != c {
		return // the winner removed the loser
	}
	p2, err2 = c.Propose(rand.Reader, w.b.now, two.Change)
	w.expect(t, two, c, err2)
	switch {
	case err2 != nil:
	case !w.b.store(p2):
		t.Fatalf("a rebased commit was not stored")
	default:
		w.applied(t, c, two)
	}
}

func (w *history) in() []ident.AccountID {
	return slices.SortedFunc(maps.Keys(w.users),
		func(a, b ident.AccountID) int { return slices.Compare(a[:], b[:]) })
}

func (w *history) admin(t *rapid.T) *user {
	var all []*user
	for _, id := range w.in() {
		if w.model.roles[id] == Admin {
			all = append(all, w.users[id])
		}
	}
	return rapid.SampledFrom(all).Draw(t, "admin")
}

func (w *history) draw(t *rapid.T, by *user) wish {
	whom := rapid.SampledFrom(w.in()).Draw(t, "whom")
	stranger := accountOf(rapid.IntRange(100, 105).Draw(t, "stranger"))
	last := 8
	if by.Form() == FormPublic {
		last = 11
	}
	switch rapid.IntRange(0, last).Draw(t, "kind") {
	case 9, 10:
		if len(w.model.doors) < MaxDoors-1 { // an admin may be about to open one
			ch, seed, err := NewInvite(rand.Reader, FormPublic, w.b.now.Add(100*time.Hour),
				uint32(rapid.IntRange(1, 3).Draw(t, "uses")), 0)
			if err != nil {
				t.Fatalf("open a door: %v", err)
			}
			return wish{Change: ch, seed: seed}
		}
	case 11:
		if len(w.model.doors) > 0 {
			return wish{Change: Change{Kind: KindRevokeInvite,
				Serial: rapid.SampledFrom(w.model.doors).Draw(t, "door").in.Serial}}
		}
	case 0, 1:
		ch, seed, err := NewBoundInvite(rand.Reader, w.b.now.Add(1000*time.Hour), 0,
			[]ident.AccountID{stranger})
		if err != nil {
			t.Fatalf("invite: %v", err)
		}
		return wish{Change: ch, seed: seed}
	case 2, 3, 4:
		if len(w.model.open) > 0 {
			o := rapid.SampledFrom(w.model.open).Draw(t, "invitation")
			u := newUser(t, int(o.who[1])<<8|int(o.who[2]))
			req, err := o.in.Request(u.id, u.keys, nil)
			if err != nil {
				t.Fatalf("request: %v", err)
			}
			if ch, err := by.OpenRequest(req); err == nil {
				return wish{Change: ch, joiner: u}
			}
		}
	case 5:
		return wish{Change: Change{Kind: KindRemove, Targets: target(by, whom),
			Ban: rapid.Bool().Draw(t, "ban")}}
	case 6:
		if len(w.old) > 0 {
			return wish{Change: rapid.SampledFrom(w.old).Draw(t, "old")}
		}
	case 7:
		if by.Member(whom) != nil {
			return wish{Change: Change{Kind: KindRole, Targets: target(by, whom),
				Role: Role(rapid.IntRange(1, 3).Draw(t, "role"))}}
		}
	}
	return wish{Change: Change{Kind: KindRekey}}
}

// expect compares whether a change of somebody who is up to date is taken with what the model says.
func (w *history) expect(t *rapid.T, x wish, by *user, err error) {
	if err != nil && !errors.Is(err, fault.Exists) && !errors.Is(err, fault.Denied) {
		t.Fatalf("kind %d: got %v, want exists or denied", x.Kind, err)
	}
	want := true
	switch x.Kind {
	case KindAdd:
		id := x.Adds[0].Member.Account
		want = w.model.roles[id] == 0 && !w.model.banned[id] && w.holds(x.Adds[0].Serial)
	case KindRemove:
		want = len(x.Targets) == 1 && x.Targets[0].Account != by.id &&
			w.model.roles[x.Targets[0].Account] != 0 &&
			w.model.stays[x.Targets[0].Account] == x.Targets[0].Joined
	case KindRole:
		m := x.Targets[0]
		role := w.model.roles[m.Account]
		want = w.model.stays[m.Account] == m.Joined && role != 0 && role != x.Role && (m.Account != by.id ||
			x.Role > role)
	case KindInvite:
		want = len(x.Invite.For) == 0 || w.model.roles[x.Invite.For[0]] == 0
	case KindRevokeInvite:
		want = w.model.door(x.Serial) != nil
	}
	if (err == nil) != want {
		t.Fatalf("kind %d: got %v, the model says %v", x.Kind, err, want)
	}
}

func (w *history) holds(serial uint64) bool {
	return slices.ContainsFunc(w.model.open, func(o openInvite) bool { return o.in.Serial == serial })
}

// applied changes the model as the commit that is now the log's last, and lets a joiner in.
func (w *history) applied(t *rapid.T, by *user, x wish) {
	w.b.mustSync(t, by)
	index, m := uint64(len(w.b.log)), &w.model
	m.owed = false
	if x.Kind == KindRemove || x.Kind == KindRekey ||
		x.Kind == KindRole && x.Role < m.roles[x.Targets[0].Account] {
		m.gen++
		m.bare = false
	}
	switch x.Kind {
	case KindAdd:
		id := x.Adds[0].Member.Account
		m.comesIn(id, index)
		if x.joiner != nil {
			w.b.enter(t, x.joiner)
			w.users[id] = x.joiner
		}
		w.old = append(w.old, x.Change)
	case KindRemove:
		id := x.Targets[0].Account
		w.out = append(w.out, w.users[id])
		delete(w.users, id)
		delete(m.roles, id)
		m.removed[id] = m.gen
		if x.Ban {
			m.banned[id] = true
		}
		w.old = append(w.old, x.Change)
	case KindRole:
		m.roles[x.Targets[0].Account] = x.Role
	case KindRevokeInvite:
		m.doors = slices.DeleteFunc(m.doors, func(d openDoor) bool { return d.in.Serial == x.Serial })
	case KindInvite:
		m.doors = slices.DeleteFunc(m.doors,
			func(d openDoor) bool { return w.b.now.UnixMilli() > d.in.NotAfter })
		if len(x.Invite.For) == 0 {
			m.doors = append(m.doors, openDoor{invitation(t, by, x.Invite.Serial, x.seed),
				int(x.Invite.Uses), m.gen})
			return
		}
		id := x.Invite.For[0]
		delete(m.banned, id)
		m.invited[id]++
		m.open = append(m.open, openInvite{invitation(t, by, x.Invite.Serial, x.seed), id})
	}
}

func (m *model) comesIn(id ident.AccountID, index uint64) {
	m.roles[id], m.stays[id] = Plain, index
	delete(m.invited, id)
	m.open = slices.DeleteFunc(m.open, func(o openInvite) bool { return o.who == id })
}

func (m *model) door(serial uint64) *openDoor {
	i := slices.IndexFunc(m.doors, func(d openDoor) bool { return d.in.Serial == serial })
	if i < 0 {
		return nil
	}
	return &m.doors[i]
}

// knock has a stranger come through a door: before the admins, or, as what it returns, upon what they left of
// the head that it knew.
func (w *history) knock(t *rapid.T, a *user) (late func()) {
	if len(w.model.doors) == 0 || !rapid.Bool().Draw(t, "knock") {
		return func() {}
	}
	in := rapid.SampledFrom(w.model.doors).Draw(t, "door").in
	u := newUser(t, rapid.IntRange(100, 105).Draw(t, "stranger"))
	p := w.joinBy(t, u, in)
	if !rapid.Bool().Draw(t, "late") {
		stale, err := a.Propose(rand.Reader, w.b.now, Change{Kind: KindRekey})
		if err != nil {
			t.Fatalf("rekey: %v", err)
		}
		if w.comesIn(t, u, in, p) && w.b.store(stale) {
			t.Fatalf("a join and a commit upon one head were stored")
		}
		return func() {}
	}
	head := len(w.b.log)
	return func() {
		if len(w.b.log) > head {
			if p != nil && w.b.store(p) {
				t.Fatalf("a join upon an old head was stored")
			}
			p = w.joinBy(t, u, in)
		}
		w.comesIn(t, u, in, p)
	}
}

// joinBy makes a join, nil if it is refused, and compares that with what the model says.
func (w *history) joinBy(t *rapid.T, u *user, in *Invitation) *Proposal {
	m := &w.model
	d := m.door(in.Serial)
	want := d != nil && w.b.now.UnixMilli() <= in.NotAfter && d.gen >= m.removed[u.id] &&
		m.roles[u.id] == 0 && !m.banned[u.id] && !m.owed && (!m.bare || d.gen == m.gen)
	p, err := w.b.try(u, in)
	if (err == nil) != want {
		t.Fatalf("join of %x: got %v, the model says %v", u.id[1:3], err, want)
	}
	return p
}

func (w *history) comesIn(t *rapid.T, u *user, in *Invitation, p *Proposal) bool {
	if p == nil {
		return false
	}
	if !w.b.store(p) {
		t.Fatalf("a join was not stored")
	}
	w.b.enterDoor(t, u, in)
	w.users[u.id] = u
	w.model.comesIn(u.id, uint64(len(w.b.log)))
	if d := w.model.door(in.Serial); d.uses > 1 {
		d.uses--
	} else {
		w.model.doors = slices.DeleteFunc(w.model.doors,
			func(o openDoor) bool { return o.in.Serial == in.Serial })
	}
	return true
}

func (w *history) check(t *rapid.T) {
	ids := w.in()
	for _, id := range ids {
		w.b.mustSync(t, w.users[id])
	}
	first := w.users[ids[0]]
	blob := say(t, w.b, first, "roll call")
	for _, id := range ids {
		u := w.users[id]
		again, err := Unmarshal(u.Marshal())
		if err != nil {
			t.Fatalf("state of %x: %v", u.id[1:3], err)
		}
		if again.Digest() != first.Digest() {
			t.Fatalf("%x has another state", u.id[1:3])
		}
		if _, err := again.Open(blob); err != nil {
			t.Fatalf("%x does not open: %v", u.id[1:3], err)
		}
		w.compare(t, again)
	}
	for _, u := range w.out {
		if err := w.b.sync(u); !errors.Is(err, fault.Denied) {
			t.Fatalf("the removed %x follows the log: got %v, want denied", u.id[1:3], err)
		}
		if _, err := u.Open(blob); !errors.Is(err, fault.Denied) {
			t.Fatalf("the removed %x reads on: got %v, want denied", u.id[1:3], err)
		}
	}
}

func (w *history) compare(t *rapid.T, s *State) {
	if len(s.Members()) != len(w.model.roles) || len(s.Banned()) != len(w.model.banned) ||
		len(s.Invited()) != len(w.model.invited) {
		t.Fatalf("has %d members, %d banned, %d invited, the model %d, %d, %d", len(s.Members()),
			len(s.Banned()), len(s.Invited()),
			len(w.model.roles), len(w.model.banned), len(w.model.invited))
	}
	for _, m := range s.Members() {
		if w.model.roles[m.Account] != m.Role || w.model.stays[m.Account] != m.Joined {
			t.Fatalf("%x is %v since %d, the model has %v since %d", m.Account[1:3], m.Role, m.Joined,
				w.model.roles[m.Account], w.model.stays[m.Account])
		}
	}
	for _, id := range s.Banned() {
		if !w.model.banned[id] {
			t.Fatalf("%x is banned, not so in the model", id[1:3])
		}
	}
	if index, _ := s.Head(); index != uint64(len(w.b.log)) {
		t.Fatalf("head %d, want %d", index, len(w.b.log))
	}
}
