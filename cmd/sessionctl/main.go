// Command sessionctl is how people, scripts and bots use Starling: one account per profile, as many profiles
// side by side as wanted, every verb with --json.
//
// main only turns the outcome into an exit code; run is the whole program as a function of its arguments and
// streams. Each noun of the command line has a file of its own, or several named after it. The verbs talk to
// the embedded client (package client). What is no verb lies below internal: how a profile is opened
// (session), how people's words are understood (refs) and answered (view, terminal).
//
// The JSON fields (package sessionapi) and the exit codes (package cli) are a contract with people's scripts:
// names are added, never changed.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/fault"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends what the first one did not
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run executes one command line and returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) (code int) {
	a := newApp(stdin, stdout, stderr)
	defer func() {
		// A panic is our bug and must not look like wrong usage, which is what Go's own exit code 2 means
		// here.
		if p := recover(); p != nil {
			code = cli.Report(stderr, a.JSON, fault.New(fault.Internal, "sessionctl", "%v\n%s",
				p, debug.Stack()))
		}
	}()
	defer a.Close()
	return cli.Main(ctx, a.rootCommand(), args, stdin, stdout, stderr)
}
