package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/starling-swarm/starling/client"
)

type netStatusDoc struct {
	Nodes       int          `json:"nodes"`
	Swarms      int          `json:"swarms"`
	Version     uint64       `json:"version"`
	Circuits    []circuitDoc `json:"circuits"`
	ClockSkewMS int64        `json:"clock_skew_ms"`
	Notes       []string     `json:"notes"`
}

type circuitDoc struct {
	Purpose string   `json:"purpose"`
	Path    []string `json:"path"`
	AgeMS   int64    `json:"age_ms"`
	RTTMS   float64  `json:"rtt_ms"`
}

func netOf(n client.NetStatus) netStatusDoc {
	doc := netStatusDoc{n.Nodes, n.Swarms, n.Version, []circuitDoc{}, n.ClockSkew.Milliseconds(), []string{}}
	for _, c := range n.Circuits {
		doc.Circuits = append(doc.Circuits, circuitDoc{c.Purpose, pathIDs(c.Path), c.Age.Milliseconds(), float64(c.RTT.Microseconds()) / 1000})
	}
	doc.Notes = append(doc.Notes, n.Notes...)
	return doc
}

func (a *app) netCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "net",
		Short:   "The cluster as this client sees it",
		GroupID: "network",
		Example: `  sessionctl net status
  sessionctl net path`,
	}
	verb := func(use, short string, human func(w io.Writer, st style, n client.NetStatus)) *cobra.Command {
		return &cobra.Command{
			Use: use, Short: short, Example: "  sessionctl net " + use + " --json", Args: exactly(),
			RunE: func(cmd *cobra.Command, _ []string) error {
				c, err := a.online(cmd.Context())
				if err != nil {
					return err
				}
				ctx, cancel := a.deadline(cmd, defaultTimeout)
				defer cancel()
				if err := a.waitOnline(ctx, c); err != nil {
					return err
				}
				n := c.Net()
				return a.answer("net.status", netOf(n), func(w io.Writer, st style) { human(w, st, n) })
			},
		}
	}
	c.AddCommand(
		verb("status", "Nodes, swarms, circuits and the clock", writeNet),
		verb("path", "The three relays of each circuit, and why rules were relaxed", writePaths),
	)
	return c
}

// waitOnline returns once the inbox subscription is live.
func (a *app) waitOnline(ctx context.Context, c *client.Client) error {
	stop := a.waiting("connecting")
	defer stop()
	return a.unreachable("connect", c.WaitOnline(ctx))
}

func writeNet(w io.Writer, st style, n client.NetStatus) {
	fmt.Fprintf(w, "%d nodes, %d swarms, directory version %d, clock off by %s\n\n", n.Nodes, n.Swarms, n.Version, seconds(n.ClockSkew.Abs()))
	t := newTable("CIRCUIT", "GUARD", "MIDDLE", "EXIT", "AGE", "ROUND TRIP")
	for _, c := range n.Circuits {
		rtt := "-" // nothing has come back yet
		if c.RTT > 0 {
			rtt = seconds(c.RTT)
		}
		t.row(c.Purpose, c.Path[0].Short(), c.Path[1].Short(), c.Path[2].Short(), seconds(c.Age), rtt)
	}
	t.write(w)
	writeNotes(w, st, n.Notes)
}

func writePaths(w io.Writer, st style, n client.NetStatus) {
	for _, c := range n.Circuits {
		fmt.Fprintf(w, "%s %s\n", st.dim(fmt.Sprintf("%-6s", c.Purpose)), strings.Join([]string{"you", arrowPath(c.Path), "storage node"}, " → "))
	}
	writeNotes(w, st, n.Notes)
}

func writeNotes(w io.Writer, st style, notes []string) {
	for _, note := range notes {
		fmt.Fprintln(w, st.yellow("! ")+printable(note))
	}
}
