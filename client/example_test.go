package client_test

import (
	"context"
	"errors"
	"log"
	"os"

	"github.com/starling-swarm/starling/client"
)

// A bot that repeats what approved contacts write to it.
func Example() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()

	c, err := client.Open(client.Config{Dir: "echo-bot"})
	if errors.Is(err, client.ErrNotFound) { // the first start: make the account
		b, rerr := os.ReadFile("cluster.json")
		if rerr != nil {
			log.Fatal(rerr)
		}
		cluster, perr := client.ParseClusterFile(b)
		if perr != nil {
			log.Fatal(perr)
		}
		var phrase string
		c, phrase, err = client.Create(ctx, client.Config{Dir: "echo-bot", Cluster: cluster}, "Echo")
		log.Print("write this down: ", phrase)
	}
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	events := c.Events()
	defer events.Close()
	go func() {
		defer stop()
		if err := c.Run(ctx); err != nil {
			log.Print(err)
		}
	}()
	log.Print("add me: ", c.Account().Link)
	for {
		e, err := events.Next(ctx)
		if err != nil {
			return
		}
		m := e.Message
		if e.Kind != client.EventMessage || m.Mine || m.Request {
			continue
		}
		if _, err := c.Send(ctx, m.From, client.Outgoing{Text: m.Text, ReplyTo: &m.ID}); err != nil {
			log.Print(err)
		}
	}
}
