package storetest

import (
	"context"
	"sync"
	"time"

	"github.com/starling-swarm/starling/cluster/internal/statemachine"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// Core is one replica's state machine over some storage.
type Core interface {
	Apply(command []byte) statemachine.Result
	Read(in statemachine.Ingress, r *envelope.Request) (resp *envelope.Response, behind bool)
}

// Epoch is the instant at which a Replica's clock begins, Unix milliseconds.
const Epoch = 1_800_000_000_000

// Replica is a swarm of one: it stamps, applies and reads by itself, on a clock that only Advance moves.
type Replica struct {
	core Core
	node ident.NodeID
	tag  [32]byte

	mu     sync.Mutex
	now    int64
	number uint64
	events []statemachine.Event
}

// NewReplica returns a swarm of one over core that owns every slot.
func NewReplica(core Core, config statemachine.Config) *Replica {
	r := &Replica{core: core, now: Epoch, node: ident.NodeID{0: 'n'}, tag: [32]byte{0: 't'}}
	config.Slots = statemachine.AllSlots()
	r.Configure(config)
	return r
}

// Configure applies config under the next number.
func (r *Replica) Configure(config statemachine.Config) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.number++
	config.Number, config.Stamp = r.number, r.stamp()
	r.core.Apply(statemachine.EncodeCommand(&config))
}

func (r *Replica) stamp() statemachine.Stamp {
	return statemachine.Stamp{Time: r.now, Allowance: 1 << 31}
}

// Advance moves the clock and expires what is due.
func (r *Replica) Advance(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now += d.Milliseconds()
	r.core.Apply(statemachine.EncodeCommand(&statemachine.Clock{Stamp: r.stamp(), To: r.now}))
	for {
		res := r.core.Apply(statemachine.EncodeCommand(&statemachine.Expire{Stamp: r.stamp(),
			UpTo: r.now, Max: 100}))
		r.events = append(r.events, res.Events...)
		if !res.More {
			return
		}
	}
}

// Now returns the clock.
func (r *Replica) Now() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.UnixMilli(r.now)
}

// Events returns what subscribers would have learned since the last call.
func (r *Replica) Events() []statemachine.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := r.events
	r.events = nil
	return out
}

// Do implements Mailboxes. Requests that only read do not go through the log.
func (r *Replica) Do(_ context.Context, _ ident.MailboxID, request []byte,
	sign Sign) (*envelope.Response, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	in := statemachine.Ingress{Node: r.node, Tag: r.tag, Signed: sign(r.node, r.tag, r.now, request)}
	if req, err := envelope.DecodeRequest(request); err == nil && req.ReadOnly() {
		resp, _ := r.core.Read(in, req)
		return resp, nil
	}
	res := r.core.Apply(statemachine.EncodeCommand(&statemachine.Request{Stamp: r.stamp(), Ingress: in}))
	r.events = append(r.events, res.Events...)
	if res.Response == nil {
		return nil, fault.Wrap(fault.Internal, "apply request", res.Err)
	}
	return res.Response, nil
}
