package loadgen

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/starling-swarm/starling/client/internal/circuit"
	"github.com/starling-swarm/starling/groups"
	"github.com/starling-swarm/starling/internal/directory"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// MaxMembers is the most that a group can have.
const MaxMembers = groups.MaxMembers

// MinGroupText and MaxGroupText bound the texts that a run sends, bytes: each holds its number.
const (
	MinGroupText = 8
	MaxGroupText = 32 << 10
)

// Group describes a run of a group whose members are all online, each with one device: a real group, circuits
// and subscriptions, and no accounts and local stores.
type Group struct {
	Cluster  *directory.ClusterFile
	Dir      string // where devices keep guards and the directory
	Members  int    // with the admin who sends; 3 to MaxMembers
	Messages int    // one after the other; at least 1
	Size     int    // bytes of a text, MinGroupText to MaxGroupText
	OwnKeys  bool   // members store with keys of their own
}

// GroupResult is what a run measured.
type GroupResult struct {
	Circuits time.Duration // until every device had its circuit to the group's mailbox
	Fill     time.Duration // from the founding until the last member was in the log, by requests to join
	Enter    time.Duration // until every device had fetched log and slot and entered
	// of each message at each device: from the beginning of sealing until it was opened
	Arrivals []time.Duration
	All      []time.Duration // of each message, until the last device had opened it
	// of one text to single inboxes, one after the other, until it was stored; nothing is sealed
	Pairwise []time.Duration
	Removal  Removal
}

// Removal is what a removal with new keys for all who stay cost.
type Removal struct {
	Make        time.Duration   // commit and slots, on one core
	Store       time.Duration   // from then on until a majority had all of it on disk
	AdminBytes  int             // of requests
	CommitBytes int             // of the commit, which every member fetches
	SlotBytes   int             // of the slot that a member fetches; the most
	Renewed     []time.Duration // from the commit's store until a member had the new keys; all who stay
}

// Messages runs the group. Errors are those of the first member that fails.
func Messages(ctx context.Context, cfg Group) (*GroupResult, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := &groupRun{cfg: cfg}
	r.running, r.ctx = errgroup.WithContext(ctx)
	err := r.run()
	cancel()
	if ended := r.running.Wait(); err == nil && ended != nil && fault.KindOf(ended) != fault.Internal {
		err = ended
	}
	return &r.result, err
}

// groupRun is one run.
type groupRun struct {
	crowd
	cfg    Group
	admin  *admin
	result GroupResult
	sent   uint64 // messages so far
}

func (r *groupRun) run() error {
	gen, err := groups.NewGenesis(rand.Reader)
	if err != nil {
		return err
	}
	defer gen.Wipe()
	for _, step := range []func(*groups.Genesis) error{r.gather, r.fill, r.follow, r.chat,
		r.pairwise, r.removal} {
		if err := step(gen); err != nil {
			return err
		}
	}
	return nil
}

// gather makes the members' devices and builds their circuits.
func (r *groupRun) gather(gen *groups.Genesis) error {
	mailbox := ident.MailboxID(gen.MailboxKey(r.cfg.Cluster.ID).Public())
	began := time.Now()
	for i := range r.cfg.Members {
		d, err := newDevice(r.cfg.Cluster, filepath.Join(r.cfg.Dir, fmt.Sprint(i)), mailbox)
		if err != nil {
			return err
		}
		m, err := newMember(d)
		if err != nil {
			return err
		}
		r.members = append(r.members, m)
	}
	r.admin = &admin{member: r.members[0]}
	if r.cfg.OwnKeys {
		r.admin.form = groups.FormOwn
	}
	err := r.each(func(ctx context.Context, m *member) error {
		r.running.Go(func() error { return m.net.Run(r.ctx) })
		return m.net.Prepare(ctx, circuit.PurposeInbox, mailbox)
	})
	r.result.Circuits = time.Since(began)
	return err
}

// fill founds the group and brings everybody in, as they would come by a link.
func (r *groupRun) fill(gen *groups.Genesis) error {
	began := time.Now()
	if err := r.admin.create(r.ctx, gen, r.cfg.Cluster.ID); err != nil {
		return err
	}
	in, err := r.admin.invite(r.ctx, r.cfg.Members-1)
	if err != nil {
		return err
	}
	all := r.members
	r.members = all[1:]
	defer func() { r.members = all }()
	if err := r.join(in); err != nil {
		return err
	}
	r.result.Fill = time.Since(began)
	began = time.Now()
	shared := &groups.Shared{Locker: new(sync.Mutex)}
	err = r.each(func(ctx context.Context, m *member) error { return m.enter(ctx, in, r.admin.head, shared) })
	r.result.Enter = time.Since(began)
	return err
}

