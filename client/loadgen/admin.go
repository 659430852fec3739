package loadgen

import (
	"context"
	"crypto/rand"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/starling-swarm/starling/groups"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

const (
	inviteLife = time.Hour
	staged     = 3600 // life of a slot before its commit, seconds
	slotCost   = 64   // bytes of a stored slot's operation around its body, at most
	stagers    = 4    // staging requests under way
	reserve    = 1024 // bytes of a request that are not slots, at most
)

// admin is the member that makes the group and its commits.
type admin struct {
	*member
	form groups.Form
	head uint64 // of the log
}

// cost is what a commit took its admin.
type cost struct {
	made   time.Duration // to make commit and slots
	stored time.Duration // from then on until the nodes had acknowledged all of it
	bytes  int           // of the requests
}

// create stores the group's genesis: authority, slot and first commit in one request.
func (a *admin) create(ctx context.Context, gen *groups.Genesis, cluster ident.ClusterID) error {
	now := a.net.Now()
	state, p, err := groups.Create(rand.Reader, now, gen, cluster, a.self, a.keys, credential(),
		groups.Info{Name: "bench"}, a.form)
	if err != nil {
		return err
	}
	ops := []envelope.Op{envelope.SetAuthority{Change: envelope.Genesis, Key: p.Admin,
		Flags: envelope.NoRecover}}
	first := commitOp(p, 0)
	admit(a.net, a.mailbox, &first)
	ops = append(append(ops, stage(p)...), first)
	res, _, err := a.do(ctx, gen.MailboxKey(cluster), append(ops, p.Ops...)...)
	if err != nil {
		return err
	}
	a.state = state
	return a.took(p, res[len(ops)-1].Seq)
}

// took takes in the own commit once it is stored.
func (a *admin) took(p *groups.Proposal, seq uint64) error {
	a.head = seq
	a.mu.Lock()
	defer a.mu.Unlock()
	at, _, err := a.state.Needs(p.Commit)
	if err != nil {
		return err
	}
	return a.state.Apply(a.net.Now(), p.Commit, p.Find(at))
}

// commit makes a change, stages its slots and appends its commit. before runs when only the commit itself is
// left.
func (a *admin) commit(ctx context.Context, ch groups.Change, before func()) (c cost, err error) {
	began := time.Now()
	a.mu.Lock()
	p, err := a.state.Propose(rand.Reader, a.net.Now(), ch)
	c.made = time.Since(began)
	seed, ok := a.state.AdminKey()
	a.mu.Unlock()
	if err != nil {
		return c, err
	}
	if !ok {
		return c, fault.New(fault.Denied, "change group", "the member is no admin")
	}
	key := seed.Signing()
	if c.bytes, err = a.stage(ctx, key, stage(p)); err != nil {
		return c, err
	}
	before()
	res, n, err := a.do(ctx, key, append([]envelope.Op{commitOp(p, a.head)}, p.Ops...)...)
	if err != nil {
		return c, err
	}
	c.stored, c.bytes = time.Since(began)-c.made, c.bytes+n
	return c, a.took(p, res[0].Seq)
}

// invite opens an invitation for n joiners.
func (a *admin) invite(ctx context.Context, n int) (*groups.Invitation, error) {
	ch, seed, err := groups.NewInvite(rand.Reader, a.state.Form(), a.net.Now().Add(inviteLife), uint32(n), 0)
	if err != nil {
		return nil, err
	}
	if _, err := a.commit(ctx, ch, nothing); err != nil {
		return nil, err
	}
	return a.state.Invitation(ch.Invite.Serial, seed)
}

// add makes members of all who asked, the last one at sequence number last, as many in a commit as one takes.
func (a *admin) add(ctx context.Context, last uint64) error {
	seed, _ := a.state.AdminKey()
	asked, _, err := a.retrieve(ctx, seed.Signing(), envelope.GroupAsk, 0, last)
	if err != nil {
		return err
	}
	left := make([]groups.Change, len(asked))
	for i, e := range asked {
		if left[i], err = a.state.OpenRequest(e.Body); err != nil {
			return err
		}
	}
	for len(left) > 0 {
		var ch groups.Change
		ch, left = groups.JoinAdds(a.state.MaxAdds(), left...)
		if _, err := a.commit(ctx, ch, nothing); err != nil {
			return err
		}
	}
	return nil
}

// remove takes a member out, which begins a generation.
func (a *admin) remove(ctx context.Context, id ident.AccountID, before func()) (cost, error) {
	m := a.state.Member(id)
	if m == nil {
		return cost{}, fault.New(fault.NotFound, "remove member", "the log does not have it")
	}
	return a.commit(ctx, groups.Change{Kind: groups.KindRemove,
		Targets: []groups.Target{{Account: id, Joined: m.Joined}}}, before)
}

func nothing() {}

func commitOp(p *groups.Proposal, head uint64) envelope.Store {
	return envelope.Store{Namespace: envelope.GroupLog, IfHead: &head, Body: p.Commit}
}

func stage(p *groups.Proposal) (ops []envelope.Op) {
	for i := range p.Slots {
		ops = append(ops, envelope.Store{Namespace: envelope.GroupSlots, Key: p.Slots[i].Locator, TTL: staged,
			Body: p.Body(i)})
	}
	return ops
}

// stage stores slots, as many in a request as fit, and returns how many bytes that took.
func (a *admin) stage(ctx context.Context, key account.Signer, ops []envelope.Op) (int, error) {
	var total atomic.Int64
	storing, ctx := errgroup.WithContext(ctx)
	storing.SetLimit(stagers)
	for len(ops) > 0 {
		n, size := 0, reserve
		for ; n < min(len(ops), envelope.MaxOps); n++ {
			if size += slotCost + len(ops[n].(envelope.Store).Body); size > envelope.MaxClientBatch {
				break
			}
		}
		batch := ops[:n]
		ops = ops[n:]
		storing.Go(func() error {
			_, size, err := a.do(ctx, key, batch...)
			total.Add(int64(size))
			return err
		})
	}
	err := storing.Wait()
	return int(total.Load()), err
}
