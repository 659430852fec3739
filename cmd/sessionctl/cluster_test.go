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
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sync/errgroup"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/session"
	"github.com/starling-swarm/starling/internal/node"
)

// patience bounds every wait of these tests; none of them asserts a time.
const patience = time.Minute

// shared is the one cluster of this test binary: started by the first test that needs it, stopped after the
// last.
var shared struct {
	once    sync.Once
	dir     string
	file    string
	cluster *node.Embedded
	err     error
}

func startShared() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if shared.dir, shared.err = os.MkdirTemp("", "sessionctl-test-"); shared.err != nil {
		return
	}
	shared.cluster, shared.err = node.StartEmbedded(ctx, node.EmbeddedConfig{Name: "test", NoOps: true})
	if shared.err != nil {
		return
	}
	body, err := shared.cluster.ClusterFile().Encode()
	if err == nil {
		shared.file = filepath.Join(shared.dir, "cluster.json")
		err = os.WriteFile(shared.file, body, 0o644)
	}
	shared.err = err
}

// testCluster returns the path of the shared cluster's file. Tests on it make accounts of their own and run
// side by side, since most of their time they wait. A test calls it once, first of all.
func testCluster(t *testing.T) string {
	t.Helper()
	t.Parallel()
	shared.once.Do(startShared)
	if shared.err != nil {
		t.Fatalf("start cluster: %v", shared.err)
	}
	return shared.file
}

func stopShared() {
	if shared.cluster != nil {
		_ = shared.cluster.Close()
	}
	_ = os.RemoveAll(shared.dir)
}

// TestOnCluster runs the scripts that talk to a cluster.
func TestOnCluster(t *testing.T) {
	file := testCluster(t)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/cluster",
		RequireExplicitExec: true,
		Cmds:                commands,
		Setup: func(env *testscript.Env) error {
			if err := setup(env); err != nil {
				return err
			}
			env.Setenv("SESSIONCTL_CLUSTER", file)
			return nil
		},
	})
}

// shell is a place to type commands: a home with profiles, on the shared cluster.
type shell struct {
	t    *testing.T
	home string
	file string
}

func newShell(t *testing.T) *shell {
	return &shell{t: t, file: testCluster(t), home: t.TempDir()}
}

// try runs a command and returns its exit code and outputs.
func (term *shell) try(args ...string) (code int, stdout, stderr string) {
	term.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var out, errs bytes.Buffer
	code = run(ctx, term.args(args), strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}

func (term *shell) args(args []string) []string {
	return append([]string{"--json", "--home", term.home, "--cluster", term.file}, args...)
}

// do runs a command that must succeed and returns its last JSON document.
func (term *shell) do(args ...string) map[string]any {
	term.t.Helper()
	code, out, errs := term.try(args...)
	if code != 0 {
		term.t.Fatalf("sessionctl %s: got exit code %d, want 0; stderr: %s", strings.Join(args, " "), code,
			errs)
	}
	docs := strings.Split(strings.TrimSpace(out), "\n")
	var doc map[string]any
	if err := json.Unmarshal([]byte(docs[len(docs)-1]), &doc); err != nil {
		term.t.Fatalf("sessionctl %s: %v in %q", strings.Join(args, " "), err, out)
	}
	return doc
}

// restoring is a restore that runs in the background.
type restoring struct {
	code chan string // what the new device shows
	done chan map[string]any
	exit int
}

func (term *shell) restore(ctx context.Context, phrase string, args ...string) *restoring {
	r := &restoring{code: make(chan string, 1), done: make(chan map[string]any, 1)}
	reader, writer := io.Pipe()
	go func() {
		for lines := bufio.NewScanner(reader); lines.Scan(); {
			var doc struct{ Kind, Code string }
			if json.Unmarshal(lines.Bytes(), &doc) == nil && doc.Kind == "restore.pending" {
				r.code <- doc.Code
			}
		}
	}()
	go func() {
		var out bytes.Buffer
		r.exit = run(ctx, term.args(append(args, "restore", "--words-file", "-")), strings.NewReader(phrase),
			&out,
			writer)
		writer.Close()
		var doc map[string]any
		_ = json.Unmarshal(out.Bytes(), &doc)
		r.done <- doc
	}()
	return r
}

func await[T any](t *testing.T, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("%s did not happen", what)
		panic("unreachable")
	}
}

