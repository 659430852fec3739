package client_test

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/devicesync/phrase"
	"github.com/starling-swarm/starling/internal/directory"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/private"
)

func TestSecondProcessFindsTheStoreBusy(t *testing.T) {
	alice, _ := create(t, shared(t), "Alice")
	if _, err := client.Open(alice.cfg); !client.IsBusy(err) {
		t.Errorf("second open: got %v, want busy", err)
	}
	if _, _, err := client.Create(patient(t), alice.cfg, "Eve"); !client.IsBusy(err) {
		t.Errorf("create over an open profile: got %v, want busy", err)
	}
	alice.stop()
	if _, _, err := client.Create(patient(t), alice.cfg, "Eve"); !errors.Is(err, fault.Exists) ||
		client.IsBusy(err) {
		t.Errorf("create over a profile: got %v, want exists", err)
	}
}

func TestOpenWithoutAProfileIsNotFound(t *testing.T) {
	cfg := config(t, shared(t), "x")
	if _, err := client.Open(cfg); !errors.Is(err, fault.NotFound) {
		t.Errorf("open nothing: got %v, want not found", err)
	}
}

// unreachable returns a cluster file whose nodes nobody runs.
func unreachable(t *testing.T) *directory.ClusterFile {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	cf := *shared(t).ClusterFile()
	cf.Bootstrap = []directory.Bootstrap{{NodeID: cf.Bootstrap[0].NodeID, ClientAddrs: []string{addr}}}
	return &cf
}

func TestUnreachableClusterLeavesNothingBehind(t *testing.T) {
	cfg := config(t, shared(t), "x")
	cfg.Cluster = unreachable(t)
	ctx, stop := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer stop()
	if _, _, err := client.Create(ctx, cfg, "Alice"); !errors.Is(err, fault.Unavailable) {
		t.Errorf("create: got %v, want unavailable", err)
	}
	if _, err := client.Open(cfg); !errors.Is(err, fault.NotFound) {
		t.Errorf("open after the failure: got %v, want not found", err)
	}
	entries, err := os.ReadDir(cfg.Dir)
	if err != nil || len(entries) > 1 || len(entries) == 1 && entries[0].Name() != "lock" {
		t.Errorf("left behind: %v, %v, want at most the lock", entries, err)
	}
}

func TestUnreachableClusterEndsTheWaitAndKeepsTheMessage(t *testing.T) {
	cluster := shared(t)
	bob, _ := create(t, cluster, "Bob")
	alice, _ := create(t, cluster, "Alice")
	alice.stop()
	// A profile whose newest directory is gone knows only the bootstrap nodes.
	if err := os.Remove(alice.cfg.Dir + "/network"); err != nil {
		t.Fatal(err)
	}
	away := config(t, cluster, "")
	away.Dir, away.Cluster = alice.cfg.Dir, unreachable(t)
	away.Impatient()
	c, err := client.Open(away)
	if err != nil {
		t.Fatal(err)
	}
	d := run(t, c, away)
	sent := d.send(t, bob.id(), "later")
	if r, err := d.Wait(patient(t), sent.ID, client.StateStored); !errors.Is(err, fault.Unavailable) ||
		r.State != client.StateQueued {
		t.Errorf("wait: got %+v, %v, want unavailable, queued", r, err)
	}
	if err := d.WaitOnline(patient(t)); !errors.Is(err, fault.Unavailable) {
		t.Errorf("wait online: got %v, want unavailable", err)
	}
	d.stop()
	alice = alice.reopen(t)
	bob.message(t, "later")
	if _, err := alice.Wait(patient(t), sent.ID, client.StateStored); err != nil {
		t.Errorf("wait once the cluster is there: %v", err)
	}
}

func TestProfileOfAnotherClusterIsDenied(t *testing.T) {
	alice, _ := create(t, shared(t), "Alice")
	alice.stop()
	cfg := alice.cfg
	other := *cfg.Cluster
	other.ID[0] ^= 1
	cfg.Cluster = &other
	if _, err := client.Open(cfg); !errors.Is(err, fault.Denied) {
		t.Errorf("open: got %v, want denied", err)
	}
	cfg.Cluster = nil // what the profile pinned
	c, err := client.Open(cfg)
	if err != nil {
		t.Fatalf("open with the pinned cluster: %v", err)
	}
	c.Close()
}

