package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"time"

	"github.com/spf13/cobra"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/render"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/session"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/view"
	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/sessionapi"
)

func (a *app) receiveCommand() *cobra.Command {
	var most int
	var expect string
	c := &cobra.Command{
		Use:   "receive [--max N] [--expect REGEX]",
		Short: "Wait for messages, print them, and end",
		Long: `receive prints messages of others that this profile has not handed out before, waits until --max of
them came, and exits 0; after --timeout it exits 6. With --expect only messages whose text matches are printed
and counted; the others stay for the next receive.`,
		Example: `  sessionctl receive
  sessionctl receive --max 10 --timeout 1m --json
  sessionctl receive --expect '^ACK' --timeout 10s`,
		GroupID: "talk",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if most < 1 {
				return cli.Usage("--max %d: want 1 or more", most)
			}
			re, err := regexp.Compile(expect)
			if err != nil {
				return cli.Usage("--expect: %v", err)
			}
			return a.receive(cmd, most, re)
		},
	}
	c.Flags().IntVar(&most, "max", 1, "end after `N` messages")
	c.Flags().StringVar(&expect, "expect", "", "count only messages whose text matches `REGEX`")
	return c
}

func (a *app) receive(cmd *cobra.Command, most int, re *regexp.Regexp) error {
	c, err := a.Online(cmd.Context())
	if err != nil {
		return err
	}
	ctx, cancel := a.Deadline(cmd.Context(), session.DefaultTimeout)
	defer cancel()
	events := c.Events()
	defer events.Close()
	offline := make(chan error, 1)
	waitCtx, stopWaiting := context.WithCancelCause(ctx)
	defer stopWaiting(nil)
	go func() {
		// No connection is an error at once, not a silent wait.
		if err := c.WaitOnline(ctx); err != nil && ctx.Err() == nil {
			offline <- err
			stopWaiting(err)
		}
	}()
	got, after := 0, int64(0)
	for {
		n, last, err := a.handOut(ctx, c, after, most-got, re)
		if err != nil {
			return err
		}
		got, after = got+n, last
		if got == most {
			a.Linger(cmd.Context(), c)
			return nil
		}
		if err := nextMessage(waitCtx, c, events); err != nil {
			select {
			case cause := <-offline:
				return a.Unreachable("receive", cause)
			default:
			}
			if errors.Is(err, context.DeadlineExceeded) {
				return &cli.Error{What: fmt.Sprintf("receive: %d of %d messages came in time", got, most),
					Cause: err,
					Try:   []string{a.Self() + " receive --timeout 5m"}}
			}
			return err
		}
	}
}

// handOut prints and marks up to most messages of others after the given cursor that match, and returns how
// many and the new cursor.
func (a *app) handOut(ctx context.Context, c *client.Client, after int64, most int,
	re *regexp.Regexp) (n int, last int64, err error) {
	waiting, err := c.Messages(ctx, client.Filter{NotHandedOut: true, After: after})
	if err != nil {
		return 0, after, err
	}
	for _, m := range waiting {
		if n == most {
			break
		}
		after = m.Seq
		if !re.MatchString(m.Text) {
			continue
		}
		if err := a.printMessage(m); err != nil {
			return n, after, err
		}
		if err := markPrinted(ctx, c, m); err != nil {
			return n, after, err
		}
		n++
	}
	return n, after, nil
}

// markPrinted marks a message as handed out, after it is printed: a crash in between prints it twice rather
// than never. It is marked even if ctx ended meanwhile: Ctrl-C is how listening ends, and no crash.
func markPrinted(ctx context.Context, c *client.Client, m client.Message) error {
	return c.MarkHandedOut(context.WithoutCancel(ctx), m.ID)
}

func (a *app) printMessage(m client.Message) error {
	if m.Notice != nil {
		a.groups.Forget() // names may be others now
	}
	return a.Answer("message", sessionapi.MessageOf(m),
		func(w io.Writer, st render.Style) { view.WriteMessage(w, st, m, a.placeOf(m), time.Now()) })
}

// nextMessage returns when an event says that a message came or was changed, or that none will ever come: the
// device is no longer part of the account.
func nextMessage(ctx context.Context, c *client.Client, events *client.Subscription) error {
	for {
		if c.Account().Revoked {
			return cli.Fail("receive", fault.New(fault.Denied, "",
				"this device is no longer part of the account"),
				"sessionctl device list   # what happened", "sessionctl -p OTHER restore --words-file FILE")
		}
		e, err := events.Next(ctx)
		if err != nil {
			return err
		}
		if e.Kind == client.EventMessage || e.Kind == client.EventUpdate || e.Kind == client.EventNotice &&
			e.Message != nil {
			return nil
		}
	}
}

func (a *app) listenCommand() *cobra.Command {
	var since int64
	var ack bool
	c := &cobra.Command{
		Use:   "listen [--since CURSOR] [--ack]",
		Short: "Print messages as they come, until stopped",
		Long: `listen prints messages as they come, those of your own other devices included, until it is stopped
with Ctrl-C.

Every message has a cursor in JSON: --since prints all messages after it first (0: everything). --ack marks
what is printed as handed out; without --since it begins with what "receive" has not handed out yet.`,
		Example: `  sessionctl listen
  sessionctl listen --json --ack
  sessionctl listen --json --since 42`,
		GroupID: "talk",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.listen(cmd, cmd.Flags().Changed("since"), since, ack)
		},
	}
	c.Flags().Int64Var(&since, "since", 0, "print what came after `CURSOR` first")
	c.Flags().BoolVar(&ack, "ack", false, "mark printed messages as handed out")
	return c
}

func (a *app) listen(cmd *cobra.Command, replay bool, since int64, ack bool) error {
	ctx := cmd.Context()
	c, err := a.Open(ctx)
	if err != nil {
		return err
	}
	events := c.Events()
	defer events.Close()
	show := func(m client.Message) error {
		if err := a.printMessage(m); err != nil || !ack || m.Mine {
			return err
		}
		return markPrinted(ctx, c, m)
	}
	after := since
	if !replay {
		newest, err := c.Messages(ctx, client.Filter{Newest: true, Limit: 1})
		if err != nil {
			return err
		}
		if len(newest) > 0 {
			after = newest[0].Seq
		}
		if ack {
			missed, err := c.Messages(ctx, client.Filter{NotHandedOut: true})
			if err != nil {
				return err
			}
			for _, m := range missed {
				if m.Seq <= after {
					if err := show(m); err != nil {
						return err
					}
				}
			}
		}
	}
	a.Start(ctx, c)
	a.NoteOffline(ctx, c)
	err = a.follow(ctx, c, events, client.Filter{After: after}, show)
	if ctx.Err() != nil {
		return nil // Ctrl-C is how listening ends
	}
	return err
}

// follow calls show for every message that f selects, now and as they come, until ctx ends.
func (a *app) follow(ctx context.Context, c *client.Client, events *client.Subscription, f client.Filter,
	show func(client.Message) error) error {
	for {
		found, err := c.Messages(ctx, f)
		if err != nil {
			return err
		}
		for _, m := range found {
			if err := show(m); err != nil {
				return err
			}
			f.After = m.Seq
		}
		if err := nextMessage(ctx, c, events); err != nil {
			return err
		}
	}
}

// placeOf returns where a message stands.
func (a *app) placeOf(m client.Message) view.Place {
	id, err := ident.ParseGroupID(m.Conversation)
	if err != nil || a.Client == nil {
		return view.Place{}
	}
	p := a.groups.Of(context.Background(), a.Client, id)
	p.Hidden = a.oneGroup
	return p
}
