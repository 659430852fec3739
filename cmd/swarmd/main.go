// Command swarmd runs a node of a Starling cluster, and holds the operator's verbs: make a cluster, run one
// in a process to try it, watch it. See swarmd --help.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/starling-swarm/starling/internal/cli"
)

func main() {
	os.Exit(run(os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr))
}

// run is the whole command. SIGINT and SIGTERM end the context; a second one ends the process at once.
func run(args, environ []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	return cli.Main(ctx, newRoot(environ), args, stdin, stdout, stderr)
}
