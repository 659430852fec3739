package demo

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/refs"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/testuser"
	"github.com/starling-swarm/starling/internal/ident"
)

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
func (s *story) link(name, label string, explain bool) (*testuser.User, time.Duration, error) {
	t := time.Now()
	codes := make(chan string, 1)
	type outcome struct {
		c   *client.Client
		err error
	}
	done := make(chan outcome, 1)
	go func() {
		c, _, err := client.Restore(s.ctx, s.config(name, label), s.phrase,
			client.RestoreOptions{OnPending: func(code string, _ ident.DeviceID) { codes <- code }})
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
	s.line("link", time.Since(t), "%s has the words, asks to be let in, and shows the code %s", label,
		refs.SplitCode(code))
	select {
	case <-s.phone.Links:
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
	p := testuser.Run(name, o.c)
	if err := p.WaitOnline(s.ctx); err != nil {
		p.Leave()
		return nil, 0, err
	}
	took := time.Since(t)
	s.line("link", took, "phone: the code is typed in, %s is part of the account", label)
	if explain {
		s.note("Approving made a fresh secret for all devices. The words alone read no message, old or new.")
	}
	return p, took, nil
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
		names = append(names, refs.ContactName(c))
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
	s.line("usable", took, "tablet: contacts %s; devices of the account: %s", strings.Join(names, ", "),
		strings.Join(labels, ", "))
	return nil
}

// config is the configuration of a device called name, with the label that the account's other devices see.
func (s *story) config(name, label string) client.Config {
	return client.Config{Dir: filepath.Join(s.dir, name), Cluster: s.cluster.ClusterFile(), Label: label,
		Logger: s.logger}
}
