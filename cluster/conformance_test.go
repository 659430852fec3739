package cluster

import (
	"context"
	"crypto/sha256"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/starling-swarm/starling/cluster/internal/mailstore/storetest"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// liveSwarm sends every write and every subscription through another replica than the one before, as clients
// on other circuits do, and repeats what the swarm could not serve: on a machine that stalls, a leader may
// lose its lead. Reads that name no sequence number go to the leader: a follower may answer them from a
// moment ago.
type liveSwarm struct {
	c    *testCluster
	next atomic.Int64
}

func (l *liveSwarm) node(id ident.MailboxID, leader bool) *Node {
	replicas := l.c.replicasOf(&mailbox{id: id})
	if leader {
		return replicas[0].node
	}
	return replicas[int(l.next.Add(1))%len(replicas)].node
}

var liveTag = sha256.Sum256([]byte("conformance"))

func (l *liveSwarm) Do(ctx context.Context, m ident.MailboxID, request []byte,
	sign storetest.Sign) (*envelope.Response, error) {
	r, err := envelope.DecodeRequest(request)
	if err != nil {
		return nil, err
	}
	for ; ; time.Sleep(retryPause) {
		n := l.node(m, r.ReadOnly() && r.MinSeq == 0)
		signed := sign(n.ID(), liveTag, time.Now().UnixMilli(), request)
		resp, err := envelope.DecodeResponse(n.Do(ctx, liveTag, signed.Encode()))
		unserved := err == nil && slices.ContainsFunc(resp.Results,
			func(r envelope.Result) bool { return r.Err != nil && r.Err.Kind == fault.Unavailable })
		if !unserved || ctx.Err() != nil {
			return resp, err
		}
	}
}

func (l *liveSwarm) subscribe(ctx context.Context, m ident.MailboxID, subscribe []byte, sign storetest.Sign,
	handle func(envelope.Envelope) error) error {
	n := l.node(m, false)
	signed := sign(n.ID(), liveTag, time.Now().UnixMilli(), subscribe)
	return n.Subscribe(ctx, liveTag, signed.Encode(), handle)
}

func TestMailboxConformance(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, 3)
	storetest.Run(t, func(*testing.T) storetest.Harness {
		l := &liveSwarm{c: c}
		return storetest.Harness{Mailboxes: l, Subscribe: l.subscribe}
	})
}
