package statemachine_test

import (
	"context"
	"crypto/rand"
	"testing"
	"time"

	"github.com/starling-swarm/starling/cluster/internal/mailstore/storetest"
	"github.com/starling-swarm/starling/cluster/internal/statemachine"
	"github.com/starling-swarm/starling/groups"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/private"
)

// memberMailbox is a group's mailbox and one of its admins.
type memberMailbox struct {
	*testing.T
	replica *storetest.Replica
	now     time.Time
	head    uint64
	log     [][]byte
	slots   map[groups.Locator][]byte
	admin   *groups.State
}

func (m *memberMailbox) send(public [32]byte, sign func([]byte) [64]byte,
	ops ...envelope.Op) *envelope.Response {
	m.Helper()
	r := &envelope.Request{Mailbox: m.admin.MailboxID(), Ops: ops, Authority: public}
	resp, err := m.replica.Do(context.Background(), r.Mailbox, r.Encode(), func(node ident.NodeID,
		tag [32]byte, timeMS int64, b []byte) envelope.Signed {
		return envelope.Signed{TimeMS: timeMS, Bytes: b,
			Signature: sign(envelope.SignedBytes(envelope.LabelRequest, node, tag, timeMS, b))}
	})
	if err == nil {
		err = resp.Err()
	}
	if err != nil {
		m.Fatal(err)
	}
	return resp
}

// commit stores a proposal as a client does, and takes it in.
func (m *memberMailbox) commit(p *groups.Proposal, public [32]byte, sign func([]byte) [64]byte,
	ops ...envelope.Op) {
	m.Helper()
	for i, s := range p.Slots {
		m.slots[s.Locator] = p.Body(i)
		ops = append(ops, envelope.Store{Namespace: envelope.GroupSlots, Key: s.Locator, TTL: 86_400,
			Body: p.Body(i)})
	}
	head := m.head
	ops = append(append(ops, envelope.Store{Namespace: envelope.GroupLog, IfHead: &head, Body: p.Commit}),
		p.Ops...)
	m.head = m.send(public, sign, ops...).CertsHead
	m.log = append(m.log, p.Commit)
	at, _, err := m.admin.Needs(p.Commit)
	if err == nil {
		err = m.admin.Apply(m.now, p.Commit, m.slots[at])
	}
	if err != nil {
		m.Fatal(err)
	}
}

func seedSigner(seed private.Key) (public [32]byte, sign func([]byte) [64]byte) {
	key := seed.Signing()
	return key.Public(), key.Sign
}

func (m *memberMailbox) change(ch groups.Change) {
	m.Helper()
	p, err := m.admin.Propose(rand.Reader, m.now, ch)
	if err != nil {
		m.Fatal(err)
	}
	seed, _ := m.admin.AdminKey()
	public, sign := seedSigner(seed)
	m.commit(p, public, sign)
}

// TestMembersCommitsAreTaken has nodes and members check the same commits, of every form and kind.
func TestMembersCommitsAreTaken(t *testing.T) {
	for name, form := range map[string]groups.Form{"shared": groups.FormShared, "own keys": groups.FormOwn,
		"public": groups.FormPublic} {
		t.Run(name, func(t *testing.T) { membersCommitsAreTaken(t, form) })
	}
}

