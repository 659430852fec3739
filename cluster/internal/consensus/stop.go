package consensus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"github.com/starling-swarm/starling/internal/fault"
)

// Close hands leadership over if this replica has it, stops the replica and closes its files.
func (g *Group) Close() error {
	g.stopOnce.Do(func() {
		g.refuse()
		if g.raft.State() == raft.Leader && g.Fatal() == nil {
			ctx, cancel := context.WithTimeout(g.ctx, g.cfg.ElectionTimeout)
			_ = g.TransferLeadership(ctx) // nobody may be there to take it
			cancel()
		}
		g.stopErr = g.halt()
	})
	return g.stopErr
}

// Crash stops the replica as a kill would: silent at once, nothing written, nothing handed over. The
// directory can be opened again when it returns.
func (g *Group) Crash() {
	g.stopOnce.Do(func() {
		g.stream.silence()
		g.refuse()
		g.stopErr = g.halt()
	})
}

// refuse lets no new work in.
func (g *Group) refuse() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closing = true
}

// halt stops everything and waits for it. Nothing may be written any more, and no peer is heard.
func (g *Group) halt() error {
	g.cancel()
	_ = g.stream.Close() // first, so that no call to a peer holds Raft up
	g.stepDown()
	g.background.Wait()
	err := g.raft.Shutdown().Error()
	if e := g.log.Close(); err == nil {
		err = e
	}
	if err != nil {
		return fault.Wrap(fault.Internal, fmt.Sprintf("close group %d", g.cfg.Group), err)
	}
	return nil
}

// stepDown makes a leader answer all that it was asked: Raft's shutdown would leave those who wait for an
// entry waiting for ever. With the log stopped, the next entry fails, and that ends leadership.
func (g *Group) stepDown() {
	g.log.stop()
	for g.raft.State() == raft.Leader {
		changes := g.LeaderChanges()
		if err := g.raft.Barrier(0).Error(); errors.Is(err, raft.ErrLeadershipTransferInProgress) {
			select {
			case <-changes:
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
}
