package client_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// blocked is a network that nothing gets through, though nodes answer as probe says.
type blocked struct {
	client.Network
	probe func() error
	open  *atomic.Bool // from now on everything gets through
}

func (n blocked) Probe(context.Context) error { return n.probe() }

func (n blocked) Do(ctx context.Context, purpose string, m ident.MailboxID, r []byte,
	sign client.SignFunc) (*envelope.Response, ident.Path, error) {
	if !n.open.Load() {
		return nil, ident.Path{}, fault.New(fault.Unavailable, "build circuit", "no answer in time")
	}
	return n.Network.Do(ctx, purpose, m, r, sign)
}

func (n blocked) Subscribe(ctx context.Context, m ident.MailboxID, build func() []byte, sign client.SignFunc,
	handle func(envelope.Envelope) error) error {
	if !n.open.Load() {
		return fault.New(fault.Unavailable, "build circuit", "no answer in time")
	}
	return n.Network.Subscribe(ctx, m, build, sign, handle)
}

// block puts Alice behind a blocked network.
func block(t *testing.T, open *atomic.Bool, patience time.Duration, probe func() error) *device {
	t.Helper()
	alice, _ := create(t, shared(t), "Alice")
	alice.stop()
	alice.cfg.Impatient()
	alice.cfg.Patience = patience
	alice.cfg.SetNetwork(func(inner client.Network) client.Network { return blocked{inner, probe, open} })
	return alice.reopen(t)
}

var errSilent = fault.New(fault.Unavailable, "reach cluster", "silent")

func TestSlowWayIsNoSilentCluster(t *testing.T) {
	var open atomic.Bool
	alice := block(t, &open, 0, func() error {
		open.Store(true) // the way stands only after the cluster was asked whether it is there
		return nil
	})
	if err := alice.WaitOnline(patient(t)); err != nil {
		t.Errorf("wait online: got %v, want nil", err)
	}
}

func TestWhatIsSaidOfAnUnreachableClusterIsTrue(t *testing.T) {
	for _, tc := range []struct {
		name  string
		probe error
		want  string
	}{
		{"no node answers", errSilent, "no node of cluster"},
		{"nodes answer", nil, "answer, but none has brought anything through"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			alice := block(t, new(atomic.Bool), 0, func() error { return tc.probe })
			err := alice.WaitOnline(patient(t))
			if !errors.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("wait online: got %v, want unavailable: %q", err, tc.want)
			}
		})
	}
}

func TestPatienceTriesUntilTheContextEnds(t *testing.T) {
	var open atomic.Bool
	alice := block(t, &open, time.Hour, func() error { return errSilent })
	// ten times what the cluster may be silent otherwise
	ctx, stop := context.WithTimeout(t.Context(), time.Second)
	defer stop()
	if err := alice.WaitOnline(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("wait online: got %v, want the deadline", err)
	}
	bob, _ := create(t, shared(t), "Bob")
	sent := alice.send(t, bob.id(), "at last")
	open.Store(true)
	if _, err := alice.Wait(patient(t), sent.ID, client.StateStored); err != nil {
		t.Errorf("wait once the way is open: %v", err)
	}
}
