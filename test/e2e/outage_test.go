package e2e

import (
	"strings"
	"testing"
)

// TestSendOutlastsAnOutageInProcesses: with every node dead a message stays queued and the command says so;
// one that was given time sends it when the nodes are back.
func TestSendOutlastsAnOutageInProcesses(t *testing.T) {
	if testing.Short() {
		t.Skip("starts five processes; run without -short")
	}
	t.Parallel()
	s := new(procs)
	s.Start(t)
	home := t.TempDir()
	at := func(name string) *device {
		return &device{t: t, bin: binary(t, "sessionctl"), home: home, cluster: s.ClusterFile(), name: name}
	}
	alice, bob := at("alice"), at("bob")
	alice.do("wait", "cluster", "--timeout", "1m")
	alice.do("init", "--name", "Alice")
	bobID := bob.do("init", "--name", "Bob").text("account_id")
	for i := range nodes {
		s.Crash(t, i)
	}
	const id = "6f1c2c58-8a7c-4a62-9f0e-0d1f6f3a9b11"
	code, _, errs := alice.try("send", bobID, "into the dark", "--id", id)
	if code != 3 || !strings.Contains(errs, "queued, not sent yet") ||
		!strings.Contains(errs, "no node of cluster") {
		t.Fatalf("send without a cluster: got exit code %d, want 3, queued: %s", code, errs)
	}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		code, docs, errs := alice.try("send", bobID, "into the dark", "--id", id, "--timeout",
			patience.String())
		if code != 0 || len(docs) != 1 || docs[0].text("status") == "queued" {
			t.Errorf("send with time: got exit code %d, %v, want 0, stored: %s", code, docs, errs)
		}
	}()
	for i := range nodes {
		s.run(t, i)
	}
	for i := range nodes {
		s.ready(t, i)
	}
	<-sent
	wantEach(t, []*device{bob}, "into the dark")
}