func membersCommitsAreTaken(t *testing.T, form groups.Form) {
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	cluster, alice, bob := ident.ClusterID{9}, ident.AccountID{ident.AccountType,
		1}, ident.AccountID{ident.AccountType, 2}
	m := &memberMailbox{T: t, now: time.Now(), slots: map[groups.Locator][]byte{}}
	m.replica = storetest.NewReplica(new(storetest.Memory), statemachine.Config{Replicas: 1})
	end := m.now.AddDate(50, 0, 0) // the replica has a clock of its own
	keys, err := groups.NewKeys(rand.Reader)
	must(err)
	g, err := groups.NewGenesis(rand.Reader)
	must(err)
	root := g.MailboxKey(cluster)
	var p *groups.Proposal
	m.admin, p, err = groups.Create(rand.Reader, m.now, g, cluster, alice, keys, nil,
		groups.Info{Name: "walkers"}, form)
	must(err)
	m.commit(p, root.Public(), root.Sign, envelope.SetAuthority{Change: envelope.Genesis, Key: p.Admin,
		Flags: envelope.NoRecover})

	ch, seed, err := groups.NewBoundInvite(rand.Reader, end, 1, []ident.AccountID{bob})
	must(err)
	m.change(ch)
	in, err := m.admin.Invitation(ch.Invite.Serial, seed)
	must(err)
	joiner, err := groups.NewKeys(rand.Reader)
	must(err)
	request, err := in.Request(bob, joiner, make([]byte, groups.MaxCredential))
	must(err)
	public, sign := seedSigner(in.RequestSigner())
	m.send(public, sign, envelope.Store{Namespace: envelope.GroupAsk, TTL: 86_400, Body: request})
	add, err := m.admin.OpenRequest(request)
	must(err)
	m.change(add)
	ticket := joiner.Ticket(g.Group(), bob)
	at, _ := ticket.Locator(m.log[len(m.log)-1])
	member, err := groups.Enter(m.now, cluster, ticket, in, m.log, m.slots[at])
	must(err)

	m.writes(m.admin)
	m.writes(member)

	target := []groups.Target{{Account: bob, Joined: member.Member(bob).Joined}}
	link, seed, err := groups.NewInvite(rand.Reader, form, end, 3, 0)
	must(err)
	if form == groups.FormPublic {
		m.change(link)
		m.comesIn(link.Invite.Serial, seed, ident.AccountID{ident.AccountType, 3})
		m.change(groups.Change{Kind: groups.KindRekey})
		m.comesIn(link.Invite.Serial, seed, ident.AccountID{ident.AccountType, 4})
		if link, _, err = groups.NewInvite(rand.Reader, form, end, 3, 0); err != nil {
			t.Fatal(err)
		}
	}
	for _, ch := range []groups.Change{
		{Kind: groups.KindRole, Targets: target, Role: groups.Moderator}, {Kind: groups.KindRole,
			Targets: target, Role: groups.Admin},
		{Kind: groups.KindInfo, Info: groups.Info{Name: "runners", Picture: make([]byte, groups.MaxPicture)}},
		{Kind: groups.KindRekey}, link,
		{Kind: groups.KindRevokeInvite, Serial: link.Invite.Serial}, {Kind: groups.KindRemove,
			Targets: target, Ban: true}, {Kind: groups.KindDisband},
	} {
		m.change(ch)
	}
	if !m.admin.Disbanded() {
		t.Error("the group goes on")
	}
}

// writes stores a message as a member does.
func (m *memberMailbox) writes(s *groups.State) {
	m.Helper()
	blob, err := s.Seal(rand.Reader, m.now, ident.MessageID{1}, []byte("hello"))
	if err != nil {
		m.Fatal(err)
	}
	public, sign := seedSigner(s.WriteKey())
	g := s.Generation()
	m.send(public, sign, envelope.Store{Namespace: envelope.GroupMail, TTL: 86_400,
		IfGeneration: &g, Body: blob})
}

// comesIn joins by a door, and writes.
func (m *memberMailbox) comesIn(serial uint64, seed private.Key, self ident.AccountID) {
	m.Helper()
	in, err := m.admin.Invitation(serial, seed)
	if err != nil {
		m.Fatal(err)
	}
	k, err := groups.NewKeys(rand.Reader)
	if err != nil {
		m.Fatal(err)
	}
	ticket, slot := in.DoorTicket(self, k), []byte(nil)
	for i := len(m.log) - 1; i >= 0 && slot == nil; i-- {
		at, _ := ticket.Locator(m.log[i])
		slot = m.slots[at]
	}
	p, write, err := (*groups.Shared)(nil).Join(rand.Reader, m.now, ident.ClusterID{9}, ticket, in,
		make([]byte, groups.MaxCredential), m.log, slot)
	if err != nil {
		m.Fatal(err)
	}
	public, sign := seedSigner(write)
	m.commit(p, public, sign)
	s, err := groups.Enter(m.now, ident.ClusterID{9}, ticket, in, m.log, slot)
	if err != nil {
		m.Fatal(err)
	}
	m.writes(s)
}
