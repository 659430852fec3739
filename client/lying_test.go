//go:build unix

package client_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// liar is a network whose storage nodes lie to one client about one mailbox: what they push and what they
// answer passes the lie.
type liar struct {
	client.Network
	mu      sync.Mutex
	mailbox ident.MailboxID
	pushed  lie
	read    lie
	alone   bool // one node lies, and the others do not
}

// lie says what is shown instead of an envelope; false: nothing.
type lie func(envelope.Envelope) (envelope.Envelope, bool)

func honest(e envelope.Envelope) (envelope.Envelope, bool) { return e, true }

// tell makes the nodes lie from now on.
func (l *liar) tell(mailbox ident.MailboxID, pushed, read lie) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mailbox, l.pushed, l.read = mailbox, pushed, read
}

func (l *liar) lies(m ident.MailboxID) (pushed, read lie) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if m != l.mailbox || l.pushed == nil {
		return honest, honest
	}
	return l.pushed, l.read
}

func (l *liar) Subscribe(ctx context.Context, m ident.MailboxID, build func() []byte, sign client.SignFunc,
	handle func(envelope.Envelope) error) error {
	return l.Network.Subscribe(ctx, m, build, sign, func(e envelope.Envelope) error {
		pushed, _ := l.lies(m)
		e, shown := pushed(e)
		if !shown {
			return nil
		}
		return handle(e)
	})
}

func (l *liar) Do(ctx context.Context, purpose string, m ident.MailboxID, b []byte,
	sign client.SignFunc) (*envelope.Response, ident.Path, error) {
	resp, path, err := l.Network.Do(ctx, purpose, m, b, sign)
	if err != nil {
		return nil, path, err
	}
	_, read := l.lies(m)
	for i := range resp.Results {
		all := resp.Results[i].Envelopes
		var shown []envelope.Envelope
		for _, e := range all {
			if e, ok := read(e); ok {
				shown = append(shown, e)
			}
		}
		resp.Results[i].Envelopes = shown
		if len(all) == 1 && len(shown) == 0 && all[0].Namespace == envelope.GroupSlots {
			return nil, path, fault.New(fault.NotFound, "retrieve", "no envelope of that key")
		}
	}
	return resp, path, nil
}

// Elsewhere finds an honest node, if it is one node that lies.
func (l *liar) Elsewhere(m ident.MailboxID) {
	if l.alone {
		l.tell(m, honest, honest)
	}
	l.Network.Elsewhere(m)
}

// deceived is a group of Alice, its admin, and Bob, whose nodes lie.
type deceived struct {
	alice, bob *device
	liar       *liar
	id         ident.GroupID
	mailbox    ident.MailboxID
}

func deceive(t *testing.T) *deceived {
	t.Helper()
	cluster := shared(t)
	d := &deceived{liar: &liar{}}
	d.alice, _ = create(t, cluster, "Alice")
	cfg := config(t, cluster, "Bob-1")
	cfg.SetNetwork(func(inner client.Network) client.Network {
		d.liar.Network = inner
		return d.liar
	})
	d.bob, _ = createWith(t, cfg, "Bob")
	for _, of := range [][2]*device{{d.alice, d.bob}, {d.bob, d.alice}} {
		if _, err := of[0].AddContact(patient(t), of[1].id(), ""); err != nil {
			t.Fatal(err)
		}
	}
	name := "Friends"
	g, err := d.alice.CreateGroup(patient(t), client.GroupInfo{Name: &name}, client.GroupShared)
	if err != nil {
		t.Fatalf("create group: %v", err)
	}
	d.id = g.ID
	if err := d.alice.Group(d.id).Add(patient(t), 0, d.bob.id()); err != nil {
		t.Fatalf("add: %v", err)
	}
	d.wait(t, d.bob, "Bob is in", func(g client.Group) bool {
		return g.Status == client.GroupJoined &&
			len(g.Members) == 2
	})
	if d.mailbox, err = account.GroupMailboxOf(d.id, cluster.ClusterFile().ID); err != nil {
		t.Fatal(err)
	}
	d.alice.say(t, d.id, "before the lie")
	d.bob.message(t, "before the lie")
	return d
}