func TestRestoreWithApprovalBringsContactsAndNewMail(t *testing.T) {
	term := newShell(t)
	alice := term.do("-p", "phone", "init", "--name", "Alice")
	bob := term.do("-p", "bob", "init", "--name", "Bob")
	term.do("-p", "phone", "contact", "add", bob["account_id"].(string), "--nick", "bobby")

	r := term.restore(t.Context(), alice["recovery_phrase"].(string), "-p", "laptop")
	code := await(t, "the code", r.code)
	pending := term.do("-p", "phone", "device", "list")["pending"].([]any)
	if len(pending) != 1 || pending[0].(map[string]any)["code"] != code {
		t.Fatalf("pending: got %v, want one with code %s", pending, code)
	}
	if exit, _, _ := term.try("-p", "phone", "device", "approve", "ZZZZZZZZ"); exit != 8 {
		t.Errorf("approve of a wrong code: got exit code %d, want 8", exit)
	}
	term.do("-p", "phone", "device", "approve", code[:4]+"-"+strings.ToLower(code[4:]))
	restored := await(t, "the end of restore", r.done)
	if restored["account_id"] != alice["account_id"] || restored["recovered"] != false {
		t.Fatalf("restore: got %v, want account %v, not recovered", restored, alice["account_id"])
	}
	contacts := term.do("-p", "laptop", "contact", "list")["contacts"].([]any)
	if len(contacts) != 1 || contacts[0].(map[string]any)["nick"] != "bobby" {
		t.Errorf("contacts on the new device: got %v, want bobby", contacts)
	}
	term.do("-p", "bob", "send", alice["account_id"].(string), "to all your devices")
	for _, p := range []string{"phone", "laptop"} {
		if m := term.do("-p", p, "receive", "--timeout", "30s"); m["text"] != "to all your devices" {
			t.Errorf("%s: got %v, want Bob's message", p, m)
		}
	}
	if devices := term.do("-p", "phone", "device", "list")["devices"].([]any); len(devices) != 2 {
		t.Errorf("devices: got %d, want 2", len(devices))
	}
}

func TestRestoreNoWaitRecoversVisibly(t *testing.T) {
	term := newShell(t)
	alice := term.do("-p", "phone", "init", "--name", "Alice")
	bob := term.do("-p", "bob", "init", "--name", "Bob")
	term.do("-p", "phone", "send", bob["account_id"].(string), "before")
	term.do("-p", "bob", "receive")
	term.do("-p", "bob", "contact", "add", alice["account_id"].(string))

	words := filepath.Join(t.TempDir(), "words")
	if err := os.WriteFile(words, []byte(alice["recovery_phrase"].(string)), 0o600); err != nil {
		t.Fatal(err)
	}
	restored := term.do("-p", "new", "restore", "--words-file", words, "--no-wait", "--name", "Alice")
	if restored["account_id"] != alice["account_id"] || restored["recovered"] != true {
		t.Fatalf("restore: got %v, want account %v, recovered", restored, alice["account_id"])
	}
	term.do("-p", "bob", "send", alice["account_id"].(string), "who is there?")
	if m := term.do("-p", "new", "receive", "--timeout", "30s"); m["text"] != "who is there?" {
		t.Errorf("recovered device: got %v, want Bob's message", m)
	}
	recovered := 0
	for _, e := range term.do("-p", "new", "device", "list")["events"].([]any) {
		if e := e.(map[string]any); e["kind"] == "recovered" && e["by"] == nil {
			recovered++
		}
	}
	if recovered != 1 {
		t.Errorf("events of the recovered device: got %d recoveries by nobody, want 1", recovered)
	}
}

func TestSecondProcessOnOneProfileIsTurnedAway(t *testing.T) {
	term := newShell(t)
	term.do("-p", "alice", "init")
	c, err := client.Open(client.Config{Dir: filepath.Join(term.home, "profiles", "alice")})
	if err != nil {
		t.Fatalf("open profile: %v", err)
	}
	code, _, errs := term.try("-p", "alice", "account", "show")
	if code != 9 || !strings.Contains(errs, `"exit":9`) {
		t.Errorf("got exit code %d and %s, want 9", code, errs)
	}
	if err := c.Close(); err != nil {
		t.Fatalf("close profile: %v", err)
	}
	term.do("-p", "alice", "account", "show")
}

// writerFunc is an io.Writer.
type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

func TestListenShowsMessagesAsTheyCome(t *testing.T) {
	term := newShell(t)
	alice := term.do("-p", "alice", "init", "--name", "Alice")
	term.do("-p", "bob", "init", "--name", "Bob")
	ctx, stop := context.WithCancel(t.Context())
	reader, writer := io.Pipe()
	ended := make(chan int, 1)
	// Ctrl-C comes while the second message is printed: it is handed out all the same.
	out := writerFunc(func(b []byte) (int, error) {
		if bytes.Contains(b, []byte("two")) {
			stop()
		}
		return writer.Write(b)
	})
	go func() {
		ended <- run(ctx, term.args([]string{"-p", "alice", "listen", "--ack"}), strings.NewReader(""), out,
			io.Discard)
		writer.Close()
	}()
	texts := make(chan string, 4)
	go func() {
		for lines := bufio.NewScanner(reader); lines.Scan(); {
			var doc struct{ Text string }
			if json.Unmarshal(lines.Bytes(), &doc) == nil {
				texts <- doc.Text
			}
		}
	}()
	for _, text := range []string{"one", "two"} {
		term.do("-p", "bob", "send", alice["account_id"].(string), text)
		if got := await(t, "message "+text, texts); got != text {
			t.Errorf("got %q, want %q", got, text)
		}
	}
	if code := await(t, "the end of listen", ended); code != 0 {
		t.Errorf("listen after Ctrl-C: got exit code %d, want 0", code)
	}
	if code, _, _ := term.try("-p", "alice", "receive", "--timeout", "100ms"); code != 6 {
		t.Errorf("receive after listen --ack: got exit code %d, want 6", code)
	}
}

