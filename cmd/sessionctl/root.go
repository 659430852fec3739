package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/refs"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/session"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/terminal"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/view"
	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/clictx"
)

// app is one run of the command: where it talks to people and scripts, and the profile that a verb works on.
type app struct {
	*terminal.Terminal
	*session.Session

	verbose bool
	timeout time.Duration // as the flag says; Session.Timeout is zero unless the user gave it

	groups   view.Places // what the groups of printed messages are called
	oneGroup bool        // all messages that are printed are of one conversation
	alerts   view.Alerts // what the user is told of events
}

func newApp(stdin io.Reader, stdout, stderr io.Writer) *app {
	a := &app{Terminal: &terminal.Terminal{In: stdin, Out: stdout, Err: stderr}, Session: &session.Session{}}
	a.Report = a.Terminal
	a.OnEvent = func(ctx context.Context, c *client.Client, e client.Event) {
		if text := a.alerts.Text(ctx, c, e); text != "" {
			a.Warn("%s", text)
		}
	}
	return a
}

// The groups of the command overview, in the order in which a new user meets them.
var commandGroups = []*cobra.Group{
	{ID: "start", Title: "Start:"},
	{ID: "talk", Title: "Talk:"},
	{ID: "people", Title: "People:"},
	{ID: "account", Title: "Account and devices:"},
	{ID: "network", Title: "Network:"},
	{ID: "test", Title: "Test:"},
	{ID: "help", Title: "Help:"},
}

func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "sessionctl",
		Short: "Private messages through a cluster of your own",
		Long: `sessionctl sends and receives private messages through a Starling cluster.

An account lives in a profile (-p NAME) and is known by its account ID, which begins with 05. Nodes never see
account IDs or contents: every request travels through three relays.`,
		Example: `  sessionctl demo                                # a whole cluster and three people, here and now
  sessionctl -p alice init --name Alice          # make an account
  sessionctl -p alice send 05... "hello"         # write to somebody
  sessionctl -p bob receive                      # wait for a message
  sessionctl -p alice log bob -n 20              # what was said`,
	}
	f := root.PersistentFlags()
	f.StringVarP(&a.Profile, "profile", "p", "default", "`NAME` of the profile (one account on this machine)")
	f.StringVar(&a.Home, "home", "",
		"`DIR` of all profiles and contexts (env SESSIONCTL_HOME; default "+"the XDG data directory)")
	f.StringVar(&a.Cluster, "cluster", "",
		"cluster: a `FILE`, a link or a context (env SESSIONCTL_CLUSTER; default the current context)")
	f.BoolVar(&a.JSON, "json", false, "print JSON: one document, or one line per item")
	f.BoolVarP(&a.Quiet, "quiet", "q", false, "print only the answer")
	f.BoolVarP(&a.verbose, "verbose", "v", false, "log what the client does on stderr")
	f.BoolVar(&a.NoInput, "no-input", false, "never ask; fail instead")
	f.BoolVarP(&a.Yes, "yes", "y", false, "answer yes to questions")
	f.DurationVar(&a.timeout, "timeout", session.DefaultTimeout,
		"how long to wait, and to try an unreachable cluster, before giving up with exit code 6")
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		if cmd.Flags().Changed("timeout") {
			a.Timeout = a.timeout
		}
		return a.settle()
	}
	root.AddGroup(commandGroups...)
	for _, c := range []*cobra.Command{
		a.initCommand(), a.restoreCommand(), a.demoCommand(),
		a.sendCommand(), a.receiveCommand(), a.listenCommand(), a.logCommand(), a.convCommand(),
		a.groupCommand(),
		a.readCommand(), a.reactCommand(), a.unreactCommand(), a.editCommand(), a.deleteCommand(),
		a.typingCommand(),
		a.contactCommand(), a.requestCommand(), a.blockCommand(), a.unblockCommand(),
		a.accountCommand(), a.deviceCommand(), a.recoveryCommand(), a.settingsCommand(), a.syncCommand(),
		a.profileCommand(),
		a.netCommand(), a.contextCommand(), a.waitCommand(),
		a.benchCommand(), a.e2eCommand(),
	} {
		root.AddCommand(c)
	}
	root.SetHelpCommand(a.helpCommand())
	root.SetHelpCommandGroupID("help")
	root.SetCompletionCommandGroupID("help")
	for _, c := range []*cobra.Command{cli.ManCommand("1"), cli.VersionCommand(), a.licensesCommand()} {
		c.GroupID = "help"
		root.AddCommand(c)
	}
	_ = root.RegisterFlagCompletionFunc("profile", a.completeProfiles)
	_ = root.RegisterFlagCompletionFunc("cluster", a.completeContexts)
	return root
}

// settle fills in what the environment says where no flag does.
func (a *app) settle() error {
	if a.Home == "" {
		a.Home = os.Getenv("SESSIONCTL_HOME")
	}
	if a.Home == "" {
		a.Home = clictx.DefaultHome()
	}
	if a.Cluster == "" {
		a.Cluster = os.Getenv("SESSIONCTL_CLUSTER")
	}
	if !session.ValidProfile(a.Profile) {
		return cli.Usage("profile %q: want 1 to 64 letters, digits, dots, hyphens and underscores", a.Profile)
	}
	if a.timeout <= 0 {
		return cli.Usage("--timeout %s: want more than nothing", a.timeout)
	}
	if a.verbose {
		a.Logger = slog.New(slog.NewTextHandler(a.Err, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	a.alerts.Self = a.Self()
	return nil
}

// find is how verbs find what the user typed for people, groups, devices and messages.
func (a *app) find(c *client.Client) refs.Finder { return refs.Finder{Client: c, Self: a.Self()} }
