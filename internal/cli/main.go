package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// help shows examples first: most readers look for a line to copy.
const help = `{{with (or .Long .Short)}}{{. | trimTrailingWhitespaces}}
{{end}}{{if .HasExample}}
Examples:
{{.Example | trimTrailingWhitespaces}}
{{end}}
Usage:{{if .Runnable}}
  {{.UseLine}}{{end}}{{if .HasAvailableSubCommands}}
  {{.CommandPath}} COMMAND{{end}}
{{if .HasAvailableSubCommands}}{{$cmds := .Commands}}{{if eq (len .Groups) 0}}
Commands:{{range $cmds}}{{if (or .IsAvailableCommand (eq .Name "help"))}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}
{{else}}{{range $group := .Groups}}
{{.Title}}{{range $cmds}}{{if (and (eq .GroupID $group.ID) (or .IsAvailableCommand (eq .Name "help")))}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}
{{end}}{{if not .AllChildCommandsHaveGroup}}
More:{{range $cmds}}{{if (and (eq .GroupID "") (or .IsAvailableCommand (eq .Name "help")))}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}
{{end}}{{end}}{{end}}{{if .HasAvailableLocalFlags}}
Flags:
{{.LocalFlags.FlagUsages | trimTrailingWhitespaces}}
{{end}}{{if .HasAvailableInheritedFlags}}
Global flags:
{{.InheritedFlags.FlagUsages | trimTrailingWhitespaces}}
{{end}}{{if .HasAvailableSubCommands}}
Run "{{.CommandPath}} COMMAND --help" for more about a command.
{{end}}`

// Main runs the tree with args (without the program's name), reports what failed on stderr and returns the
// exit code. Whatever fails before a command's own RunE (flags, arguments, unknown verbs) is a usage error.
func Main(ctx context.Context, root *cobra.Command, args []string, stdin io.Reader, stdout,
	stderr io.Writer) int {
	ran := false
	root.SilenceErrors, root.SilenceUsage = true, true
	root.SetHelpTemplate(help)
	root.SetUsageTemplate(help)
	root.CompletionOptions.HiddenDefaultCmd = false
	prepare(root, &ran)
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err != nil && !ran {
		if _, ok := err.(*Error); !ok {
			err = usageOf(root, args, err)
		}
	}
	return Report(stderr, slices.Contains(args, "--json"), err)
}

func usageOf(root *cobra.Command, args []string, err error) *Error {
	text, _, _ := strings.Cut(err.Error(), "\n")
	cmd, _, findErr := root.Find(args)
	if findErr != nil || cmd == nil {
		cmd = root
	}
	e := Usage("%s", text)
	e.Try = []string{cmd.CommandPath() + " --help"}
	return e
}

// prepare makes bare nouns print help, mistyped verbs get suggestions, and marks when a command's own code
// began.
func prepare(c *cobra.Command, ran *bool) {
	if c.HasSubCommands() && c.Run == nil && c.RunE == nil {
		c.Args = cobra.ArbitraryArgs
		c.RunE = func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return unknownVerb(cmd, args[0])
		}
	} else if run := c.RunE; run != nil {
		c.RunE = func(cmd *cobra.Command, args []string) error {
			*ran = true
			return run(cmd, args)
		}
	}
	c.DisableFlagsInUseLine = true
	for _, sub := range c.Commands() {
		prepare(sub, ran)
	}
}

func unknownVerb(cmd *cobra.Command, name string) *Error {
	e := Usage("unknown command %q for %q", name, cmd.CommandPath())
	if cmd.SuggestionsMinimumDistance <= 0 {
		cmd.SuggestionsMinimumDistance = 2
	}
	for _, s := range cmd.SuggestionsFor(name) {
		e.Try = append(e.Try, cmd.CommandPath()+" "+s)
	}
	if len(e.Try) == 0 {
		e.Try = []string{cmd.CommandPath() + " --help"}
	}
	return e
}

// Version is what the binary says of itself.
type Version struct {
	Version string `json:"version"`
	Commit  string `json:"commit,omitempty"`
	Go      string `json:"go"`
}

// ReadVersion returns the version that the build recorded.
func ReadVersion() Version {
	v := Version{Version: "dev"}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	v.Go = info.GoVersion
	if m := info.Main.Version; m != "" && m != "(devel)" {
		v.Version = m
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			v.Commit = s.Value[:12]
		}
	}
	return v
}

// VersionCommand returns the verb "version". The flag --json is the caller's persistent one.
func VersionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := ReadVersion()
			if asJSON, _ := cmd.Flags().GetBool("json"); asJSON {
				return WriteJSON(cmd.OutOrStdout(), "version", v)
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s %s %s\n", cmd.Root().Name(), v.Version, v.Go)
			return err
		},
	}
}

// ManCommand returns the verb "man DIR", which writes a man page of section per command of the tree.
func ManCommand(section string) *cobra.Command {
	return &cobra.Command{
		Use:   "man DIR",
		Short: "Write the man pages into a directory",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return Fail("write man pages", err)
			}
			root := cmd.Root()
			root.DisableAutoGenTag = true
			header := &doc.GenManHeader{Section: section, Source: "Starling", Manual: "Starling"}
			if err := doc.GenManTree(root, header, args[0]); err != nil {
				return Fail("write man pages", err)
			}
			pages, _ := filepath.Glob(filepath.Join(args[0], "*."+section))
			fmt.Fprintf(cmd.ErrOrStderr(), "%d pages in %s\n", len(pages), args[0])
			return nil
		},
	}
}