// join has all members ask and the admin add them.
func (r *groupRun) join(in *groups.Invitation) error {
	var mu sync.Mutex
	var last uint64
	err := r.each(func(ctx context.Context, m *member) error {
		seq, err := m.ask(ctx, in)
		mu.Lock()
		defer mu.Unlock()
		last = max(last, seq)
		return err
	})
	if err != nil {
		return err
	}
	return r.admin.add(r.ctx, last)
}

// follow has every member subscribe, and returns when a first message has reached all.
func (r *groupRun) follow(*groups.Genesis) error {
	r.admin.cursor = r.admin.head
	for _, m := range r.members {
		r.running.Go(func() error { return m.follow(r.ctx, r.tally.got) })
	}
	_, err := r.send(len(r.members))
	return err
}

// send has the admin send a message and waits until a number of members have opened it.
func (r *groupRun) send(to int) ([]time.Duration, error) {
	r.sent++
	f := r.tally.begin(r.sent, to)
	if err := r.say(); err != nil {
		return nil, r.why(err)
	}
	return r.wait(f)
}

func (r *groupRun) chat(*groups.Genesis) error {
	for range r.cfg.Messages {
		took, err := r.send(len(r.members))
		if err != nil {
			return err
		}
		r.result.Arrivals = append(r.result.Arrivals, took...)
		r.result.All = append(r.result.All, took[len(took)-1])
	}
	return nil
}

// say seals and stores the next message.
func (r *groupRun) say() error {
	text := make([]byte, r.cfg.Size)
	binary.BigEndian.PutUint64(text, r.sent)
	var id ident.MessageID
	_, _ = rand.Read(id[:])
	a := r.admin
	a.mu.Lock()
	blob, err := a.state.Seal(rand.Reader, a.net.Now(), id, text)
	key, generation := a.state.WriteKey(), a.state.Generation()
	a.mu.Unlock()
	if err != nil {
		return err
	}
	_, _, err = a.do(r.ctx, key.Signing(), envelope.Store{Namespace: envelope.GroupMail,
		IfGeneration: &generation, TTL: life, Body: blob})
	return err
}

// singles is how many inboxes get the text one by one, for comparison.
const singles = 32

// pairwise has the admin send to inboxes one after the other, over a new circuit to each, as a group would
// cost that were a list of people.
func (r *groupRun) pairwise(*groups.Genesis) error {
	boxes := make([]*mailbox, min(singles, len(r.members)-1))
	for i := range boxes {
		m, err := newMailbox(Config{Cluster: r.cfg.Cluster}, filepath.Join(r.cfg.Dir,
			fmt.Sprint("single", i)))
		if err != nil {
			return err
		}
		boxes[i] = m
		net := m.net
		r.running.Go(func() error { return net.Run(r.ctx) })
		if err := m.begin(r.ctx); err != nil {
			return err
		}
	}
	for _, m := range boxes {
		m.net = r.admin.net
		began := time.Now()
		if err := m.store(r.ctx, r.cfg.Size); err != nil {
			return err
		}
		r.result.Pairwise = append(r.result.Pairwise, time.Since(began))
	}
	return nil
}

// removal removes the last member, and sees that all others get the next message.
func (r *groupRun) removal(*groups.Genesis) error {
	last, stay := r.members[len(r.members)-1], len(r.members)-1
	var f *flight
	c, err := r.admin.remove(r.ctx, last.self, func() { f = r.tally.begin(renewed, stay) })
	if err != nil {
		return r.why(err)
	}
	renewed, err := r.wait(f)
	if err != nil {
		return err
	}
	r.result.Removal = Removal{Make: c.made, Store: c.stored, AdminBytes: c.bytes,
		Renewed: slices.Clone(renewed)}
	for _, m := range r.members[1:] {
		if f := m.fetched.Load(); f != nil {
			r.result.Removal.CommitBytes, r.result.Removal.SlotBytes = f.commit,
				max(r.result.Removal.SlotBytes, f.slot)
		}
	}
	_, err = r.send(stay)
	return err
}
