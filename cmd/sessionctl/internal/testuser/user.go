package testuser

import (
	"context"
	"sync"
	"time"

	"github.com/starling-swarm/starling/client"
)

// User is a client that runs in this process.
type User struct {
	*client.Client
	Name    string                  // "Alice's phone"
	Arrived Arrivals                // what reached it, and when
	Links   chan client.PendingLink // devices that ask to be linked
	stop    context.CancelFunc
	ended   chan struct{}
}

// New makes an account called account with cfg, and connects it. Errors: those of client.Create, and that of
// ctx.
func New(ctx context.Context, name, account string, cfg client.Config) (u *User, phrase string, err error) {
	c, phrase, err := client.Create(ctx, cfg, account)
	if err != nil {
		return nil, "", err
	}
	u = Run(name, c)
	if err := u.WaitOnline(ctx); err != nil {
		u.Leave()
		return nil, "", err
	}
	return u, phrase, nil
}

// Run runs an open client until Leave, and watches its events. The client is the user's from now on.
func Run(name string, c *client.Client) *User {
	ctx, stop := context.WithCancel(context.Background())
	u := &User{
		Client: c, Name: name, Links: make(chan client.PendingLink,
			8), stop: stop, ended: make(chan struct{}),
	}
	events := c.Events()
	var running sync.WaitGroup
	running.Go(func() { _ = c.Run(ctx) })
	running.Go(func() { u.watch(ctx, events) })
	go func() { running.Wait(); close(u.ended) }()
	return u
}

func (u *User) watch(ctx context.Context, events *client.Subscription) {
	defer events.Close()
	for {
		e, err := events.Next(ctx)
		if err != nil {
			return
		}
		switch e.Kind {
		case client.EventMessage:
			u.Arrived.Add(e.Message.ID, time.Now())
		case client.EventLink:
			select {
			case u.Links <- *e.Link:
			default: // nobody waits for so many
			}
		}
	}
}

// Leave ends the client in order and closes it.
func (u *User) Leave() {
	u.stop()
	<-u.ended
	_ = u.Close()
}
