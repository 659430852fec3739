package main

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/refs"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/render"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/session"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/view"
	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/sessionapi"
)

type sendFlags struct {
	id     string
	reply  string
	wait   string
	expire string
}

func (a *app) sendCommand() *cobra.Command {
	var f sendFlags
	c := &cobra.Command{
		Use:   "send PEER... TEXT|-",
		Short: "Send a message and wait until the cluster has it on disk",
		Long: `send writes a message into the durable outbox and waits until a majority of the replicas has it on
disk.

PEER is a name from "contact list" or "group list" or a unique beginning of it, an ID (05..., of a group
03...), a share link, or "me". In a group, @name in TEXT mentions a member. TEXT "-" is stdin. Without a
connection the message stays queued (exit code 3) and leaves with the next command: that is said after a few
seconds, or with --timeout only when that is over. The same --id never sends twice.`,
		Example: `  sessionctl send bob "lunch?"
  uname -a | sessionctl send bob carol -
  sessionctl send bob "lunch?" --wait delivered --timeout 1m
  sessionctl send bob "yes" --reply last:bob
  sessionctl send team "@bob lunch?"`,
		GroupID: "talk",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return exactly("PEER", "TEXT")(cmd, args)
			}
			return nil
		},
		ValidArgsFunction: a.completePeers,
		RunE: func(cmd *cobra.Command, args []string) error {
			peers, text, err := a.sendArgs(args)
			if err != nil {
				return err
			}
			return a.send(cmd, peers, text, f)
		},
	}
	c.Flags().StringVar(&f.id, "id", "",
		"`UUID` of the message, chosen by you: sending it again does nothing")
	c.Flags().StringVar(&f.reply, "reply", "", "`MESSAGE` that this answers: an ID, last, or last:PEER")
	c.Flags().StringVar(&f.expire, "expire", "",
		"the message disappears after `D`, such as 1h or 1h:read; off: it stays")
	c.Flags().StringVar(&f.wait, "wait", "stored", "wait until `STATE`: stored, delivered or read")
	_ = c.RegisterFlagCompletionFunc("wait",
		cobra.FixedCompletions([]string{"stored", "delivered", "read"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

// sendArgs splits the arguments into peers and text. One argument alone is a peer whose text comes through a
// pipe.
func (a *app) sendArgs(args []string) (peers []string, text string, err error) {
	peers, text = args[:len(args)-1], args[len(args)-1]
	if len(args) == 1 {
		if render.IsTerminal(a.In) {
			e := cli.Usage("send %s: no text", args[0])
			e.Try = []string{"sessionctl send " + args[0] + ` "hello"`}
			return nil, "", e
		}
		peers, text = args, "-"
	}
	if text == "-" {
		b, err := io.ReadAll(io.LimitReader(a.In, client.MaxText+2))
		if err != nil {
			return nil, "", cli.Fail("read stdin", err)
		}
		text = strings.TrimSuffix(string(b), "\n")
	}
	switch {
	case text == "":
		return nil, "", cli.Usage("send: the text is empty")
	case len(text) > client.MaxText:
		e := cli.Fail("send", fault.New(fault.Invalid, "message", "longer than %d bytes", client.MaxText))
		return nil, "", e
	}
	return peers, text, nil
}

func (a *app) send(cmd *cobra.Command, peers []string, text string, f sendFlags) error {
	state, err := client.ParseState(f.wait)
	if err != nil || state < client.StateStored || state > client.StateRead {
		return cli.Usage("--wait %s: want stored, delivered or read", f.wait)
	}
	out := client.Outgoing{Text: text}
	if f.expire != "" {
		t, err := parseTimer(f.expire)
		if err != nil {
			return err
		}
		out.Expire = &t
	}
	if f.id != "" {
		if out.ID, err = ident.ParseMessageID(strings.ToLower(f.id)); err != nil {
			return cli.Usage("--id %s: want a UUID or 32 hexadecimal digits", f.id)
		}
		if len(peers) > 1 {
			return cli.Usage("--id names one message, but there are %d peers", len(peers))
		}
	}
	c, err := a.Online(cmd.Context())
	if err != nil {
		return err
	}
	ctx, cancel := a.Deadline(cmd.Context(), session.DefaultTimeout)
	defer cancel()
	if f.reply != "" {
		m, err := a.find(c).Message(ctx, f.reply)
		if err != nil {
			return err
		}
		out.ReplyTo = &m.ID
	}
	ids := make([]ident.Peer, len(peers))
	for i, p := range peers {
		if ids[i], err = a.find(c).Peer(ctx, p); err != nil {
			return err
		}
	}
	if err := onlyStored(ids, "--wait", state); err != nil {
		return err
	}
	return a.deliver(ctx, cmd, c, peers, ids, out, state)
}

// onlyStored refuses to wait for more than a group tells: nobody says there what has reached them.
func onlyStored(peers []ident.Peer, flag string, state client.State) error {
	for _, p := range peers {
		if _, ok := p.(ident.GroupID); ok && state > client.StateStored {
			return cli.Usage("%s %s: members of a group do not say what has reached them: want stored", flag,
				state)
		}
	}
	return nil
}

// mentioning returns out with whom its text names in a group.
func (a *app) mentioning(ctx context.Context, c *client.Client, to ident.Peer,
	out client.Outgoing) client.Outgoing {
	id, ok := to.(ident.GroupID)
	if !ok || !strings.Contains(out.Text, "@") {
		return out
	}
	var unclear []string
	out.Mentions, unclear = refs.Mentioned(out.Text, a.groups.Of(ctx, c, id).People)
	for _, name := range unclear {
		a.Warn("%s fits several members: nobody is mentioned by it", render.Printable(name))
	}
	return out
}

// deliver queues out for every peer first, so that nothing depends on who answers, and then waits for each.
func (a *app) deliver(ctx context.Context, cmd *cobra.Command, c *client.Client, names []string,
	ids []ident.Peer, out client.Outgoing, state client.State) error {
	var sent []client.Sent
	for i, id := range ids {
		s, err := c.Send(ctx, id, a.mentioning(ctx, c, id, out))
		if try := a.whenNoMember(id, names[i], err); try != nil {
			return cli.Fail("send to "+names[i], err, try...)
		}
		if err != nil {
			return a.Unreachable("send", err)
		}
		sent = append(sent, s)
	}
	var failed []error
	for i, s := range sent {
		r, err := a.awaitSent(ctx, c, ids[i], s, state)
		if err != nil {
			failed = append(failed, a.sendError(names[i], ids[i], state, r, err))
			local, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			if now, err := c.Receipt(local, s.ID); err == nil {
				r = now
			}
			cancel()
		}
		if r.State != client.StateReceived {
			if err := a.Answer("message.sent", sessionapi.SentOf(r),
				func(w io.Writer, st render.Style) { view.WriteSent(w, st, r, names[i]) }); err != nil {
				return err
			}
		}
	}
	if len(failed) < len(sent) {
		a.Linger(cmd.Context(), c)
	}
	return gather(failed, len(sent))
}

// awaitSent waits until a message has come as far as state. While an admin must let this account in, it waits
// for nothing.
func (a *app) awaitSent(ctx context.Context, c *client.Client, to ident.Peer, s client.Sent,
	state client.State) (client.Receipt, error) {
	if id, ok := to.(ident.GroupID); ok {
		if g, err := c.Group(id).Get(ctx); err == nil &&
			(g.Status == client.GroupWaiting || g.Status == client.GroupReturning) {
			return client.Receipt{}, cli.Fail("send to "+refs.GroupLabel(g)+
				": queued until an admin lets this account in",
				fault.New(fault.Unavailable, "", "%s", view.StatusWords(g.Status)),
				a.Self()+" group join "+render.Quote(refs.GroupArg(g))+" --wait joined --timeout 10m")
		}
	}
	stop := a.Waiting("sending")
	defer stop()
	return c.Wait(ctx, s.ID, state)
}

func (a *app) sendError(name string, to ident.Peer, state client.State, r client.Receipt, err error) error {
	var e *cli.Error
	switch {
	case errors.As(err, &e):
		return err
	case errors.Is(err, context.DeadlineExceeded) && r.State >= client.StateStored:
		return &cli.Error{What: "send to " + name + ": stored, but not " + state.String() + " in time",
			Cause: err,
			Try:   []string{a.Self() + " wait message " + r.ID.Short() + " --for " + state.String()}}
	case errors.Is(err, context.Canceled):
		return cli.Fail("send to "+name+": queued, not sent yet", err, a.WhyUnreachable()...)
	case errors.Is(err, fault.Unavailable), errors.Is(err, context.DeadlineExceeded):
		// It leaves with the next command that gets through; whose patience ended is no difference to a
		// script.
		return &cli.Error{What: "send to " + name + ": queued, not sent yet", Cause: err,
			Exit: cli.ExitNetwork,
			Try:  a.WhyUnreachable()}
	case errors.Is(err, fault.NotFound):
		return cli.Fail("send to "+name+": no such account in this cluster", err)
	}
	return cli.Fail("send to "+name, err, a.whenNoMember(to, name, err)...)
}

// whenNoMember says what to type when a group refuses this account; nothing for any other error.
func (a *app) whenNoMember(to ident.Peer, name string, err error) []string {
	if _, group := to.(ident.GroupID); !group || !errors.Is(err, fault.Denied) || a.WhenRemoved() != nil {
		return nil
	}
	return []string{a.Self() + " group show " + render.Quote(name) + "   # what this account is to it"}
}

// gather turns the failures of several items into one error: partly done if some went through.
func gather(failed []error, of int) error {
	switch {
	case len(failed) == 0:
		return nil
	case len(failed) == of && of == 1:
		return failed[0]
	case len(failed) == of:
		return failed[0]
	}
	e := cli.Describe(failed[0])
	return &cli.Error{What: "partly done", Cause: errors.Join(failed...), Code: e.Code, Try: e.Try,
		Exit: cli.ExitPartly}
}