func TestWrongPhrasesAreExplained(t *testing.T) {
	cfg := config(t, shared(t), "x")
	_, words := create(t, shared(t), "Alice")
	list := strings.Fields(words)
	list[3] = "abandonn"
	_, _, err := client.Restore(patient(t), cfg, strings.Join(list, " "), client.RestoreOptions{})
	var word *phrase.WordError
	if !errors.As(err, &word) || word.Position != 4 {
		t.Errorf("wrong word: got %v, want position 4", err)
	}
	_, _, err = client.Restore(patient(t), cfg, phrase.Encode(private.KeyOf([32]byte{9})),
		client.RestoreOptions{})
	if !errors.Is(err, fault.NotFound) || !strings.Contains(err.Error(), cfg.Cluster.Name) {
		t.Errorf("phrase of nobody here: got %v, want not found, with the cluster's name", err)
	}
	if _, err := client.Open(cfg); !errors.Is(err, fault.NotFound) {
		t.Errorf("open after the failures: got %v, want not found", err)
	}
}

func TestRestoreGoesOnWithTheSameCode(t *testing.T) {
	cluster := shared(t)
	alice, words := create(t, cluster, "Alice")
	cfg := config(t, cluster, "alice-2")
	ctx, stop := context.WithCancel(patient(t))
	var first string
	_, _, err := client.Restore(ctx, cfg, words, client.RestoreOptions{OnPending: func(code string,
		_ ident.DeviceID) {
		first = code
		stop()
	}})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("interrupted restore: got %v", err)
	}
	if _, err := client.Open(cfg); !errors.Is(err, fault.NotFound) {
		t.Errorf("open an unfinished restore: got %v, want not found", err)
	}
	alice.next(t, "request", func(e client.Event) bool { return e.Kind == client.EventLink })
	// The approval comes while the new device is away.
	if _, err := alice.Approve(patient(t), strings.ToLower(first[:4])+" "+first[4:]); err != nil {
		t.Fatalf("approve: %v", err)
	}
	c, recovered, err := client.Restore(patient(t), cfg, words, client.RestoreOptions{})
	if err != nil || recovered {
		t.Fatalf("second restore: got recovered %v, %v", recovered, err)
	}
	second := run(t, c, cfg)
	alice.send(t, alice.id(), "welcome")
	second.message(t, "welcome")
}

func TestPeersAreFoundByNamePrefixIDAndLink(t *testing.T) {
	cluster := shared(t)
	alice, _ := create(t, cluster, "Alice")
	bob, _ := create(t, cluster, "Bob")
	barbara, _ := create(t, cluster, "Barbara")
	for nick, d := range map[string]*device{"bobby": bob, "barb": barbara} {
		if _, err := alice.AddContact(patient(t), d.id(), nick); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		in   string
		want ident.AccountID
		kind fault.Kind
	}{
		{in: "me", want: alice.id()},
		{in: "bobby", want: bob.id()},
		{in: "BOB", want: bob.id()},
		{in: "bar", want: barbara.id()},
		{in: bob.id().String(), want: bob.id()},
		{in: client.LinkOf(bob.id()), want: bob.id()},
		{in: "b", kind: fault.Invalid},
		{in: "carol", kind: fault.NotFound},
		{in: "", kind: fault.NotFound},
		{in: "05" + strings.Repeat("ff", 32), kind: fault.NotFound},
		{in: "05" + strings.Repeat("zz", 32), kind: fault.NotFound},
	} {
		got, err := alice.ResolvePeer(t.Context(), tt.in)
		if tt.kind == 0 && (err != nil || got != tt.want) || tt.kind != 0 && !errors.Is(err, tt.kind) {
			t.Errorf("peer %q: got %s, %v, want %s, %v", tt.in, got, err, tt.want, tt.kind)
		}
	}
	if _, err := alice.AddContact(patient(t), barbara.id(), "bobby"); !errors.Is(err, fault.Invalid) {
		t.Errorf("a petname twice: got %v, want invalid", err)
	}
}
