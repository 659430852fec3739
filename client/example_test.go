package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"

	"github.com/starling-swarm/starling/client"
)

// A bot that repeats what approved contacts write to it. It answers every message once, also if it is killed
// in between: what it has not answered is not handed out, and an answer whose ID was sent before is not sent
// again.
func Example() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	c, err := openOrCreate(ctx, "echo-bot", "Echo")
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
		waiting, err := c.Messages(ctx, client.Filter{NotHandedOut: true})
		if err != nil {
			return
		}
		for _, m := range waiting {
			peer, err := client.ParsePeer(m.Conversation)
			if err != nil || m.Mine || m.Request || m.Notice != nil {
				continue
			}
			answer := m.ID
			answer[0] ^= 1 // an ID of its own, the same at every try
			if _, err := c.Send(ctx, peer, client.Outgoing{ID: answer, Text: m.Text,
				ReplyTo: &m.ID}); err != nil {
				log.Print(err)
			}
			if err := c.MarkHandedOut(ctx, m.ID); err != nil {
				return
			}
		}
		for {
			e, err := events.Next(ctx)
			if err != nil {
				return
			}
			if e.Kind == client.EventMessage {
				break
			}
		}
	}
}

// openOrCreate opens a profile, or makes its account at the first start.
func openOrCreate(ctx context.Context, dir, name string) (*client.Client, error) {
	c, err := client.Open(client.Config{Dir: dir})
	if !errors.Is(err, client.ErrNotFound) {
		return c, err
	}
	b, err := os.ReadFile("cluster.json")
	if err != nil {
		return nil, err
	}
	cluster, err := client.ParseClusterFile(b)
	if err != nil {
		return nil, err
	}
	c, phrase, err := client.Create(ctx, client.Config{Dir: dir, Cluster: cluster}, name)
	log.Print("write this down: ", phrase)
	return c, err
}

// A group is made, somebody is invited, and everybody in it is greeted once they are in. The client runs
// already.
func ExampleClient_CreateGroup() {
	var c *client.Client
	var bob client.AccountID
	ctx := context.Background()

	name := "climbers"
	g, err := c.CreateGroup(ctx, client.GroupInfo{Name: &name}, client.GroupOwnKeys)
	if err != nil {
		log.Fatal(err)
	}
	group := c.Group(g.ID)
	if err := group.Add(ctx, 7, bob); err != nil { // with the messages of the last seven days
		log.Fatal(err)
	}
	if g, err = group.Wait(ctx, func(g client.Group) bool {
		return len(g.Members) == 2 &&
			g.Members[1].Joined > 0
	}); err != nil {
		log.Fatal(err)
	}
	if _, err := c.Send(ctx, g.ID, client.Outgoing{Text: "hello all"}); err != nil {
		log.Fatal(err)
	}
}

// A second device joins the account: it shows an invitation, and a device that is in already reads it and
// passes it to Client.LinkDevice.
func ExampleJoin() {
	ctx := context.Background()
	b, err := os.ReadFile("cluster.json")
	if err != nil {
		log.Fatal(err)
	}
	cluster, err := client.ParseClusterFile(b)
	if err != nil {
		log.Fatal(err)
	}
	c, err := client.Join(ctx, client.Config{Dir: "laptop", Cluster: cluster, Label: "laptop"},
		client.JoinOptions{
			OnInvite: func(invite string, _ client.DeviceID) { fmt.Println("on your other device:", invite) },
		})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	go c.Run(ctx)
	if err := c.WaitHistories(ctx); err != nil { // the messages of before
		log.Fatal(err)
	}
}
