package groups

import (
	"crypto/rand"
	"flag"
	"os"
	"testing"
	"time"

	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/private"
)

// TestMain keeps property tests short: a history makes whole groups. -rapid.checks overrides it.
func TestMain(m *testing.M) {
	flag.Parse()
	set := false
	flag.Visit(func(f *flag.Flag) { set = set || f.Name == "rapid.checks" })
	if !set {
		checks := "12"
		if testing.Short() {
			checks = "5"
		}
		if err := flag.Set("rapid.checks", checks); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

var (
	start       = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	testCluster = ident.ClusterID{7}
)

type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// mailbox is what the nodes hold: the log, and the slots beside each commit.
type mailbox struct {
	now   time.Time
	group ident.GroupID
	log   [][]byte
	slots []*Proposal
}

// store appends a proposal if it follows the head, as a node's conditional store does.
func (b *mailbox) store(p *Proposal) bool {
	c, err := decodeCommit(p.Commit)
	if err != nil || c.Index != uint64(len(b.log))+1 {
		return false
	}
	b.log, b.slots = append(b.log, p.Commit), append(b.slots, p)
	return true
}

type user struct {
	id   ident.AccountID
	keys *Keys
	*State
}

func accountOf(n int) (id ident.AccountID) {
	id[0], id[1], id[2] = ident.AccountType, byte(n>>8), byte(n)
	return id
}

func newUser(t fataler, n int) *user {
	t.Helper()
	k, err := NewKeys(rand.Reader)
	if err != nil {
		t.Fatalf("new keys: %v", err)
	}
	return &user{id: accountOf(n), keys: k}
}

// sync takes in all that the user has not.
func (b *mailbox) sync(u *user) error {
	for i, _ := u.Head(); i < uint64(len(b.log)); i++ {
		at, _, err := u.Needs(b.log[i])
		if err != nil {
			return err
		}
		if err := u.Apply(b.now, b.log[i], b.slots[i].Find(at)); err != nil {
			return err
		}
	}
	return nil
}

func (b *mailbox) mustSync(t fataler, all ...*user) {
	t.Helper()
	for _, u := range all {
		if err := b.sync(u); err != nil {
			t.Fatalf("sync %x: %v", u.id[1:3], err)
		}
	}
}

func found(t fataler, n int) (*mailbox, *user) { t.Helper(); return foundForm(t, n, FormShared) }

func foundForm(t fataler, n int, form Form) (*mailbox, *user) {
	t.Helper()
	u := newUser(t, n)
	g, err := NewGenesis(rand.Reader)
	if err != nil {
		t.Fatalf("genesis: %v", err)
	}
	s, p, err := Create(rand.Reader, start, g, testCluster, u.id, u.keys, []byte("word"),
		Info{Name: "walkers"}, form)
	if err != nil {
		t.Fatalf("create: %v", err)
	}
	b := &mailbox{now: start, group: g.Group()}
	u.State = s
	b.store(p)
	b.mustSync(t, u)
	return b, u
}

func (b *mailbox) commit(t fataler, by *user, ch Change) {
	t.Helper()
	p, err := by.Propose(rand.Reader, b.now, ch)
	if err != nil {
		t.Fatalf("propose kind %d: %v", ch.Kind, err)
	}
	if !b.store(p) {
		t.Fatalf("store kind %d: lost a race", ch.Kind)
	}
	b.mustSync(t, by)
}

// invite makes an invitation of an admin, for one joiner, or bound to accounts.
func (b *mailbox) invite(t fataler, by *user, accounts ...ident.AccountID) *Invitation {
	t.Helper()
	ch, seed, err := NewInvite(rand.Reader, by.Form(), b.now.Add(72*time.Hour), 1, 0)
	if len(accounts) > 0 {
		ch, seed, err = NewBoundInvite(rand.Reader, b.now.Add(72*time.Hour), 0, accounts)
	}
	if err != nil {
		t.Fatalf("invite: %v", err)
	}
	b.commit(t, by, ch)
	return invitation(t, by, ch.Invite.Serial, seed)
}

func invitation(t fataler, by *user, serial uint64, seed private.Key) *Invitation {
	t.Helper()
	in, err := by.Invitation(serial, seed)
	if err != nil {
		t.Fatalf("invite: %v", err)
	}
	if in, err = DecodeInvitation(in.Encode()); err != nil {
		t.Fatalf("invite: %v", err)
	}
	return in
}

func request(t fataler, by *user, in *Invitation, u *user) Change {
	t.Helper()
	req, err := in.Request(u.id, u.keys, []byte("word"))
	if err != nil {
		t.Fatalf("request: %v", err)
	}
	ch, err := by.OpenRequest(req)
	if err != nil {
		t.Fatalf("open request: %v", err)
	}
	return ch
}

// slotFor finds the slot of a ticket, the newest that there is.
func (b *mailbox) slotFor(t *Ticket) []byte {
	for i := len(b.log) - 1; i >= 0; i-- {
		at, ok := t.Locator(b.log[i])
		if slot := b.slots[i].Find(at); ok && slot != nil {
			return slot
		}
	}
	return nil
}

func (b *mailbox) enter(t fataler, u *user) {
	t.Helper()
	var err error
	ticket := u.keys.Ticket(b.group, u.id)
	if u.State, err = Enter(b.now, testCluster, ticket, nil, b.log, b.slotFor(ticket)); err != nil {
		t.Fatalf("enter %x: %v", u.id[1:3], err)
	}
	b.mustSync(t, u)
}

func (b *mailbox) add(t fataler, by *user, n int) *user {
	t.Helper()
	u := newUser(t, n)
	b.commit(t, by, request(t, by, b.invite(t, by), u))
	b.enter(t, u)
	return u
}

func target(by *user, id ident.AccountID) []Target {
	m := by.Member(id)
	if m == nil {
		return nil
	}
	return []Target{{Account: id, Joined: m.Joined}}
}

func say(t fataler, b *mailbox, u *user, text string) []byte {
	t.Helper()
	blob, err := u.Seal(rand.Reader, b.now, ident.MessageID{1}, []byte(text))
	if err != nil {
		t.Fatalf("seal: %v", err)
	}
	return blob
}
