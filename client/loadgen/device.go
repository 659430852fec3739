package loadgen

import (
	"context"
	"crypto/rand"
	"time"

	"github.com/starling-swarm/starling/client/internal/circuit"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/directory"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// again is how long a device waits before it subscribes again.
const again = 50 * time.Millisecond

// device stands for the way of a device to the mailbox of a group: guards and a circuit of its own.
type device struct {
	net     *circuit.Network
	mailbox ident.MailboxID // of the group
}

// newDevice makes a device with its state in dir. Its own mailbox, which decides on guards, is drawn at
// random and stays unused.
func newDevice(cluster *directory.ClusterFile, dir string, group ident.MailboxID) (*device, error) {
	var own ident.MailboxID
	_, _ = rand.Read(own[:])
	net, err := circuit.New(circuit.Config{Cluster: cluster, Dir: dir, Mailbox: own})
	return &device{net: net, mailbox: group}, err
}

// do carries operations to the group's mailbox, signed by key. It returns their results, or the first error
// of one, and how many bytes the request had.
func (d *device) do(ctx context.Context, key account.Signer,
	ops ...envelope.Op) (results []envelope.Result, size int, err error) {
	return d.request(ctx, key, &envelope.Request{Ops: ops})
}

func (d *device) request(ctx context.Context, key account.Signer,
	r *envelope.Request) (results []envelope.Result, size int, err error) {
	r.Mailbox, r.Authority = d.mailbox, key.Public()
	b := r.Encode()
	resp, _, err := d.net.Do(ctx, circuit.PurposeInbox, d.mailbox, b, signer(key))
	if err != nil {
		return nil, 0, err
	}
	for _, res := range resp.Results {
		if res.Err != nil {
			return nil, 0, res.Err
		}
	}
	return resp.Results, len(b), nil
}

// retrieve returns all that a namespace of the group holds after a sequence number, and up to which number
// that is, as a replica knows it that has number least.
func (d *device) retrieve(ctx context.Context, key account.Signer, ns envelope.Namespace, after,
	least uint64) (out []envelope.Envelope, seq uint64, err error) {
	for {
		res, _, err := d.request(ctx, key, &envelope.Request{
			MinSeq: least, Ops: []envelope.Op{envelope.Retrieve{Namespaces: []envelope.Namespace{ns},
				After: after}},
		})
		if err != nil {
			return nil, 0, err
		}
		out = append(out, res[0].Envelopes...)
		if after = res[0].Seq; !res[0].More {
			return out, after, nil
		}
	}
}

// subscribe gives take what comes after cursor and every later envelope, in the order of the mailbox, until
// ctx ends or the subscription does for a reason that does not pass by itself.
func (d *device) subscribe(ctx context.Context, key account.Signer, cursor *uint64,
	take func(envelope.Envelope) error) error {
	build := func() []byte {
		return (&envelope.Subscribe{
			Mailbox: d.mailbox, Authority: key.Public(), Cursor: *cursor,
			Namespaces: []envelope.Namespace{envelope.GroupLog, envelope.GroupMail, envelope.GroupNotice},
		}).Encode()
	}
	for {
		err := d.net.Subscribe(ctx, d.mailbox, build, signer(key), func(e envelope.Envelope) error {
			if err := take(e); err != nil {
				return err
			}
			*cursor = e.Seq
			return nil
		})
		passes := fault.KindOf(err) == fault.Unavailable || fault.KindOf(err) == fault.WrongSwarm
		if ctx.Err() != nil || !passes {
			return err
		}
		select {
		case <-time.After(again):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// signer signs requests and subscriptions with key.
func signer(key account.Signer) circuit.SignFunc {
	return func(node ident.NodeID, tag [32]byte, timeMS int64, label string, b []byte) envelope.Signed {
		return account.SignRequest(key, label, node, tag, timeMS, b)
	}
}
