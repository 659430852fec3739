package cluster

import (
	"context"
	"encoding/binary"
	"sync/atomic"
	"testing"

	"github.com/starling-swarm/starling/internal/envelope"
)

// BenchmarkStore is one acknowledged store of 1 KiB after the other, taken in by the leader or by a follower.
func BenchmarkStore(b *testing.B) {
	c := benchCluster(b)
	m := newMailbox("alice")
	replicas := c.replicasOf(m)
	m.genesis(b, replicas[0].node)
	var counter atomic.Uint64
	for name, n := range map[string]*testNode{"leader": replicas[0], "follower": replicas[1]} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				m.storeB(b, n.node, &counter)
			}
		})
		b.Run(name+"/64clients", func(b *testing.B) {
			b.SetParallelism(32)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					m.storeB(b, n.node, &counter)
				}
			})
		})
	}
}

// BenchmarkPush is from a store at one replica to the push at another.
func BenchmarkPush(b *testing.B) {
	c := benchCluster(b)
	m := newMailbox("alice")
	replicas := c.replicasOf(m)
	m.genesis(b, replicas[0].node)
	var counter atomic.Uint64
	for name, n := range map[string]*testNode{"leader": replicas[0], "follower": replicas[1]} {
		b.Run(name, func(b *testing.B) {
			got := make(chan uint64, 100)
			sub := &envelope.Subscribe{Mailbox: m.id, Authority: publicOf(m.own),
				Namespaces: []envelope.Namespace{envelope.Inbox}, Cursor: 0}
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			signed := m.sign(n.node.ID(), m.own, envelope.LabelSubscribe, sub.Encode())
			last := m.storeB(b, replicas[2].node, &counter)
			go func() {
				_ = n.node.Subscribe(ctx, m.tag, signed,
					func(e envelope.Envelope) error { got <- e.Seq; return nil })
			}()
			for <-got < last {
			}
			for b.Loop() {
				last = m.storeB(b, replicas[2].node, &counter)
				for <-got < last {
				}
			}
		})
	}
}

func benchCluster(b *testing.B) *testCluster {
	b.Helper()
	c := prepareCluster(b, 5, 5, func(_ int, c *Config) { c.Params.QuotaBytes = 1 << 40 })
	for _, n := range c.nodes {
		n.start()
	}
	c.waitReady()
	return c
}

func (m *mailbox) storeB(b *testing.B, n *Node, counter *atomic.Uint64) uint64 {
	body := make([]byte, 1024)
	binary.BigEndian.PutUint64(body, counter.Add(1))
	resp := m.do(b, n, nil, 0, envelope.Store{Namespace: envelope.Inbox, TTL: 10, Body: body})
	if err := resp.Err(); err != nil {
		b.Fatal(err)
	}
	return resp.Results[0].Seq
}
