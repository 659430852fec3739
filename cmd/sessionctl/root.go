package main

import (
	"context"
	"io"
	"os"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/clictx"
	"github.com/starling-swarm/starling/internal/ident"
)

// app is one run of the command: its streams, the global flags, and the profile that a verb has opened.
type app struct {
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
	flags  globalFlags

	places   map[ident.GroupID]place // what the groups of printed messages are called
	oneGroup bool                    // all messages that are printed are of one conversation
	told     sync.Map                // what the user was told of groups
	joining  bool                    // the command answers why a group cannot be joined

	patience time.Duration // with a cluster that is silent; 0: the client's own

	client  *client.Client
	stopRun context.CancelFunc
	ran     chan error // receives the end of client.Run
}

type globalFlags struct {
	profile string
	home    string
	cluster string
	json    bool
	quiet   bool
	verbose bool
	noInput bool
	yes     bool
	timeout time.Duration
}

// defaultTimeout bounds what a verb waits for, unless --timeout says otherwise or the verb has a longer one of its own.
const defaultTimeout = 15 * time.Second

// patienceBeyond makes the deadline, and not the client's patience with a silent cluster, end a wait whose length the user
// chose.
const patienceBeyond = time.Minute

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
	f.StringVarP(&a.flags.profile, "profile", "p", "default", "`NAME` of the profile (one account on this machine)")
	f.StringVar(&a.flags.home, "home", "", "`DIR` of all profiles and contexts (env SESSIONCTL_HOME; default "+"the XDG data directory)")
	f.StringVar(&a.flags.cluster, "cluster", "", "cluster: a `FILE`, a link or a context (env SESSIONCTL_CLUSTER; default the current context)")
	f.BoolVar(&a.flags.json, "json", false, "print JSON: one document, or one line per item")
	f.BoolVarP(&a.flags.quiet, "quiet", "q", false, "print only the answer")
	f.BoolVarP(&a.flags.verbose, "verbose", "v", false, "log what the client does on stderr")
	f.BoolVar(&a.flags.noInput, "no-input", false, "never ask; fail instead")
	f.BoolVarP(&a.flags.yes, "yes", "y", false, "answer yes to questions")
	f.DurationVar(&a.flags.timeout, "timeout", defaultTimeout, "how long to wait, and to try an unreachable cluster, before giving up with exit code 6")
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		if cmd.Flags().Changed("timeout") {
			a.patience = a.flags.timeout + patienceBeyond
		}
		return a.settle()
	}
	root.AddGroup(commandGroups...)
	for _, c := range []*cobra.Command{
		a.initCommand(), a.restoreCommand(), a.demoCommand(),
		a.sendCommand(), a.receiveCommand(), a.listenCommand(), a.logCommand(), a.convCommand(), a.groupCommand(),
		a.readCommand(), a.reactCommand(), a.unreactCommand(), a.editCommand(), a.deleteCommand(), a.typingCommand(),
		a.contactCommand(), a.requestCommand(), a.blockCommand(), a.unblockCommand(),
		a.accountCommand(), a.deviceCommand(), a.recoveryCommand(), a.settingsCommand(), a.syncCommand(), a.profileCommand(),
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
	if a.flags.home == "" {
		a.flags.home = os.Getenv("SESSIONCTL_HOME")
	}
	if a.flags.home == "" {
		a.flags.home = clictx.DefaultHome()
	}
	if a.flags.cluster == "" {
		a.flags.cluster = os.Getenv("SESSIONCTL_CLUSTER")
	}
	if !validProfile.MatchString(a.flags.profile) {
		return cli.Usage("profile %q: want 1 to 64 letters, digits, dots, hyphens and underscores", a.flags.profile)
	}
	if a.flags.timeout <= 0 {
		return cli.Usage("--timeout %s: want more than nothing", a.flags.timeout)
	}
	return nil
}

// deadline returns ctx bounded by --timeout, or by the verb's own default when the user gave none.
func (a *app) deadline(cmd *cobra.Command, own time.Duration) (context.Context, context.CancelFunc) {
	d := own
	if cmd.Flags().Changed("timeout") {
		d = a.flags.timeout
	}
	return context.WithTimeout(cmd.Context(), d)
}
