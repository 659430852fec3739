package core

import (
	"context"
	"crypto/rand"
	"errors"
	"math/big"
	"time"

	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// Wake makes the reader of a channel with room for one look again; it never blocks.
func Wake(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// MaxBatch bounds how many envelopes one transaction takes in.
const MaxBatch = 128

// Drain hands on what comes through queue until it is closed, all that waits at once.
func Drain(queue <-chan envelope.Envelope, take func([]envelope.Envelope) error) error {
	for first := range queue {
		batch := []envelope.Envelope{first}
	more:
		for len(batch) < MaxBatch {
			select {
			case e, ok := <-queue:
				if !ok {
					break more
				}
				batch = append(batch, e)
			default:
				break more
			}
		}
		if err := take(batch); err != nil {
			return err
		}
	}
	return nil
}

// InStretches hands over a batch in its order: each envelope of the namespace last alone, and what lies
// between two together.
func InStretches(ctx context.Context, batch []envelope.Envelope, last envelope.Namespace,
	stretch func(context.Context, []envelope.Envelope) error, alone func(context.Context,
		envelope.Envelope) error) error {
	start := 0
	for i, e := range batch {
		if e.Namespace != last {
			continue
		}
		if err := stretch(ctx, batch[start:i]); err != nil {
			return err
		}
		if err := alone(ctx, e); err != nil {
			return err
		}
		start = i + 1
	}
	return stretch(ctx, batch[start:])
}

const LegTimeout = 20 * time.Second // of one attempt

const backoffMin = 300 * time.Millisecond

const backoffMax = 5 * time.Minute

// NextDelay is exponential with jitter, and what the node asked for where it did.
func NextDelay(last time.Duration, err error) time.Duration {
	var f *fault.Error
	if errors.As(err, &f) && f.Kind == fault.Limited && f.RetryAfter > 0 {
		return f.RetryAfter
	}
	d := min(max(2*last, backoffMin), backoffMax)
	return Spread(d/2, d+time.Millisecond)
}

// HeadOf returns the sequence number that a Stale error met, which a replica must have reached to know
// better; 0: any.
func HeadOf(err error) uint64 {
	var f *fault.Error
	if errors.As(err, &f) && f.Kind == fault.Stale {
		return f.Head
	}
	return 0
}

// Superseded reports whether a node refused an authority that may have been replaced.
func Superseded(err error) bool {
	return errors.Is(err, fault.Stale) || errors.Is(err, fault.Denied) ||
		errors.Is(err, fault.Unauthenticated)
}

// Short is an account ID for errors and tables.
func Short(id ident.AccountID) string { return id.String()[:10] }

// Spread draws a time between lo and hi.
func Spread(lo, hi time.Duration) time.Duration {
	n, err := rand.Int(rand.Reader, big.NewInt(int64(hi-lo)))
	if err != nil {
		return lo
	}
	return lo + time.Duration(n.Int64())
}

// IsGone reports whether an account or a mailbox does not exist: asking again does not help.
func IsGone(err error) bool { return fault.KindOf(err) == fault.NotFound }

// Outlived reports whether the bytes of a leg may be sealed to the key of a day that is over: nobody could
// open them any more. They are sealed again then, under the same message ID.
func Outlived(leg store.Leg, now time.Time) bool {
	return leg.Sealed != nil && account.Day(now) > account.Day(time.UnixMilli(leg.SentAt))
}
