package client

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/starling-swarm/starling/client/internal/content"
	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/devicesync/phrase"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/private"
)

// probeTimeout is how long the cluster may take to answer at all when an account is made or restored.
const probeTimeout = 8 * time.Second

// Create makes an account and its first device in the directory cfg.Dir, and publishes it. The phrase is
// returned once and kept nowhere. Errors: Exists (the directory holds a profile), Unavailable (the cluster
// cannot be reached; nothing is left behind), Invalid.
func Create(ctx context.Context, cfg Config, name string) (c *Client, words string, err error) {
	if len(name) > content.MaxName || !utf8.ValidString(name) {
		return nil, "", fault.New(fault.Invalid, "create account",
			"name of %d bytes, want at most %d of UTF-8", len(name), content.MaxName)
	}
	p, err := emptyProfile(cfg.Dir)
	if err != nil {
		return nil, "", err
	}
	entropy, err := private.Draw(rand.Reader)
	if err != nil {
		return nil, "", err
	}
	defer entropy.Wipe()
	root := account.NewRoot(entropy)
	defer root.Wipe()
	c, err = createWith(ctx, cfg, p, root, name)
	if err != nil {
		return nil, "", errors.Join(err, p.Wipe())
	}
	return c, phrase.Encode(entropy), nil
}

// emptyProfile locks a directory without an account; what an init left that died is removed.
func emptyProfile(dir string) (*core.Profile, error) {
	p, err := core.MakeProfile(dir)
	if err != nil {
		return nil, err
	}
	switch p.Stage() {
	case "":
		return p, nil
	case core.StageNew:
		if err := p.Wipe(); err != nil {
			return nil, err
		}
		return core.MakeProfile(dir)
	case core.StageRestore, core.StageLink:
		err = fault.New(fault.Exists, "create account", "a device is being linked in %q: finish it", dir)
	default:
		err = fault.New(fault.Exists, "create account", "%q holds an account already", dir)
	}
	p.Close()
	return nil, err
}

func createWith(ctx context.Context, cfg Config, p *core.Profile, root *account.Root,
	name string) (*Client, error) {
	if err := p.SetStage(core.StageNew); err != nil {
		return nil, err
	}
	c, err := makeClient(cfg, p, root.ID(), nil)
	if err != nil {
		return nil, err
	}
	err = c.connected(ctx, func(ctx context.Context) error {
		state, err := account.Create(rand.Reader, root, c.core.Cluster.ID, deviceLabel(cfg.Label),
			c.core.Net.Now(), nil)
		if err != nil {
			return err
		}
		if err := c.core.Equip(state); err != nil {
			return err
		}
		if name != "" {
			if err := c.core.Update(func(tx *store.Tx, _ *core.Batch) error {
				return c.setName(tx, name,
					c.core.NowMS())
			}); err != nil {
				return err
			}
		}
		return c.submitPending(ctx)
	})
	if err != nil {
		return nil, err
	}
	return c, c.ready()
}

// ready ends an init or restore: the profile opens from now on.
func (c *Client) ready() error {
	return c.core.Update(func(tx *store.Tx, a *core.Batch) error {
		var first uint64
		c.core.Keys.Read(func(s *account.State) { first = s.FirstSeq() })
		tx.Advance(core.CursorKey, first)
		tx.SetMeta(store.MetaStage, []byte(core.StageReady))
		c.recordDevices(tx, a, nil)
		return nil
	})
}

// connected runs f while the network runs, once the cluster has answered, and leaves the client with a fresh
// network for Run.
func (c *Client) connected(ctx context.Context, f func(context.Context) error) error {
	if err := c.connectedOnce(ctx, f); err != nil {
		return err
	}
	return c.core.Reconnect()
}

// connectedOnce is connected that leaves it to its caller to make the next network.
func (c *Client) connectedOnce(ctx context.Context, f func(context.Context) error) error {
	run, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- c.core.Net.Run(run) }()
	err := c.probe(ctx)
	if err == nil {
		err = f(ctx)
	}
	stop()
	if nerr := <-ended; err == nil && nerr != nil && ctx.Err() == nil && !errors.Is(nerr, context.Canceled) {
		err = nerr
	}
	c.core.Link.Reset()
	return err
}

// probe asks the own mailbox's swarm for its limits: it shows that the cluster answers, and brings the
// client's clock in step with it.
func (c *Client) probe(ctx context.Context) error {
	ctx, stop := context.WithTimeout(ctx, probeTimeout)
	defer stop()
	_, _, err := c.core.Request(ctx, core.PurposeInbox, &envelope.Request{Mailbox: c.core.Mailbox,
		Ops: []envelope.Op{envelope.Info{}}}, nil)
	if errors.Is(err, fault.NotFound) {
		return nil // no such mailbox yet: somebody answered
	}
	return err
}

// submitPending stores the genesis or recover batch that the state holds, and takes part in its generation.
// The batch may have been stored by a process that died: its condition then meets itself.
func (c *Client) submitPending(ctx context.Context) error {
	var p *account.Pending
	c.core.Keys.Read(func(s *account.State) { p, _ = s.Pending() })
	if p == nil {
		return fault.New(fault.Internal, "store generation", "none is pending")
	}
	r := p.Change.Request
	if put, ok := r.Ops[0].(envelope.Store); ok {
		c.core.Admit(c.core.Mailbox, &put)
		r.Ops[0] = put
	}
	resp, _, err := c.core.Request(ctx, core.PurposeInbox, r, p.Signer)
	if err != nil {
		return err
	}
	return c.core.Keys.Change(func(s *account.State) error {
		_, err := s.Commit(rand.Reader, p.Change, resp)
		return err
	})
}

// deviceLabel is the given label, or the host's name.
func deviceLabel(label string) string {
	if label == "" {
		label, _ = os.Hostname()
	}
	label = strings.ToValidUTF8(strings.TrimSpace(label), "")
	if len(label) > 64 {
		label = strings.ToValidUTF8(label[:64], "")
	}
	if label == "" {
		label = "device"
	}
	return label
}
