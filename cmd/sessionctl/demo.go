package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/node"
)

// The demo's sizes: enough messages that a crash hits some of them in flight, few enough to stay short.
const (
	demoNodes   = 5
	demoQuick   = 25
	demoBurst   = 40
	demoTimeout = 2 * time.Minute
)

func (a *app) demoCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "Start a cluster of 5 nodes here, and let Alice, Bob and Carol use it",
		Long: `demo starts 5 real nodes in this process, on loopback, and plays a short story with real clients: messages through
three relays, several devices of one account, a node killed in the middle of a burst, a new device that brings
everything back, and a group that somebody joins by a link and another is removed from. It leaves nothing behind.`,
		Example: "  sessionctl demo",
		GroupID: "start",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := a.deadline(cmd, demoTimeout)
			defer cancel()
			return a.demo(ctx)
		},
	}
}

// story is a running demo: what exists so far, and what was measured.
type story struct {
	app     *app
	ctx     context.Context
	dir     string
	started time.Time
	cluster *node.Embedded

	phrase                string
	phone, laptop, tablet *person
	bob, carol            *person
	figures               []figure
}

type figure struct {
	Name string  `json:"name"`
	MS   float64 `json:"ms"`
}

type stepDoc struct {
	Step string  `json:"step"`
	Text string  `json:"text"`
	MS   float64 `json:"ms,omitempty"`
}

type demoDoc struct {
	Lost    int      `json:"lost"`
	Doubled int      `json:"doubled"`
	TotalMS float64  `json:"total_ms"`
	Figures []figure `json:"figures"`
}

func (a *app) demo(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "starling-demo-")
	if err != nil {
		return cli.Fail("demo", err)
	}
	defer os.RemoveAll(dir)
	s := &story{app: a, ctx: ctx, dir: dir, started: time.Now()}
	defer s.end()
	lost, doubled, err := s.play()
	if err != nil {
		return cli.Fail("demo", err, "sessionctl demo -v   # the log shows what the nodes were doing")
	}
	return s.summary(lost, doubled)
}

func (s *story) play() (lost, doubled int, err error) {
	for _, chapter := range []func() error{s.startCluster, s.makeAccounts, s.linkLaptop, s.talk} {
		if err := chapter(); err != nil {
			return 0, 0, err
		}
	}
	lost, doubled, err = s.crash()
	if err != nil {
		return lost, doubled, err
	}
	if err := s.linkTablet(); err != nil {
		return lost, doubled, err
	}
	if lost, doubled, err = s.countCopies(); err != nil {
		return lost, doubled, err
	}
	return 0, 0, s.group()
}

// end takes everything down again; the story may have stopped anywhere.
func (s *story) end() {
	for _, p := range []*person{s.phone, s.laptop, s.tablet, s.bob, s.carol} {
		if p != nil {
			p.leave()
		}
	}
	if s.cluster != nil {
		_ = s.cluster.Close()
	}
}

