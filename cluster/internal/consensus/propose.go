package consensus

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashicorp/raft"

	"github.com/starling-swarm/starling/internal/fault"
)

// proposal is a command that waits for its entry, and then for its result.
type proposal struct {
	command []byte
	done    chan outcome // buffered
}

type outcome struct {
	result any
	err    error
}

// Propose replicates a command and returns what the FSM answered, once a majority has it on disk and this
// replica has applied it. Commands proposed one after the other are applied in that order. The caller must
// not change command afterwards.
//
// Errors: Invalid (empty, or longer than MaxCommand), Limited (too much is waiting), Unavailable with
// ErrNotLeader or ErrClosed (not proposed), Unavailable with ErrOutcomeUnknown (leadership or ctx ended
// before the result).
func (g *Group) Propose(ctx context.Context, command []byte) (any, error) {
	p, err := g.enqueue(command)
	if err != nil {
		return nil, err
	}
	select {
	case o := <-p.done:
		return o.result, o.err
	case <-ctx.Done():
		return nil, &fault.Error{Kind: fault.Unavailable, Op: g.op("propose to"), Detail: ctx.Err().Error(),
			Cause: ErrOutcomeUnknown}
	}
}

// enqueue appends a command to the queue and sees to it that somebody empties it.
func (g *Group) enqueue(command []byte) (*proposal, error) {
	op := g.op("propose to")
	if len(command) == 0 || len(command) > MaxCommand {
		return nil, fault.New(fault.Invalid, op, "command of %d bytes, want 1 to %d",
			len(command), MaxCommand)
	}
	if !g.IsLeader() {
		return nil, fault.Wrap(fault.Unavailable, op, ErrNotLeader)
	}
	p := &proposal{command: command, done: make(chan outcome, 1)}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closing {
		return nil, fault.Wrap(fault.Unavailable, op, ErrClosed)
	}
	if g.queued+len(command) > g.cfg.QueueBytes {
		return nil, fault.New(fault.Limited, op, "%d bytes are waiting, limit is %d", g.queued,
			g.cfg.QueueBytes)
	}
	g.queue = append(g.queue, p)
	g.queued += len(command)
	if g.flights < g.cfg.InFlight {
		g.flights++
		g.background.Go(g.fly)
	}
	return p, nil
}

// fly takes what waits, proposes it as one entry, waits for it, and repeats until nothing waits. Up to
// Config.InFlight of these run at a time; while all are busy the queue grows, and so does the next entry:
// batches form without a timer, and a lone command never waits.
func (g *Group) fly() {
	for {
		g.submit.Lock() // held over Apply, so that entries are proposed in the order of the queue
		batch := g.take()
		if len(batch) == 0 {
			g.submit.Unlock()
			return
		}
		commands := make([][]byte, len(batch))
		for i, p := range batch {
			commands[i] = p.command
		}
		data, err := encodeEntry(commands)
		var future raft.ApplyFuture
		if err == nil {
			future = g.raft.Apply(data, 0)
		}
		g.submit.Unlock()
		if err == nil {
			err = future.Error()
		}
		if err != nil {
			err = g.classify("propose to", err)
			for _, p := range batch {
				p.done <- outcome{err: err}
			}
			continue
		}
		g.entries.Add(1)
		g.commands.Add(uint64(len(batch)))
		results, ok := future.Response().([]any)
		for i, p := range batch {
			if !ok || len(results) != len(batch) {
				p.done <- outcome{err: fault.New(fault.Internal, g.op("propose to"),
					"%d results for %d commands", len(results), len(batch))}
				continue
			}
			p.done <- outcome{result: results[i]}
		}
	}
}

// take removes from the queue what fits into one entry. With an empty queue it ends the caller's flight.
func (g *Group) take() []*proposal {
	g.mu.Lock()
	defer g.mu.Unlock()
	n, size := 0, entryOverhead
	for n < len(g.queue) && n < MaxCommands {
		size += commandOverhead + len(g.queue[n].command)
		if size > MaxEntry {
			break
		}
		n++
	}
	if n == 0 {
		g.queue = nil
		g.flights--
		return nil
	}
	batch := g.queue[:n:n]
	g.queue = g.queue[n:]
	for _, p := range batch {
		g.queued -= len(p.command)
	}
	return batch
}

// classify turns an error of Raft into one that says what the caller can do.
func (g *Group) classify(verb string, err error) error {
	if err == nil {
		return nil
	}
	e := &fault.Error{Kind: fault.Unavailable, Op: g.op(verb)}
	switch {
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrEnqueueTimeout):
		e.Cause = ErrNotLeader
	case errors.Is(err, raft.ErrLeadershipTransferInProgress):
		e.Detail, e.Cause = "leadership is being handed over", ErrNotLeader
	case errors.Is(err, raft.ErrLeadershipLost):
		e.Detail, e.Cause = "leadership was lost", ErrOutcomeUnknown
	case errors.Is(err, raft.ErrRaftShutdown):
		e.Detail, e.Cause = ErrClosed.Error(), ErrOutcomeUnknown
	default:
		e.Detail, e.Cause = err.Error(), ErrOutcomeUnknown
	}
	return e
}

func (g *Group) op(verb string) string { return fmt.Sprintf("%s group %d", verb, g.cfg.Group) }
