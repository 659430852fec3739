package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/spf13/cobra"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/fault"
)

var validProfile = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}$`)

// lingerAtMost bounds how long a one-shot verb stays after its answer so that copies and receipts still leave.
const lingerAtMost = 6 * time.Second

func (a *app) profilesDir() string { return filepath.Join(a.flags.home, "profiles") }

func (a *app) profileDir() string { return filepath.Join(a.profilesDir(), a.flags.profile) }

// profileNames returns the profiles of this home, sorted.
func (a *app) profileNames() []string {
	entries, err := os.ReadDir(a.profilesDir())
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && validProfile.MatchString(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names
}

// config returns the client configuration of the profile. Without pinned, the cluster must be named somehow; with it,
// the profile's own cluster serves, and a cluster named on the command line only refreshes it.
func (a *app) config(pinned bool) (client.Config, error) {
	cfg := client.Config{Dir: a.profileDir(), Logger: a.logger(), Patience: a.patience}
	if pinned && a.flags.cluster == "" {
		return cfg, nil
	}
	cf, err := a.clusterFile()
	cfg.Cluster = cf
	return cfg, err
}

func (a *app) logger() *slog.Logger {
	if !a.flags.verbose {
		return nil
	}
	return slog.New(slog.NewTextHandler(a.stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// open opens the profile for local work; nothing is sent or fetched.
func (a *app) open() (*client.Client, error) {
	if _, err := os.Stat(a.profileDir()); errors.Is(err, os.ErrNotExist) {
		return nil, a.noProfile()
	}
	cfg, err := a.config(true)
	if err != nil {
		return nil, err
	}
	c, err := client.Open(cfg)
	if err != nil {
		return nil, a.openError(err)
	}
	a.client = c
	return c, nil
}

func (a *app) noProfile() error {
	e := cli.Fail("no profile "+a.flags.profile, fault.New(fault.NotFound, "open profile", "there is no account in it yet"))
	for _, n := range nearest(a.flags.profile, a.profileNames()) {
		e.Try = append(e.Try, "sessionctl -p "+n)
	}
	e.Try = append(e.Try, "sessionctl -p "+a.flags.profile+" init --name NAME")
	return e
}

func (a *app) openError(err error) error {
	if client.IsBusy(err) {
		return &cli.Error{
			What: "profile " + a.flags.profile + " is in use", Cause: err, Code: "STO-101", Exit: cli.ExitBusy,
			Try: []string{"end the other sessionctl that uses this profile, or choose another one with -p"},
		}
	}
	return cli.Fail("open profile "+a.flags.profile, err)
}

// start connects the open client to its cluster, in the background, and shows what the user must be told once.
func (a *app) start(ctx context.Context, c *client.Client) {
	a.client = c
	ctx, a.stopRun = context.WithCancel(context.WithoutCancel(ctx))
	a.ran = make(chan error, 1)
	events := c.Events()
	go func() {
		defer events.Close()
		for {
			e, err := events.Next(ctx)
			if err != nil {
				return
			}
			if text := a.warning(ctx, c, e); text != "" {
				a.warn("%s", text)
			}
		}
	}()
	go func() { a.ran <- c.Run(ctx) }()
}

// online opens the profile and connects it. It does not wait for the connection.
func (a *app) online(ctx context.Context) (*client.Client, error) {
	c, err := a.open()
	if err != nil {
		return nil, err
	}
	a.start(ctx, c)
	return c, nil
}

// close disconnects and closes the profile, if one is open.
func (a *app) close() {
	if a.stopRun != nil {
		a.stopRun()
		<-a.ran
		a.stopRun = nil
	}
	if a.client != nil {
		_ = a.client.Close()
		a.client = nil
	}
}

// unreachable gives errors of the network their "try" lines.
func (a *app) unreachable(what string, err error) error {
	var e *cli.Error
	if err == nil || errors.As(err, &e) {
		return err
	}
	if !errors.Is(err, fault.Unavailable) {
		if errors.Is(err, fault.Denied) {
			return cli.Fail(what, err, a.whenRemoved()...)
		}
		return cli.Fail(what, err)
	}
	return cli.Fail(what, err, a.whyUnreachable()...)
}

// whenRemoved says what to type on a device that is no longer part of its account; nothing on any other.
func (a *app) whenRemoved() []string {
	if a.client == nil {
		return nil
	}
	acc := a.client.Account()
	me := "sessionctl" + a.profileFlag() + " "
	switch {
	case acc.Replaced:
		return []string{me + "device contest   # somebody else has restored the account: tell your contacts", me + "device link      # it was you: make this device part of it again"}
	case acc.Revoked:
		return []string{me + "device link   # make this device part of the account again"}
	}
	return nil
}

// whyUnreachable says what to type when no node answers. A profile belongs to one cluster for ever: a new one on the
// same machine, even under the same name, is another cluster.
func (a *app) whyUnreachable() []string {
	if a.client != nil {
		acc := a.client.Account()
		if now, err := loadCluster(a.flags.home, ""); err == nil && now.ID != acc.Cluster {
			return []string{
				"sessionctl -p OTHER init --name NAME   # the current context is another cluster than this profile's " + acc.Cluster.String()[:8],
				"sessionctl context list",
			}
		}
	}
	return []string{
		"swarmd status            # if the cluster runs on this machine",
		"sessionctl wait cluster  # until it answers",
	}
}

// linger stays until what is due has left: copies for the account's other devices, receipts. The answer is printed by
// then, so Ctrl-C or the bound simply leave the rest in the outbox.
func (a *app) linger(ctx context.Context, c *client.Client) {
	ctx, cancel := context.WithTimeout(ctx, lingerAtMost)
	defer cancel()
	_ = c.Idle(ctx)
}

// fresh opens the profile and brings it up to what the cluster holds now. Without a connection it serves the local
// state and says so, unless must is set.
func (a *app) fresh(cmd *cobra.Command, must bool) (*client.Client, error) {
	c, err := a.online(cmd.Context())
	if err != nil {
		return nil, err
	}
	ctx, cancel := a.deadline(cmd, defaultTimeout)
	defer cancel()
	stop := a.waiting("fetching")
	err = c.SyncToHeads(ctx)
	stop()
	switch {
	case err == nil:
		a.seeToGroups(cmd.Context(), c)
		return c, nil
	case cmd.Context().Err() != nil:
		return nil, cmd.Context().Err()
	case !must && (errors.Is(err, fault.Unavailable) || errors.Is(err, context.DeadlineExceeded)):
		a.warn("offline, this is what the profile knew last: %v", err)
		return c, nil
	}
	return nil, a.unreachable("fetch", err)
}
