// Package loadgen puts measured load on a cluster through the onion network, below the level of messages:
// stores into mailboxes of its own, with no account, database or sealing in the way.
//
// Stores runs a number of clients, each with a mailbox, guards and circuits of its own and one store under
// way at a time, and returns how long each acknowledged store took. Messages runs a group whose members are
// all online, and returns how long messages and a removal took to reach them. The mailboxes stay behind until
// their entries expire.
package loadgen

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/starling-swarm/starling/client/internal/circuit"
	"github.com/starling-swarm/starling/internal/directory"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// MaxBody is the largest body that one store can carry.
const MaxBody = envelope.MaxBody

// life is how long stored bodies stay, in seconds: long enough for the longest run.
const life = 3600

// atOnce bounds how many clients build their first circuit at a time, so that hundreds of them do not time
// out.
const atOnce = 16

// Config describes a run.
type Config struct {
	Cluster *directory.ClusterFile
	Dir     string        // where clients keep guards and the directory
	Clients int           // at least 1
	Size    int           // bytes of a body, 1 to MaxBody
	For     time.Duration // how long to measure, after every client is ready
}

// Result is what a run measured.
type Result struct {
	Times []time.Duration // of each acknowledged store
	Took  time.Duration   // from the first store to the end of the last
}

// Stores runs the load. Errors are those of the first client that fails.
func Stores(ctx context.Context, cfg Config) (*Result, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	clients := make([]*mailbox, cfg.Clients)
	running, runCtx := errgroup.WithContext(ctx)
	for i := range clients {
		m, err := newMailbox(cfg, filepath.Join(cfg.Dir, fmt.Sprint(i)))
		if err != nil {
			return nil, err
		}
		clients[i] = m
		running.Go(func() error { return m.net.Run(runCtx) })
	}
	r, err := measure(ctx, cfg, clients)
	cancel()
	if ended := running.Wait(); err == nil && ended != nil && fault.KindOf(ended) != fault.Internal {
		err = ended
	}
	return r, err
}

func measure(ctx context.Context, cfg Config, clients []*mailbox) (*Result, error) {
	ready, readyCtx := errgroup.WithContext(ctx)
	ready.SetLimit(atOnce)
	for _, m := range clients {
		ready.Go(func() error { return m.begin(readyCtx) })
	}
	if err := ready.Wait(); err != nil {
		return nil, err
	}
	times := make([][]time.Duration, len(clients))
	started := time.Now()
	load, loadCtx := errgroup.WithContext(ctx)
	for i, m := range clients {
		load.Go(func() (err error) {
			for time.Since(started) < cfg.For {
				t := time.Now()
				if err := m.store(loadCtx, cfg.Size); err != nil {
					return err
				}
				times[i] = append(times[i], time.Since(t))
			}
			return nil
		})
	}
	if err := load.Wait(); err != nil {
		return nil, err
	}
	r := &Result{Took: time.Since(started)}
	for _, ts := range times {
		r.Times = append(r.Times, ts...)
	}
	return r, nil
}

// mailbox is one client: a mailbox that belongs to random keys, and its way through the network.
type mailbox struct {
	id        ident.MailboxID
	key       ed25519.PrivateKey // of id: signs only the genesis
	authority [32]byte           // obeyed afterwards; nothing here needs its private half
	net       *circuit.Network
}

func newMailbox(cfg Config, dir string) (*mailbox, error) {
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fault.Wrap(fault.Internal, "make mailbox", err)
	}
	authority, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fault.Wrap(fault.Internal, "make mailbox", err)
	}
	m := &mailbox{id: ident.MailboxID(public), key: key, authority: [32]byte(authority)}
	m.net, err = circuit.New(circuit.Config{Cluster: cfg.Cluster, Dir: dir, Mailbox: m.id})
	return m, err
}

// begin makes the mailbox and leaves a circuit to it standing.
func (m *mailbox) begin(ctx context.Context) error {
	return m.do(ctx, &envelope.Request{
		Mailbox: m.id, Authority: m.id,
		Ops: []envelope.Op{envelope.SetAuthority{Change: envelope.Genesis, Key: m.authority}},
	})
}

// store puts one random body into the inbox, as a sender would: without any signature.
func (m *mailbox) store(ctx context.Context, size int) error {
	body := make([]byte, size)
	_, _ = rand.Read(body)
	op := envelope.Store{Namespace: envelope.Inbox, TTL: life, Body: body}
	admit(m.net, m.id, &op)
	return m.do(ctx, &envelope.Request{Mailbox: m.id, Ops: []envelope.Op{op}})
}

// admit adds the admission that a store without authority needs, if the cluster asks for any.
func admit(net *circuit.Network, m ident.MailboxID, put *envelope.Store) {
	if d := net.Directory(); d != nil && d.Params.StampDifficulty > 0 {
		h := envelope.HashOf(m, put.Namespace, put.Key, put.Body)
		put.Admission = envelope.SolveStamp(m, h, net.Now().UnixMilli(), d.Params.StampDifficulty)
	}
}

func (m *mailbox) do(ctx context.Context, r *envelope.Request) error {
	resp, _, err := m.net.Do(ctx, "bench", m.id, r.Encode(), m.sign(r.Authority != [32]byte{}))
	if err != nil {
		return err
	}
	for _, res := range resp.Results {
		if res.Err != nil {
			return res.Err
		}
	}
	return nil
}

func (m *mailbox) sign(signed bool) circuit.SignFunc {
	return func(node ident.NodeID, tag [32]byte, timeMS int64, label string, b []byte) envelope.Signed {
		s := envelope.Signed{TimeMS: timeMS, Bytes: b}
		if signed {
			copy(s.Signature[:], ed25519.Sign(m.key, envelope.SignedBytes(label, node, tag, timeMS, b)))
		}
		return s
	}
}