func (d *deceived) wait(t *testing.T, by *device, what string, want func(client.Group) bool) {
	t.Helper()
	if g, err := by.Group(d.id).Wait(patient(t), want); err != nil {
		t.Fatalf("%s: %v; the group is %+v", what, err, g)
	}
}

func (d *deceived) rename(t *testing.T, name string) {
	t.Helper()
	if err := d.alice.Group(d.id).SetInfo(patient(t), client.GroupInfo{Name: &name}); err != nil {
		t.Fatalf("rename: %v", err)
	}
}

// noticed waits until Bob was told, once, and his client says so of the group.
func (d *deceived) noticed(t *testing.T) {
	t.Helper()
	d.bob.next(t, "warning", func(e client.Event) bool { return e.Kind == client.EventNotice })
	d.wait(t, d.bob, "warning", func(g client.Group) bool { return g.Warning != "" })
}

func without(ns envelope.Namespace) lie {
	return func(e envelope.Envelope) (envelope.Envelope, bool) { return e, e.Namespace != ns }
}

func TestCommitsThatOneNodeKeepsBackComeFromOthers(t *testing.T) {
	d := deceive(t)
	d.liar.tell(d.mailbox, without(envelope.GroupLog), honest)
	d.rename(t, "Better friends")
	d.alice.say(t, d.id, "after the rename")
	d.bob.message(t, "after the rename")
	d.wait(t, d.bob, "the rename", func(g client.Group) bool {
		return g.Name == "Better friends" &&
			g.Warning == ""
	})
}

func TestGenerationThatOneNodeKeepsBackComesFromOthers(t *testing.T) {
	d := deceive(t)
	d.liar.tell(d.mailbox, without(envelope.GroupLog), honest)
	if err := d.alice.Group(d.id).Rekey(patient(t)); err != nil {
		t.Fatal(err)
	}
	d.alice.say(t, d.id, "with new keys")
	d.bob.message(t, "with new keys")
	d.wait(t, d.bob, "the generation", func(g client.Group) bool {
		return g.Generation == 2 &&
			g.Warning == ""
	})
}

func TestWithheldCommitsAreNoticed(t *testing.T) {
	d := deceive(t)
	d.liar.tell(d.mailbox, without(envelope.GroupLog), without(envelope.GroupLog))
	d.rename(t, "Better friends")
	d.alice.say(t, d.id, "after the rename")
	d.noticed(t)
	d.bob.message(t, "after the rename")
	d.wait(t, d.bob, "who says so", func(g client.Group) bool { return strings.Contains(g.Warning, "Alice") })
}

// TestWarningIsTakenBack: a node shows a commit that nobody made, and then the right one.
func TestWarningIsTakenBack(t *testing.T) {
	d := deceive(t)
	d.liar.tell(d.mailbox, func(e envelope.Envelope) (envelope.Envelope, bool) {
		if e.Namespace == envelope.GroupLog {
			e.Body = slices.Clone(e.Body)
			e.Body[len(e.Body)-1] ^= 1
		}
		return e, true
	}, honest)
	d.rename(t, "Better friends")
	d.noticed(t)
	d.liar.tell(d.mailbox, honest, honest)
	d.wait(t, d.bob, "the right commit", func(g client.Group) bool { return g.Name == "Better friends" })
	d.wait(t, d.bob, "no warning", func(g client.Group) bool { return g.Warning == "" })
}

// TestMemberThatClaimsAnotherLogIsAtFault: nobody but it has the commit that its messages speak of.
func TestMemberThatClaimsAnotherLogIsAtFault(t *testing.T) {
	d := deceive(t)
	commit := d.otherCommit(t)
	for _, text := range []string{"you all miss something", "believe me"} {
		d.alice.Lab().SayAhead(patient(t), t, d.id, commit, text)
	}
	d.bob.message(t, "you all miss something")
	d.bob.message(t, "believe me")
	if g, err := d.bob.Group(d.id).Get(patient(t)); err != nil || g.Warning != "" {
		t.Errorf("got warning %q, %v, want none: the nodes agree", g.Warning, err)
	}
	if n := d.bob.Lab().Doubted(d.id); n != 1 {
		t.Errorf("got %d members at fault, want Alice", n)
	}
}

