package scenario

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/fault"
)

// chorus is everybody talking in a group at the same time, members or not.
type chorus struct {
	p    *party
	song int
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu     sync.Mutex
	said   []line
	failed error
}

// line is a message that was acknowledged.
type line struct {
	text       string
	began, got time.Time
}

// breath lies between two messages of a device.
const breath = 200 * time.Millisecond

// sing makes devices talk until end.
func (p *party) sing(devices ...*device) *chorus {
	ctx, stop := context.WithCancel(p.ctx)
	c := &chorus{p: p, song: p.songs, stop: stop}
	p.songs++
	for _, d := range devices {
		c.wg.Go(func() {
			if err := c.speak(ctx, d); err != nil {
				c.mu.Lock()
				defer c.mu.Unlock()
				c.failed = errors.Join(c.failed, fmt.Errorf("%s: %w", d.cfg.Label, err))
			}
		})
	}
	return c
}

// speak sends one message after the other. What is refused was sent by somebody who is no member.
func (c *chorus) speak(ctx context.Context, d *device) error {
	pause := time.NewTicker(breath)
	defer pause.Stop()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return nil
		case <-pause.C:
		}
		l := line{text: fmt.Sprintf("%s %d.%d", d.cfg.Label, c.song, i), began: time.Now()}
		sent, err := d.Send(c.p.ctx, c.p.group, client.Outgoing{Text: l.text})
		if err == nil {
			_, err = d.Wait(c.p.ctx, sent.ID, client.StateStored)
		}
		if errors.Is(err, fault.Denied) || errors.Is(err, fault.NotFound) {
			continue
		}
		if err != nil {
			return fmt.Errorf("send %q: %w", l.text, err)
		}
		l.got = time.Now()
		c.mu.Lock()
		c.said = append(c.said, l)
		c.mu.Unlock()
	}
}

// more waits until n further messages were acknowledged, so that something was said between two changes.
func (c *chorus) more(n int) error {
	c.mu.Lock()
	want := len(c.said) + n
	c.mu.Unlock()
	look := time.NewTicker(breath / 4)
	defer look.Stop()
	for {
		c.mu.Lock()
		have, failed := len(c.said), c.failed
		c.mu.Unlock()
		if failed != nil || have >= want {
			return failed
		}
		select {
		case <-look.C:
		case <-c.p.ctx.Done():
			return c.p.ctx.Err()
		}
	}
}

// soFar returns what was said until now.
func (c *chorus) soFar() []line {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.said)
}

// end returns what was said once everybody has fallen silent.
func (c *chorus) end() ([]line, error) {
	c.stop()
	c.wg.Wait()
	return c.said, c.failed
}

// span is a time in which somebody was a member for sure, or was none for sure.
type span struct{ from, to time.Time }

func (s span) holds(l line) bool { return l.began.After(s.from) && l.got.Before(s.to) }

// heard checks that devices have everything that was said in these spans, and nothing of what was said in
// others.
func (p *party) heard(said []line, in, out []span, by ...*device) error {
	for _, d := range by {
		all, err := d.Messages(p.ctx, client.Filter{Conversation: p.group.String()})
		if err != nil {
			return err
		}
		have := map[string]int{}
		for _, m := range all {
			have[m.Text]++
		}
		for _, l := range said {
			holds := func(s span) bool { return s.holds(l) }
			switch n := have[l.text]; {
			case n > 1:
				return fmt.Errorf("%s has %q %d times", d.cfg.Label, l.text, n)
			case n == 0 && slices.ContainsFunc(in, holds):
				return fmt.Errorf("%s was a member and misses %q", d.cfg.Label, l.text)
			case n == 1 && slices.ContainsFunc(out, holds):
				return fmt.Errorf("%s was no member and has %q", d.cfg.Label, l.text)
			}
		}
	}
	return nil
}