func (s *story) startCluster() error {
	s.title("A cluster of %d nodes", demoNodes)
	t := time.Now()
	c, err := node.StartEmbedded(s.ctx, node.EmbeddedConfig{
		Name: "demo", Nodes: demoNodes, Dir: s.dir + "/cluster", NoOps: true, Logger: s.app.logger(),
	})
	if err != nil {
		return err
	}
	s.cluster = c
	took := time.Since(t)
	s.figure("cluster of 5 ready", took)
	s.line("cluster", took, "%d nodes in one process, on loopback; every mailbox lies on three of them", demoNodes)
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
		p               **person
		name, acc, dev  string
		keep            *string
		figureOfAccount string
	}{
		{&s.phone, "Alice's phone", "Alice", "phone", &s.phrase, "make an account"},
		{&s.bob, "Bob", "Bob", "laptop", new(string), ""},
	} {
		t := time.Now()
		p, phrase, err := s.app.newPerson(s.ctx, s.dir, who.name, who.acc, who.dev, s.cluster.ClusterFile())
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

func (s *story) linkLaptop() error {
	s.title("Alice links her laptop with the 24 words")
	p, took, err := s.link("Alice's laptop", "laptop", true)
	if err != nil {
		return err
	}
	s.laptop = p
	s.figure("link a device", took)
	return nil
}

// link restores Alice's account on another device and approves it on the phone.
func (s *story) link(name, label string, explain bool) (*person, time.Duration, error) {
	t := time.Now()
	codes := make(chan string, 1)
	type outcome struct {
		c   *client.Client
		err error
	}
	done := make(chan outcome, 1)
	go func() {
		cfg := client.Config{Dir: s.dir + "/" + name, Cluster: s.cluster.ClusterFile(), Label: label, Logger: s.app.logger()}
		c, _, err := client.Restore(s.ctx, cfg, s.phrase, client.RestoreOptions{OnPending: func(code string, _ ident.DeviceID) { codes <- code }})
		done <- outcome{c, err}
	}()
	var code string
	select {
	case code = <-codes:
	case o := <-done:
		return nil, 0, fmt.Errorf("restore on %s: %w", label, o.err)
	case <-s.ctx.Done():
		return nil, 0, s.ctx.Err()
	}
	s.line("link", time.Since(t), "%s has the words, asks to be let in, and shows the code %s", label, groupCode(code))
	select {
	case <-s.phone.links:
	case <-s.ctx.Done():
		return nil, 0, s.ctx.Err()
	}
	if _, err := s.phone.Approve(s.ctx, code); err != nil {
		return nil, 0, fmt.Errorf("approve %s: %w", label, err)
	}
	o := <-done
	if o.err != nil {
		return nil, 0, fmt.Errorf("restore on %s: %w", label, o.err)
	}
	p := join(name, o.c)
	if err := p.WaitOnline(s.ctx); err != nil {
		p.leave()
		return nil, 0, err
	}
	took := time.Since(t)
	s.line("link", took, "phone: the code is typed in, %s is part of the account", label)
	if explain {
		s.note("Approving made a fresh secret for all devices. The words alone read no message, old or new.")
	}
	return p, took, nil
}

// say sends text and reports how it travelled: on disk at the replicas, and on whose screens after which time.
func (s *story) say(from *person, to *person, text string, screens ...*person) error {
	t := time.Now()
	sent, err := from.Send(s.ctx, to.Account().ID, client.Outgoing{Text: text})
	if err != nil {
		return err
	}
	r, err := from.Wait(s.ctx, sent.ID, client.StateStored)
	if err != nil {
		return err
	}
	s.line("send", 0, "%s → %s: %q", from.name, to.Account().Name, text)
	s.line("path", r.Stored.Sub(r.Queued), "  through %s, on disk on %d replicas", s.path(r.Path), r.Replicas)
	for _, p := range screens {
		got, err := p.arrived.await(s.ctx, sent.ID)
		if err != nil {
			return fmt.Errorf("message %s never reached %s: %w", sent.ID.Short(), p.name, err)
		}
		s.line("arrive", got.at.Sub(t), "  pushed to %s", p.name)
	}
	return nil
}

func (s *story) talk() error {
	s.title("They talk")
	if err := s.say(s.phone, s.bob, "Hello Bob! No server can read this, or knows that it is from me.", s.bob, s.laptop); err != nil {
		return err
	}
	s.note("Alice's other device gets its copy 0.5 to 5 s later on purpose: a node must not pair the two by time.")
	if err := s.say(s.bob, s.phone, "Hello Alice, on all your devices.", s.phone, s.laptop); err != nil {
		return err
	}
	var times []time.Duration
	for i := range demoQuick {
		t := time.Now()
		sent, err := s.phone.Send(s.ctx, s.bob.Account().ID, client.Outgoing{Text: fmt.Sprintf("quick %d", i+1)})
		if err != nil {
			return err
		}
		got, err := s.bob.arrived.await(s.ctx, sent.ID)
		if err != nil {
			return err
		}
		times = append(times, got.at.Sub(t))
	}
	slices.Sort(times)
	s.figure("to the other's screen, median", times[len(times)/2])
	s.figure("to the other's screen, slowest", times[len(times)-1])
	s.line("quick", times[len(times)/2], "%d more, one after the other; slowest %s, median to Bob's screen", demoQuick, seconds(times[len(times)-1]))
	return nil
}

// crash kills a node that carries the conversation while messages are under way, and counts.
func (s *story) crash() (lost, doubled int, err error) {
	s.title("A node dies")
	var ids []ident.MessageID
	queued := map[ident.MessageID]time.Time{}
	for i := range demoBurst {
		sent, err := s.phone.Send(s.ctx, s.bob.Account().ID, client.Outgoing{Text: fmt.Sprintf("burst %d", i+1)})
		if err != nil {
			return 0, 0, err
		}
		ids = append(ids, sent.ID)
		queued[sent.ID] = time.Now()
		if i != demoBurst/4 {
			continue
		}
		r, err := s.phone.Wait(s.ctx, sent.ID, client.StateStored)
		if err != nil {
			return 0, 0, err
		}
		victim, _ := s.cluster.Index(r.Path[1])
		t := time.Now()
		if err := s.cluster.Crash(victim); err != nil {
			return 0, 0, err
		}
		s.line("crash", time.Since(t), "n%d, the middle of Alice's path, is killed while she sends %d messages", victim+1, demoBurst)
		defer func() {
			if err == nil {
				err = s.restart(victim)
			}
		}()
	}
	var slowest time.Duration
	acknowledged := 0
	for _, id := range ids {
		if _, err := s.phone.Wait(s.ctx, id, client.StateStored); err != nil {
			return 0, 0, fmt.Errorf("message %s was not stored: %w", id.Short(), err)
		}
		acknowledged++
	}
	for _, id := range ids {
		got, err := s.bob.arrived.await(s.ctx, id)
		if err != nil {
			lost++
			continue
		}
		slowest = max(slowest, got.at.Sub(queued[id]))
	}
	doubled = s.bob.arrived.doubled()
	s.figure("longest wait while a node dies", slowest)
	s.line("count", slowest, "%d sent, %d acknowledged, %d at Bob's, %d lost, %d doubled; the slowest took", demoBurst, acknowledged, demoBurst-lost, lost, doubled)
	if lost+doubled > 0 {
		return lost, doubled, fmt.Errorf("%d messages lost, %d doubled", lost, doubled)
	}
	return 0, 0, nil
}

// countCopies waits for the copies of everything that Alice's phone sent: her laptop must have them all, once.
func (s *story) countCopies() (lost, doubled int, err error) {
	t := time.Now()
	sent, err := s.phone.Messages(s.ctx, client.Filter{Conversation: s.bob.Account().ID.String()})
	if err != nil {
		return 0, 0, err
	}
	for _, m := range sent {
		if _, err := s.laptop.arrived.await(s.ctx, m.ID); err != nil && m.Mine {
			lost++
		}
	}
	doubled = s.laptop.arrived.doubled()
	s.line("copies", time.Since(t), "laptop: all %d messages of the conversation, %d lost, %d doubled", len(sent), lost, doubled)
	if lost+doubled > 0 {
		return lost, doubled, fmt.Errorf("on the laptop %d messages lost, %d doubled", lost, doubled)
	}
	return 0, 0, nil
}

func (s *story) restart(i int) error {
	t := time.Now()
	if err := s.cluster.Restart(s.ctx, i); err != nil {
		return err
	}
	s.line("restart", time.Since(t), "n%d is back from its disk, and catches up", i+1)
	return nil
}

func (s *story) linkTablet() error {
	s.title("A third device of Alice, from the words")
	t := time.Now()
	p, _, err := s.link("Alice's tablet", "tablet", false)
	if err != nil {
		return err
	}
	s.tablet = p
	if err := p.SyncToHeads(s.ctx); err != nil {
		return err
	}
	contacts, err := p.Contacts(s.ctx)
	if err != nil {
		return err
	}
	var names []string
	for _, c := range contacts {
		names = append(names, contactName(c))
	}
	if !slices.Contains(names, "Bob") {
		return fmt.Errorf("the tablet has the contacts %q, want Bob among them", names)
	}
	devices, err := p.Devices(s.ctx)
	if err != nil {
		return err
	}
	var labels []string
	for _, d := range devices.Devices {
		if d.Status == "active" {
			labels = append(labels, d.Label)
		}
	}
	took := time.Since(t)
	s.figure("new device usable", took)
	s.line("usable", took, "tablet: contacts %s; devices of the account: %s", strings.Join(names, ", "), strings.Join(labels, ", "))
	return nil
}
