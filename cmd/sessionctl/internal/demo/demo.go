package demo

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/render"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/terminal"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/testuser"
	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/node"
	"github.com/starling-swarm/starling/internal/sessionapi"
)

// The demo's sizes: enough messages that a crash hits some of them in flight, few enough to stay short.
const (
	nodeCount     = 5
	quickMessages = 25
	burstMessages = 40
)

// story is a running demo: what exists so far, and what was measured.
type story struct {
	out     *terminal.Terminal
	ctx     context.Context
	logger  *slog.Logger
	dir     string
	started time.Time
	cluster *node.Embedded

	phrase                string
	phone, laptop, tablet *testuser.User
	bob, carol            *testuser.User

	figures []sessionapi.DemoFigure
	lost    int // messages that did not come
	doubled int // arrivals of messages that had come before, at users who have left
}

// Play plays the story and prints it on out, until ctx ends. It leaves nothing behind. What was lost or
// doubled is counted in the answer; if anything was, the answer is followed by an error.
func Play(ctx context.Context, out *terminal.Terminal, logger *slog.Logger) error {
	dir, err := os.MkdirTemp("", "starling-demo-")
	if err != nil {
		return cli.Fail("demo", err)
	}
	defer os.RemoveAll(dir)
	s := &story{out: out, ctx: ctx, logger: logger, dir: dir, started: time.Now()}
	defer s.end()
	if err := s.play(); err != nil {
		return cli.Fail("demo", err, seeLog)
	}
	return s.finish()
}

const seeLog = "sessionctl demo -v   # the log shows what the nodes were doing"

func (s *story) play() error {
	for _, chapter := range []func() error{
		s.startCluster, s.makeAccounts, s.linkLaptop, s.talk, s.crash, s.linkTablet, s.countCopies, s.group,
	} {
		if err := chapter(); err != nil {
			return err
		}
	}
	return nil
}

// end takes everything down again; the story may have stopped anywhere.
func (s *story) end() {
	for _, p := range []*testuser.User{s.phone, s.laptop, s.tablet, s.bob, s.carol} {
		if p != nil {
			p.Leave()
		}
	}
	if s.cluster != nil {
		_ = s.cluster.Close()
	}
}

func (s *story) startCluster() error {
	s.title("A cluster of %d nodes", nodeCount)
	t := time.Now()
	c, err := node.StartEmbedded(s.ctx, node.EmbeddedConfig{
		Name: "demo", Nodes: nodeCount, Dir: s.dir + "/cluster", NoOps: true, Logger: s.logger,
	})
	if err != nil {
		return err
	}
	s.cluster = c
	took := time.Since(t)
	s.figure("cluster of 5 ready", took)
	s.line("cluster", took, "%d nodes in one process, on loopback; every mailbox lies on three of them",
		nodeCount)
	var names []string
	for i, n := range c.Nodes() {
		names = append(names, fmt.Sprintf("n%d %s", i+1, n.ID.Short()))
	}
	s.note("%s", strings.Join(names, "   "))
	return nil
}

func (s *story) makeAccounts() error {
	s.title("Alice and Bob make accounts")
	for _, who := range []struct {
		p               **testuser.User
		name, acc, dev  string
		keep            *string
		figureOfAccount string
	}{
		{&s.phone, "Alice's phone", "Alice", "phone", &s.phrase, "make an account"},
		{&s.bob, "Bob", "Bob", "laptop", new(string), ""},
	} {
		t := time.Now()
		p, phrase, err := testuser.New(s.ctx, who.name, who.acc, s.config(who.name, who.dev))
		if err != nil {
			return fmt.Errorf("make account of %s: %w", who.acc, err)
		}
		took := time.Since(t)
		*who.p, *who.keep = p, phrase
		if who.figureOfAccount != "" {
			s.figure(who.figureOfAccount, took)
		}
		s.line("account", took, "%-5s is %s…", who.acc, p.Account().ID.String()[:40])
	}
	s.note("No number, no mail address, no password: an ID, and 24 words that bring it back.")
	_, err := s.phone.AddContact(s.ctx, s.bob.Account().ID, "Bob")
	return err
}

// say sends text and reports how it travelled: on disk at the replicas, and on whose screens after which
// time.
func (s *story) say(from *testuser.User, to *testuser.User, text string, screens ...*testuser.User) error {
	t := time.Now()
	sent, err := from.Send(s.ctx, to.Account().ID, client.Outgoing{Text: text})
	if err != nil {
		return err
	}
	r, err := from.Wait(s.ctx, sent.ID, client.StateStored)
	if err != nil {
		return err
	}
	s.line("send", 0, "%s → %s: %q", from.Name, to.Account().Name, text)
	s.line("path", r.Stored.Sub(r.Queued), "  through %s, on disk on %d replicas", s.path(r.Path), r.Replicas)
	for _, p := range screens {
		got, err := p.Arrived.Await(s.ctx, sent.ID)
		if err != nil {
			return fmt.Errorf("message %s never reached %s: %w", sent.ID.Short(), p.Name, err)
		}
		s.line("arrive", got.Sub(t), "  pushed to %s", p.Name)
	}
	return nil
}

func (s *story) talk() error {
	s.title("They talk")
	if err := s.say(s.phone, s.bob, "Hello Bob! No server can read this, or knows that it is from me.", s.bob,
		s.laptop); err != nil {
		return err
	}
	s.note("Alice's other device gets its copy 0.5 to 5 s later on purpose: a node must not pair the two " +
		"by time.")
	if err := s.say(s.bob, s.phone, "Hello Alice, on all your devices.", s.phone, s.laptop); err != nil {
		return err
	}
	var times []time.Duration
	for i := range quickMessages {
		t := time.Now()
		sent, err := s.phone.Send(s.ctx, s.bob.Account().ID,
			client.Outgoing{Text: fmt.Sprintf("quick %d", i+1)})
		if err != nil {
			return err
		}
		got, err := s.bob.Arrived.Await(s.ctx, sent.ID)
		if err != nil {
			return err
		}
		times = append(times, got.Sub(t))
	}
	slices.Sort(times)
	s.figure("to the other's screen, median", times[len(times)/2])
	s.figure("to the other's screen, slowest", times[len(times)-1])
	s.line("quick", times[len(times)/2], "%d more, one after the other; slowest %s, median to Bob's screen",
		quickMessages, render.Seconds(times[len(times)-1]))
	return nil
}
