package main

import (
	"context"
	"path/filepath"
	"sync"
	"time"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/directory"
	"github.com/starling-swarm/starling/internal/ident"
)

// person is a client that runs inside this process, for the demo and the benchmarks: its account, and when which
// message reached it.
type person struct {
	*client.Client
	name    string // "Alice's phone"
	arrived *arrivals
	links   chan client.PendingLink
	stop    context.CancelFunc
	ended   chan struct{}
}

// join runs c and watches its events.
func join(name string, c *client.Client) *person {
	ctx, stop := context.WithCancel(context.Background())
	p := &person{
		Client: c, name: name, arrived: newArrivals(), links: make(chan client.PendingLink, 8),
		stop: stop, ended: make(chan struct{}),
	}
	events := c.Events()
	var running sync.WaitGroup
	running.Go(func() { _ = c.Run(ctx) })
	running.Go(func() { p.watch(ctx, events) })
	go func() { running.Wait(); close(p.ended) }()
	return p
}

func (p *person) watch(ctx context.Context, events *client.Subscription) {
	defer events.Close()
	for {
		e, err := events.Next(ctx)
		if err != nil {
			return
		}
		switch e.Kind {
		case client.EventMessage:
			p.arrived.add(*e.Message, time.Now())
		case client.EventLink:
			select {
			case p.links <- *e.Link:
			default: // nobody waits for so many
			}
		}
	}
}

// leave ends the client in order.
func (p *person) leave() {
	p.stop()
	<-p.ended
	_ = p.Close()
}

// newPerson makes an account in a directory below dir and connects it.
func (a *app) newPerson(ctx context.Context, dir, name, account, device string, cf *directory.ClusterFile) (p *person, phrase string, err error) {
	cfg := client.Config{Dir: filepath.Join(dir, name), Cluster: cf, Label: device, Logger: a.logger()}
	c, phrase, err := client.Create(ctx, cfg, account)
	if err != nil {
		return nil, "", err
	}
	p = join(name, c)
	if err := p.WaitOnline(ctx); err != nil {
		p.leave()
		return nil, "", err
	}
	return p, phrase, nil
}

// arrivals remembers when each message came, and how often.
type arrivals struct {
	mu    sync.Mutex
	first map[ident.MessageID]arrival
	again int           // messages that came a second time
	more  chan struct{} // closed and replaced at each arrival
}

type arrival struct {
	at      time.Time
	message client.Message
}

func newArrivals() *arrivals {
	return &arrivals{first: map[ident.MessageID]arrival{}, more: make(chan struct{})}
}

func (a *arrivals) add(m client.Message, at time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, ok := a.first[m.ID]; ok {
		a.again++
		return
	}
	a.first[m.ID] = arrival{at, m}
	close(a.more)
	a.more = make(chan struct{})
}

// await returns when message id came; it waits for it until ctx ends.
func (a *arrivals) await(ctx context.Context, id ident.MessageID) (arrival, error) {
	for {
		a.mu.Lock()
		got, ok := a.first[id]
		more := a.more
		a.mu.Unlock()
		if ok {
			return got, nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return arrival{}, ctx.Err()
		}
	}
}

func (a *arrivals) doubled() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.again
}
