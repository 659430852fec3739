package client_test

import (
	"context"
	"testing"
	"time"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/node"
	"github.com/starling-swarm/starling/internal/swarmtest"
)

// BenchmarkHistory measures, from the call of Approve on one device to what is there on the new one, with
// both in this process on an embedded cluster: 1,000 contacts, 200 conversations, 20,000 messages. One run is
// enough:
//
//	go test ./client -run '^$' -bench History -benchtime 1x
func BenchmarkHistory(b *testing.B) {
	const contacts, conversations, messages = 1_000, 200, 20_000
	for range b.N {
		cluster := swarmtest.Start(b, node.EmbeddedConfig{NoOps: true})
		alice1, words := create(b, cluster, "Alice")
		if err := alice1.Seed(contacts, conversations, messages); err != nil {
			b.Fatal(err)
		}
		ctx, stop := context.WithTimeout(b.Context(), 2*time.Minute)
		defer stop()
		if err := alice1.Idle(ctx); err != nil {
			b.Fatal(err)
		}
		alice1.Upkeep()

		cfg := config(b, cluster, "alice-2")
		codes := make(chan string, 1)
		linked := make(chan *client.Client, 1)
		go func() {
			c, _, err := client.Restore(ctx, cfg, words, client.RestoreOptions{OnPending: func(code string,
				_ ident.DeviceID) {
				codes <- code
			}})
			if err != nil {
				b.Error(err)
			}
			linked <- c
		}()
		code := <-codes
		alice1.next(b, "link request", func(e client.Event) bool { return e.Kind == client.EventLink })
		start := time.Now()
		since := func(name string) { b.ReportMetric(float64(time.Since(start).Milliseconds()), name+"-ms") }
		if _, err := alice1.Approve(ctx, code); err != nil {
			b.Fatal(err)
		}
		since("approve")
		c := <-linked
		if c == nil {
			b.FailNow()
		}
		since("linked")
		if all, err := c.Contacts(ctx); err != nil || len(all) != contacts {
			b.Fatalf("contacts: got %d, %v, want %d", len(all), err, contacts)
		}
		since("contacts")
		alice2 := run(b, c, cfg)
		listed, first := false, true
		for done := false; !done; {
			e, err := alice2.events.Next(ctx)
			if err != nil {
				b.Fatal(err)
			}
			if e.Kind != client.EventHistory {
				continue
			}
			if first {
				since("offer")
				first = false
			}
			if all, err := alice2.Messages(ctx, client.Filter{Limit: 1}); !listed &&
				err == nil && len(all) > 0 {
				list, err := alice2.Conversations(ctx)
				if err != nil {
					b.Fatal(err)
				}
				n := 0
				for _, c := range list {
					if c.LastText != "" {
						n++
					}
				}
				if listed = n >= conversations; listed {
					since("conversations")
				}
			}
			done = e.History.Done
		}
		since("complete")
		if all, err := alice2.Messages(ctx, client.Filter{}); err != nil || len(all) != messages {
			b.Fatalf("messages: got %d, %v, want %d", len(all), err, messages)
		}
		if !listed {
			b.Error("the conversations were never complete")
		}
		if err := alice1.WaitHistoriesSent(ctx); err != nil {
			b.Fatal(err)
		}
	}
}
