package view

import (
	"fmt"
	"io"
	"strings"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/render"
)

// WriteNetStatus prints the size of the cluster, the circuits and the clock.
func WriteNetStatus(w io.Writer, st render.Style, n client.NetStatus) {
	fmt.Fprintf(w, "%d nodes, %d swarms, directory version %d, clock off by %s\n\n", n.Nodes, n.Swarms,
		n.Version, render.Seconds(n.ClockSkew.Abs()))
	t := render.NewTable("CIRCUIT", "GUARD", "MIDDLE", "EXIT", "AGE", "ROUND TRIP")
	for _, c := range n.Circuits {
		rtt := "-" // nothing has come back yet
		if c.RTT > 0 {
			rtt = render.Seconds(c.RTT)
		}
		t.Row(c.Purpose, c.Path[0].Short(), c.Path[1].Short(), c.Path[2].Short(), render.Seconds(c.Age), rtt)
	}
	t.Write(w)
	writeNotes(w, st, n.Notes)
}

// WritePaths prints the relays of each circuit.
func WritePaths(w io.Writer, st render.Style, n client.NetStatus) {
	for _, c := range n.Circuits {
		fmt.Fprintf(w, "%s %s\n", st.Dim(fmt.Sprintf("%-6s", c.Purpose)),
			strings.Join([]string{"you", arrowPath(c.Path), "storage node"}, " → "))
	}
	writeNotes(w, st, n.Notes)
}

func writeNotes(w io.Writer, st render.Style, notes []string) {
	for _, note := range notes {
		fmt.Fprintln(w, st.Yellow("! ")+render.Printable(note))
	}
}
