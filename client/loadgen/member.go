package loadgen

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/starling-swarm/starling/groups"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/private"
)

// asked is how long a request to join stays, seconds.
const asked = 24 * 3600

// member is one account in the group, with one device that is online. What every device would keep of the
// group for itself, all members of this process share: memory for 1,000 copies says nothing about a device
// that has one.
type member struct {
	*device
	self   ident.AccountID
	keys   *groups.Keys
	cursor uint64

	mu    sync.Mutex // the admin's state has two users: who makes commits, and who follows
	state *groups.State

	fetched atomic.Pointer[fetched] // for the last new generation
}

// fetched is what a member read for new keys, bytes of envelopes.
type fetched struct{ commit, slot int }

func newMember(d *device) (*member, error) {
	account, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fault.Wrap(fault.Internal, "make member", err)
	}
	m := &member{device: d}
	m.self[0] = ident.AccountType
	copy(m.self[1:], account)
	m.keys, err = groups.NewKeys(rand.Reader)
	return m, err
}

// credential stands for the account's word for its member keys, which nothing here checks.
func credential() []byte { return make([]byte, 64) }

// ask stores the request to join and returns its sequence number.
func (m *member) ask(ctx context.Context, in *groups.Invitation) (seq uint64, err error) {
	b, err := in.Request(m.self, m.keys, credential())
	if err != nil {
		return 0, err
	}
	res, _, err := m.do(ctx, in.RequestSigner().Signing(), envelope.Store{Namespace: envelope.GroupAsk,
		TTL: asked, Body: b})
	if err != nil {
		return 0, err
	}
	return res[0].Seq, nil
}

// enter fetches the log up to head and the own slot and makes the state of them.
func (m *member) enter(ctx context.Context, in *groups.Invitation, head uint64, sh *groups.Shared) error {
	key := in.ReadKey().Signing()
	log, seq, err := m.retrieve(ctx, key, envelope.GroupLog, 0, head)
	if err != nil {
		return err
	}
	ticket := m.keys.Ticket(in.Group, m.self)
	commits := make([][]byte, len(log))
	var at groups.Locator
	for i, e := range log {
		commits[i] = e.Body
		if l, ok := ticket.Locator(e.Body); ok {
			at = l
		}
	}
	slot, _, err := m.slot(ctx, key, at)
	if err != nil {
		return err
	}
	m.state, err = sh.Enter(m.net.Now(), m.net.Directory().Cluster, ticket, in, commits, slot)
	if err != nil {
		return err
	}
	index, _ := m.state.Head()
	for _, c := range commits[index:] {
		if err := m.state.Apply(m.net.Now(), c, nil); err != nil {
			return err
		}
	}
	m.cursor = seq
	return nil
}

// slot fetches what is stored at a locator, with the size of its envelope.
func (m *member) slot(ctx context.Context, key account.Signer,
	at groups.Locator) (body []byte, size int, err error) {
	res, _, err := m.do(ctx, key, envelope.RetrieveKey{Namespace: envelope.GroupSlots, Key: at})
	if err != nil {
		return nil, 0, err
	}
	e := res[0].Envelopes[0]
	return e.Body, e.EncodedSize(), nil
}

// errRemoved says that a commit left the member out.
var errRemoved = errors.New("removed from the group")

// follow takes in what the group brings until ctx ends or the member is removed. Numbers of messages, and
// renewed with every new generation, go to got.
func (m *member) follow(ctx context.Context, got func(n uint64)) error {
	for {
		err := m.subscribe(ctx, m.readKey(), &m.cursor,
			func(e envelope.Envelope) error { return m.take(e, got) })
		switch {
		case ctx.Err() != nil:
			return nil
		case fault.KindOf(err) != fault.Stale:
			return err
		}
		switch err := m.renew(ctx, headOf(err)); {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, errRemoved):
			return nil
		case err != nil:
			return err
		}
		got(renewed)
	}
}

func (m *member) readKey() private.SigningKey {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state.ReadKey().Signing()
}

// take takes in one envelope.
func (m *member) take(e envelope.Envelope, got func(n uint64)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch e.Namespace {
	case envelope.GroupLog: // taken in already if it began a generation
		return m.state.Apply(m.net.Now(), e.Body, nil)
	case envelope.GroupMail:
		msg, err := m.state.Open(e.Body)
		if err != nil {
			return err
		}
		if len(msg.Body) < MinGroupText {
			return fault.New(fault.Corrupt, "open message", "has %d bytes", len(msg.Body))
		}
		got(binary.BigEndian.Uint64(msg.Body))
	}
	return nil
}

// headOf returns the head of the log that a Stale names.
func headOf(err error) uint64 {
	var f *fault.Error
	if errors.As(err, &f) {
		return f.Head
	}
	return 0
}

// renew takes in the commits of new generations, whose keys messages want from now on.
func (m *member) renew(ctx context.Context, head uint64) error {
	key := m.readKey()
	log, _, err := m.retrieve(ctx, key, envelope.GroupLog, m.cursor, head)
	if err != nil {
		return err
	}
	var f fetched
	for _, e := range log {
		n, err := m.takeCommit(ctx, key, e.Body)
		if err != nil {
			return err
		}
		f.commit += e.EncodedSize()
		f.slot += n
	}
	m.fetched.Store(&f)
	return nil
}

// takeCommit takes in a commit with the slot that it brings, and returns what the slot weighs.
func (m *member) takeCommit(ctx context.Context, key account.Signer, commit []byte) (size int, err error) {
	m.mu.Lock()
	at, must, err := m.state.Needs(commit)
	m.mu.Unlock()
	if err != nil {
		return 0, err
	}
	var slot []byte
	if must {
		slot, size, err = m.slot(ctx, key, at)
		if errors.Is(err, fault.NotFound) {
			return 0, errRemoved
		}
		if err != nil {
			return 0, err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return size, m.state.Apply(m.net.Now(), commit, slot)
}