func TestSendWithoutClusterQueuesAndLeavesLater(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a cluster of its own; run without -short")
	}
	t.Parallel()
	const id = "00112233445566778899aabbccddeeff"
	c, err := node.StartEmbedded(t.Context(),
		node.EmbeddedConfig{Name: "dark", Nodes: 3, Dir: t.TempDir(), NoOps: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	term := &shell{t: t, home: t.TempDir(), file: c.ClusterFile().Link().String()}
	term.do("-p", "alice", "init", "--name", "Alice")
	bob := term.do("-p", "bob", "init", "--name", "Bob")
	term.do("context", "add", "dark", term.file)
	term.file = "dark"

	everyNode(t, c.Crash)
	var both sync.WaitGroup
	both.Go(func() {
		code, out, errs := term.try("-p", "alice", "send", bob["account_id"].(string), "later", "--id", id)
		if code != 3 || !strings.Contains(out, `"status":"queued"`) || !strings.Contains(out, id) {
			t.Errorf("send: got exit code %d, stdout %s, stderr %s; want 3 and status queued",
				code, out, errs)
		}
		if code, _, errs := term.try("-p", "alice", "log"); code != 0 ||
			!strings.Contains(errs, `"kind":"note"`) {
			t.Errorf("log while offline: got exit code %d and %s, want 0 and a note", code, errs)
		}
	})
	both.Go(func() {
		if code, _, _ := term.try("-p", "bob", "device", "approve", "AAAAAAAA"); code != 3 {
			t.Errorf("approve while offline: got exit code %d, want 3", code)
		}
		if code, _, _ := term.try("-p", "bob", "receive"); code != 3 {
			t.Errorf("receive while offline: got exit code %d, want 3", code)
		}
	})
	both.Wait()

	everyNode(t, func(i int) error { return c.Restart(t.Context(), i) })
	sent := term.do("-p", "alice", "send", bob["account_id"].(string), "later", "--id", id,
		"--timeout", "30s")
	if sent["status"] != "stored" && sent["status"] != "delivered" {
		t.Errorf("second send with the same id: got status %v, want stored", sent["status"])
	}
	if m := term.do("-p", "bob", "receive"); m["text"] != "later" || m["id"] != id {
		t.Errorf("got %v, want the queued message", m)
	}
	if code, _, _ := term.try("-p", "bob", "receive", "--timeout", "300ms"); code != 6 {
		t.Errorf("a second copy: got exit code %d, want 6 (none)", code)
	}
}

// everyNode does something to all three nodes at once.
func everyNode(t *testing.T, do func(i int) error) {
	t.Helper()
	var all errgroup.Group
	for i := range 3 {
		all.Go(func() error { return do(i) })
	}
	if err := all.Wait(); err != nil {
		t.Fatal(err)
	}
}

func TestClusterFollowsLink(t *testing.T) {
	term := newShell(t)
	cf, err := session.LoadCluster(t.Context(), "", term.file)
	if err != nil {
		t.Fatal(err)
	}
	term.file = cf.Link().String()
	if doc := term.do("wait", "cluster"); doc["cluster_id"] != cf.ID.String() {
		t.Errorf("got cluster %v, want %s", doc["cluster_id"], cf.ID)
	}
	term.do("context", "add", "linked", cf.Link().String())
	term.file = "linked"
	term.do("wait", "cluster")
}

func TestDemoLosesNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a cluster of its own; run without -short")
	}
	t.Parallel()
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"--json", "--home", t.TempDir(), "demo"}, strings.NewReader(""),
		&out,
		&errs); code != 0 {
		t.Fatalf("got exit code %d, want 0; stderr: %s; stdout: %s", code, errs.String(), out.String())
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if last := lines[len(lines)-1]; !strings.Contains(last, `"kind":"demo","lost":0,"doubled":0`) {
		t.Errorf("got %s, want nothing lost and nothing doubled", last)
	} else if !strings.Contains(last, "new keys after a removal") {
		t.Errorf("got %s, want the figures of a group as well", last)
	}
	for _, step := range []string{"group", "join", "remove", "out"} {
		if !strings.Contains(out.String(), `"step":"`+step+`"`) {
			t.Errorf("got no step %q, want it; stdout: %s", step, out.String())
		}
	}
}
