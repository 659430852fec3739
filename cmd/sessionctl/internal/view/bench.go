package view

import (
	"fmt"
	"io"

	"github.com/starling-swarm/starling/cmd/sessionctl/internal/render"
	"github.com/starling-swarm/starling/internal/sessionapi"
)

// WriteDeliver prints how long messages took to an online recipient.
func WriteDeliver(w io.Writer, d sessionapi.BenchDeliver) {
	fmt.Fprintf(w, "deliver: %d messages of %d B through 3 relays, %s\n", d.N, d.Size, d.Cluster)
	t := render.NewTable("P50", "P90", "P99", "MAX", "MEAN")
	t.Row(render.Milliseconds(d.P50), render.Milliseconds(d.P90), render.Milliseconds(d.P99),
		render.Milliseconds(d.Max), render.Milliseconds(d.Mean))
	t.Write(w)
}

// WriteStore prints how many stores a second were acknowledged.
func WriteStore(w io.Writer, d sessionapi.BenchStore) {
	fmt.Fprintf(w, "store: bodies of %d B, acknowledged on disk by a majority, through 3 relays, %s\n",
		d.Size,
		d.Cluster)
	t := render.NewTable("CLIENTS", "STORES/S", "P50", "P99")
	for _, r := range d.Results {
		t.Row(fmt.Sprint(r.Clients), fmt.Sprintf("%.0f", r.PerSecond), fmt.Sprintf("%.1f ms", r.P50),
			fmt.Sprintf("%.1f ms", r.P99))
	}
	t.Write(w)
}

// WriteFailover prints how long people waited while a node was killed.
func WriteFailover(w io.Writer, d sessionapi.BenchFailover) {
	fmt.Fprintf(w, "failover: longest wait of a round in which a node is killed, embedded cluster of %d "+
		"nodes, %d rounds each\n", d.Nodes, d.Rounds)
	t := render.NewTable("KILLED", "LEADS", "STORED", "WORST", "PUSHED", "WORST")
	for _, r := range d.Results {
		t.Row(r.Role, fmt.Sprint(r.Leads), render.Milliseconds(r.Stored.Median),
			render.Milliseconds(r.Stored.Max),
			render.Milliseconds(r.Pushed.Median), render.Milliseconds(r.Pushed.Max))
	}
	t.Write(w)
}

// WriteGroupBench prints how long messages to a group took, and what a removal costs.
func WriteGroupBench(w io.Writer, d sessionapi.BenchGroup) {
	fmt.Fprintf(w, "group of form %s: %d members online, %d messages of %d B through 3 relays, %s\n", d.Form,
		d.Members, d.Messages, d.Size, d.Cluster)
	fmt.Fprintf(w, "  circuits of all %.1f s, filled by requests to join %.1f s, all devices in %.1f s\n\n",
		d.Circuits, d.Fill, d.Enter)
	t := render.NewTable("", "P50", "P99", "MAX")
	for _, r := range []struct {
		name string
		d    sessionapi.BenchSpread
	}{{"message opened by a member", d.Push}, {"message opened by all", d.All},
		{"new keys after a removal", d.Removal.Renewed}} {
		t.Row(r.name, render.Milliseconds(r.d.P50), render.Milliseconds(r.d.P99),
			render.Milliseconds(r.d.Max))
	}
	t.Write(w)
	fmt.Fprintf(w, "\nremoval: made in %s, stored in %s; the admin sends %d B, a member fetches a slot of "+
		"%d B and the commit of %d B\n", render.Milliseconds(d.Removal.Make),
		render.Milliseconds(d.Removal.Store),
		d.Removal.AdminBytes, d.Removal.SlotBytes, d.Removal.CommitBytes)
	fmt.Fprintf(w, "one by one to inboxes: %s each (%d measured), %s for all: %.1f times as long\n",
		render.Milliseconds(d.Pairwise.Each), d.Pairwise.Measured, render.Milliseconds(d.Pairwise.All),
		d.Pairwise.Ratio)
}

// WritePlays prints what came of scenarios.
func WritePlays(w io.Writer, st render.Style, doc sessionapi.ScenarioRun) {
	converged := func(p sessionapi.ScenarioPlay, v float64) string {
		if p.Changes == 0 {
			return "-"
		}
		return render.Milliseconds(v)
	}
	t := render.NewTable("SCENARIO", "DEVICES", "FAULT", "RESULT", "TIME", "CHANGES", "P50", "P95", "NOTE")
	for _, p := range doc.Plays {
		result, broken := "ok", "-"
		if !p.OK {
			result = "FAILED"
		}
		if p.Fault {
			broken = "leader killed"
		}
		t.Row(p.Scenario, fmt.Sprint(p.Devices), broken, result, render.Milliseconds(p.MS),
			fmt.Sprint(p.Changes),
			converged(p, p.P50), converged(p, p.P95), p.Note)
	}
	t.Write(w)
	fmt.Fprintf(w, "\n%d passed, %d failed, %s, seed %d\n", doc.Passed, doc.Failed, doc.Cluster, doc.Seed)
	if doc.Changes > 0 {
		fmt.Fprintf(w, "%d changes converged without faults: p50 %s, p95 %s\n", doc.Changes,
			st.Cyan(render.Milliseconds(doc.P50)), st.Cyan(render.Milliseconds(doc.P95)))
	}
}
