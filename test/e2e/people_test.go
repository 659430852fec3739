package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// device is one installation: a profile of sessionctl.
type device struct {
	t       *testing.T
	bin     string
	home    string
	cluster string
	name    string
}

// document is a line of JSON that sessionctl printed.
type document map[string]any

func (d document) text(key string) string {
	s, _ := d[key].(string)
	return s
}

func (d document) list(key string) []document {
	var out []document
	items, _ := d[key].([]any)
	for _, i := range items {
		if m, ok := i.(map[string]any); ok {
			out = append(out, m)
		}
	}
	return out
}

func (d *device) command(ctx context.Context, stdin string, args ...string) *exec.Cmd {
	all := append([]string{"--home", d.home, "--cluster", d.cluster, "-p", d.name, "--json"}, args...)
	cmd := exec.CommandContext(ctx, d.bin, all...)
	cmd.Stdin = strings.NewReader(stdin)
	return cmd
}

// try runs a command to its end.
func (d *device) try(args ...string) (code int, docs []document, stderr string) {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience+time.Minute)
	defer cancel()
	cmd := d.command(ctx, "", args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	_ = cmd.Run()
	return cmd.ProcessState.ExitCode(), documents(d.t, out.Bytes()), errs.String()
}

func documents(t *testing.T, out []byte) (docs []document) {
	t.Helper()
	for _, l := range bytes.Split(bytes.TrimSpace(out), []byte("\n")) {
		if len(l) == 0 {
			continue
		}
		var doc document
		if err := json.Unmarshal(l, &doc); err != nil {
			t.Errorf("not a line of JSON: %v: %q", err, l)
			continue
		}
		docs = append(docs, doc)
	}
	return docs
}

// all runs a command that must succeed and returns what it printed.
func (d *device) all(args ...string) []document {
	d.t.Helper()
	code, docs, errs := d.try(args...)
	if code != 0 {
		d.t.Fatalf("%s: sessionctl %s: got exit code %d, want 0\n%s", d.name, strings.Join(args, " "), code,
			errs)
	}
	return docs
}

// do is all for commands that print one document.
func (d *device) do(args ...string) document {
	d.t.Helper()
	docs := d.all(args...)
	if len(docs) != 1 {
		d.t.Fatalf("%s: sessionctl %s: got %d documents, want 1", d.name, strings.Join(args, " "), len(docs))
	}
	return docs[0]
}

// send sends text and returns the acknowledgement, which names the path.
func (d *device) send(to, text string) document {
	d.t.Helper()
	sent := d.do("send", to, text, "--timeout", "90s")
	if s := sent.text("status"); s != "stored" && s != "delivered" {
		d.t.Fatalf("%s: send %q: got status %q, want stored", d.name, text, s)
	}
	return sent
}

// wantEach checks that each device, all at the same time, is handed out exactly these messages of others.
func wantEach(t *testing.T, devices []*device, want ...string) {
	t.Helper()
	codes, got, errs := make([]int, len(devices)), make([][]string, len(devices)), make([]string,
		len(devices))
	var all sync.WaitGroup
	for i, d := range devices {
		all.Go(func() {
			var docs []document
			codes[i], docs, errs[i] = d.try("receive", "--max", fmt.Sprint(len(want)), "--timeout", "90s")
			for _, m := range docs {
				got[i] = append(got[i], m.text("text"))
			}
		})
	}
	all.Wait()
	for i, d := range devices {
		if codes[i] != 0 || !slices.Equal(got[i], want) {
			t.Fatalf("%s: got exit code %d and %q, want 0 and %q; stderr: %s", d.name, codes[i],
				got[i], want, errs[i])
		}
	}
}

// nothingMore checks that no further message was handed out.
func (d *device) nothingMore() {
	d.t.Helper()
	if code, docs, _ := d.try("receive", "--timeout", "1s"); code != 6 || len(docs) > 0 {
		d.t.Errorf("%s: got exit code %d and %v, want 6 and no further message", d.name, code, docs)
	}
}

// texts returns the texts of a conversation as this device has it, oldest first, without what a group's log
// says.
func (d *device) texts(peer string) (texts []string) {
	d.t.Helper()
	for _, m := range d.all("log", peer, "-n", "1000") {
		if m["notice"] == nil {
			texts = append(texts, m.text("text"))
		}
	}
	return texts
}

// link restores the account of phrase on device d with the approval of another one.
func (d *device) link(phrase string, approver *device) document {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := d.command(ctx, phrase, "restore", "--words-file", "-")
	var out bytes.Buffer
	cmd.Stdout = &out
	stderr, err := cmd.StderrPipe()
	if err != nil {
		d.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	var code string
	var said strings.Builder
	lines := bufio.NewScanner(stderr)
	for code == "" && lines.Scan() {
		said.WriteString(lines.Text() + "\n")
		var doc document
		if json.Unmarshal(lines.Bytes(), &doc) == nil && doc.text("kind") == "restore.pending" {
			code = doc.text("code")
		}
	}
	if code == "" {
		_ = cmd.Wait()
		d.t.Fatalf("%s: restore showed no code:\n%s", d.name, said.String())
	}
	approver.do("device", "approve", code)
	rest, _ := io.ReadAll(stderr)
	if err := cmd.Wait(); err != nil {
		d.t.Fatalf("%s: restore: %v\n%s%s", d.name, err, said.String(), rest)
	}
	return documents(d.t, out.Bytes())[0]
}

func writeFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "words")
	if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
