package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/clictx"
)

// devRun is a swarmd dev that has said that it is ready.
type devRun struct {
	ready  string
	cancel context.CancelFunc
	exit   chan int
	stderr *bytes.Buffer
}

func startDev(t *testing.T, home string, args ...string) *devRun {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	r, w := io.Pipe()
	d := &devRun{cancel: cancel, exit: make(chan int, 1), stderr: new(bytes.Buffer)}
	go func() {
		d.exit <- cli.Main(ctx, newRoot([]string{"SESSIONCTL_HOME=" + home}),
			append([]string{"dev", "--nodes", "3"}, args...), nil, w, d.stderr)
		w.Close()
	}()
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		t.Fatalf("no ready line: %v; stderr %s", err, d.stderr)
	}
	d.ready = line
	return d
}

// interrupt ends it as Ctrl-C does.
func (d *devRun) interrupt(t *testing.T) {
	t.Helper()
	d.cancel()
	if code := <-d.exit; code != 0 {
		t.Errorf("exit %d after Ctrl-C, want 0; stderr %s", code, d.stderr)
	}
}

func TestDevMakesAContextAndRemovesEverything(t *testing.T) {
	tmp, home := t.TempDir(), t.TempDir()
	t.Setenv("TMPDIR", tmp)
	if err := clictx.Add(home, "home", []byte("{}")); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "cluster.json")
	d := startDev(t, home, "--json", "--cluster-file", file)

	var ready struct {
		V     int
		Kind  string
		Nodes []struct {
			ID         string `json:"id"`
			ClientAddr string `json:"client_addr"`
			OpsAddr    string `json:"ops_addr"`
			PID        int    `json:"pid"`
		}
		ClusterFile string `json:"cluster_file"`
		Link        string
	}
	if err := json.Unmarshal([]byte(d.ready), &ready); err != nil {
		t.Fatal(err)
	}
	if ready.V != 1 || ready.Kind != "dev.ready" || len(ready.Nodes) != 3 || ready.ClusterFile != file ||
		!strings.HasPrefix(ready.Link, "starling:cluster/") {
		t.Errorf("got %s", d.ready)
	}
	for _, n := range ready.Nodes {
		if len(n.ID) != 64 || n.ClientAddr == "" || n.OpsAddr == "" || n.PID != os.Getpid() {
			t.Errorf("node %+v is not complete", n)
		}
	}
	path, err := clictx.Resolve(home, "")
	if err != nil || filepath.Base(path) != "dev.json" {
		t.Errorf("current context: got %q, %v; want dev", path, err)
	}
	want, _ := os.ReadFile(file)
	if got, _ := os.ReadFile(path); !bytes.Equal(got, want) || len(got) == 0 {
		t.Error("the context has another cluster file than --cluster-file")
	}

	var out, errs bytes.Buffer
	if code := cli.Main(t.Context(), newRoot(nil), []string{"health", "--ready", "--ops",
		ready.Nodes[0].OpsAddr}, nil, &out, &errs); code != 0 {
		t.Errorf("health: exit %d, %s", code, errs.String())
	}
	for _, args := range [][]string{
		{"status"}, {"node", "list"}, {"node", "show", ready.Nodes[1].ID[:10]}, {"swarm",
			"list"}, {"swarm", "show", "0"},
		{"status", "--json"}, {"node", "list", "--json"}, {"swarm", "show", "1", "--json"},
	} {
		out.Reset()
		if code := cli.Main(t.Context(), newRoot(nil), append(args, "--ops", ready.Nodes[0].OpsAddr), nil,
			&out, &errs); code != 0 || out.Len() == 0 {
			t.Errorf("%v: exit %d, %s", args, code, errs.String())
		}
	}
	if code := cli.Main(t.Context(), newRoot(nil), []string{"node", "show", "zz", "--ops",
		ready.Nodes[0].OpsAddr}, nil, &out, &errs); code != cli.ExitNotFound {
		t.Errorf("node show zz: exit %d, want %d", code, cli.ExitNotFound)
	}

	d.interrupt(t)
	if left, _ := os.ReadDir(tmp); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("the cluster file is still there")
	}
	c, err := clictx.Load(home)
	if err != nil || c.Current != "home" || len(c.Contexts) != 1 {
		t.Errorf("contexts after Ctrl-C: got %+v, %v; want home alone and current", c, err)
	}
}

func TestDevWithADataDirectoryGoesOn(t *testing.T) {
	if testing.Short() {
		t.Skip("starts two clusters")
	}
	home, data := t.TempDir(), t.TempDir()
	d := startDev(t, home, "--data-dir", data)
	if !strings.HasPrefix(d.ready, "ready: 3 nodes at 127.0.0.1:") {
		t.Errorf("got %q", d.ready)
	}
	d.interrupt(t)
	path, err := clictx.Resolve(home, "dev")
	if err != nil {
		t.Fatalf("context of a cluster that is kept: %v", err)
	}
	before, _ := os.ReadFile(path)
	startDev(t, home, "--data-dir", data).interrupt(t)
	if after, _ := os.ReadFile(path); !bytes.Equal(after, before) {
		t.Error("the second start made another cluster")
	}
}

func TestDevRefusesWhatCannotRun(t *testing.T) {
	for name, args := range map[string][]string{"two-nodes": {"--nodes", "2"}, "loss": {"--loss", "200%"}} {
		t.Run(name, func(t *testing.T) {
			var errs bytes.Buffer
			if code := cli.Main(t.Context(), newRoot(nil), append([]string{"dev"}, args...), nil, io.Discard,
				&errs); code != cli.ExitUsage {
				t.Errorf("got exit %d, want %d: %s", code, cli.ExitUsage, errs.String())
			}
		})
	}
}