func TestWithheldMessageIsNoticed(t *testing.T) {
	d := deceive(t)
	if err := d.bob.SyncToHeads(patient(t)); err != nil {
		t.Fatal(err)
	}
	hidden := false
	d.liar.tell(d.mailbox, func(e envelope.Envelope) (envelope.Envelope, bool) {
		if e.Namespace == envelope.GroupMail && !hidden {
			hidden = true
			return e, false
		}
		return e, true
	}, honest)
	d.alice.say(t, d.id, "nobody tells Bob")
	d.alice.say(t, d.id, "but he has this")
	d.bob.message(t, "but he has this")
	if err := d.bob.SyncToHeads(patient(t)); err != nil {
		t.Logf("sync: %v", err)
	}
	d.noticed(t)
}

// TestForkedLogIsNoticed lets an admin and the nodes conspire: Bob is shown a commit that the admin signed,
// in the place of the one that all others have.
func TestForkedLogIsNoticed(t *testing.T) {
	d := deceive(t)
	fork := d.otherCommit(t)
	d.liar.tell(d.mailbox, func(e envelope.Envelope) (envelope.Envelope, bool) {
		if e.Namespace == envelope.GroupLog {
			e.Body = fork
		}
		return e, true
	}, honest)
	d.rename(t, "What all but Bob see")
	d.wait(t, d.bob, "the fork", func(g client.Group) bool { return g.Name == "What only Bob sees" })
	d.alice.say(t, d.id, "what do you see?")
	d.noticed(t)
}

// otherCommit returns a commit that would follow the newest one, made by a copy of Alice's device.
func (d *deceived) otherCommit(t *testing.T) []byte {
	t.Helper()
	if err := d.alice.Idle(patient(t)); err != nil {
		t.Fatal(err)
	}
	d.alice.stop()
	cfg := d.alice.cfg
	cfg.Dir = copyDir(t, cfg.Dir)
	caught := make(chan []byte, 1)
	cfg.SetNetwork(func(inner client.Network) client.Network { return &catching{inner, d.mailbox, caught} })
	c, err := client.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	twin := run(t, c, cfg)
	ctx, stop := context.WithCancel(patient(t))
	ended := make(chan error, 1)
	go func() {
		name := "What only Bob sees"
		ended <- twin.Group(d.id).SetInfo(ctx, client.GroupInfo{Name: &name})
	}()
	var commit []byte
	select {
	case commit = <-caught:
	case err := <-ended:
		t.Fatalf("the twin's change ended before it was stored: %v", err)
	}
	stop()
	<-ended
	twin.stop()
	d.alice = d.alice.reopen(t)
	return commit
}

// catching is a network that hands commits over instead of storing them, and stores nothing else either.
type catching struct {
	client.Network
	mailbox ident.MailboxID
	commits chan []byte
}

func (n *catching) Do(ctx context.Context, purpose string, m ident.MailboxID, b []byte,
	sign client.SignFunc) (*envelope.Response, ident.Path, error) {
	r, err := envelope.DecodeRequest(b)
	if err != nil {
		return nil, ident.Path{}, err
	}
	for _, op := range r.Ops {
		put, ok := op.(envelope.Store)
		if !ok {
			continue
		}
		if m == n.mailbox && put.Namespace == envelope.GroupLog {
			select {
			case n.commits <- put.Body:
			default:
			}
		}
		return nil, ident.Path{}, fault.New(fault.Unavailable, "test", "nothing is stored")
	}
	return n.Network.Do(ctx, purpose, m, b, sign)
}

func TestOneNodeCannotMakeAMemberBelieveThatItWasRemoved(t *testing.T) {
	d := deceive(t)
	d.liar.alone = true
	d.liar.tell(d.mailbox, honest, without(envelope.GroupSlots))
	if err := d.alice.Group(d.id).Rekey(patient(t)); err != nil {
		t.Fatal(err)
	}
	d.wait(t, d.bob, "Bob stays", func(g client.Group) bool {
		return g.Status == client.GroupJoined &&
			g.Generation == 2
	})
	d.alice.say(t, d.id, "with new keys")
	d.bob.message(t, "with new keys")
}
