package consensus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/starling-swarm/starling/internal/fault"
)

// load proposes commands from several goroutines on whoever leads, and returns those that were acknowledged.
func load(c *testCluster, live []*member, stop <-chan struct{}, started chan<- struct{}) []string {
	var mu sync.Mutex
	var acknowledged []string
	var all sync.WaitGroup
	for w := range 8 {
		all.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				command := fmt.Sprintf("w%d-%d", w, i)
				a, b, d := live[0].group.LeaderChanges(), live[1].group.LeaderChanges(),
					live[2].group.LeaderChanges()
				refused := 0
				for _, m := range live {
					ctx, cancel := context.WithTimeout(context.Background(), patience)
					_, err := m.group.Propose(ctx, []byte(command))
					cancel()
					if err == nil {
						mu.Lock()
						acknowledged = append(acknowledged, command)
						if len(acknowledged) == 100 {
							close(started)
						}
						mu.Unlock()
					}
					if !errors.Is(err, ErrNotLeader) && !errors.Is(err, ErrClosed) {
						break // acknowledged or unknown: the next command
					}
					refused++
				}
				if refused == len(live) {
					select {
					case <-a:
					case <-b:
					case <-d:
					case <-stop:
					}
				}
			}
		})
	}
	all.Wait()
	return acknowledged
}

func TestLeaderCrashKeepsAcknowledgedCommands(t *testing.T) {
	c := startCluster(t, 3, nil)
	crashed := c.leader()
	rest := others(c, crashed)
	stop, started := make(chan struct{}), make(chan struct{})
	done := make(chan []string)
	group := crashed.group
	go func() { done <- load(c, slices.Clone(c.members), stop, started) }()
	<-started
	group.Crash()
	c.propose("after", rest...)
	close(stop)
	acknowledged := <-done
	c.propose("end", rest...)
	mustContain(t, c.converge("end", rest...), acknowledged)

	crashed.crash()
	crashed.start()
	c.propose("together")
	mustContain(t, c.converge("together"), acknowledged)
}

func TestAllReplicasCrashAndKeepAcknowledgedCommands(t *testing.T) {
	c := startCluster(t, 3, nil)
	var acknowledged []string
	for i := range 50 {
		c.propose(string(testCommand(i)))
		acknowledged = append(acknowledged, string(testCommand(i)))
	}
	for _, m := range c.members {
		m.crash()
	}
	for _, m := range c.members {
		m.start()
	}
	c.propose("after")
	mustContain(t, c.converge("after"), acknowledged)
}

func TestFailedLogWriteStopsTheReplica(t *testing.T) {
	tests := map[string]func(*logHooks, *int){
		"entries": func(h *logHooks, writes *int) {
			h.store = func(logs []*raft.Log) error { // the log fails at the first command
				if logs[0].Type != raft.LogCommand && *writes == 0 {
					return nil
				}
				*writes++
				return syscall.EIO
			}
		},
	}
	for name, hook := range tests {
		t.Run(name, func(t *testing.T) {
			writes := 0
			c := newCluster(t, 3, nil)
			for i, m := range c.members {
				if i == 0 {
					m.config = func(cfg *Config) { hook(&cfg.hooks, &writes) }
				}
				m.start()
			}
			c.bootstrap()
			bad := c.leader()
			if bad != c.members[0] {
				t.Fatalf("leader is %s, want the first server", bad.id)
			}
			_, err := bad.group.Propose(t.Context(), []byte("lost"))
			if !errors.Is(err, fault.Unavailable) {
				t.Errorf("got %v, want %v", err, fault.Unavailable)
			}
			select {
			case err := <-bad.fatal:
				if !errors.Is(err, syscall.EIO) {
					t.Errorf("OnFatal got %v, want %v", err, syscall.EIO)
				}
			case <-time.After(patience):
				t.Fatal("OnFatal was never called")
			}
			rest := others(c, bad)
			c.propose("others go on", rest...)
			if _, err := bad.group.Propose(t.Context(), []byte("x")); !errors.Is(err, ErrNotLeader) {
				t.Errorf("propose after the failure: got %v, want %v", err, ErrNotLeader)
			}
			if writes != 1 {
				t.Errorf("log was written %d times after the failure, want no second write", writes-1)
			}
			bad.crash()
			bad.config = nil
			bad.start()
			c.propose("together")
			c.converge("together")
		})
	}
}

func TestFailedVoteSilencesTheReplica(t *testing.T) {
	c := newCluster(t, 3, nil)
	fail := make(chan struct{})
	for i, m := range c.members {
		if i == 2 {
			m.config = func(cfg *Config) {
				cfg.hooks.vote = func() error {
					select {
					case <-fail:
						return syscall.EIO
					default:
						return nil
					}
				}
			}
		}
		m.start()
	}
	c.bootstrap()
	lead := c.leader()
	close(fail)
	bad := c.members[2]
	if lead == bad {
		t.Fatal("the replica with the bad disk leads")
	}
	lead.crash() // the next election makes the bad replica vote, or stand itself
	select {
	case err := <-bad.fatal:
		if !errors.Is(err, syscall.EIO) {
			t.Errorf("OnFatal got %v, want %v", err, syscall.EIO)
		}
	case <-time.After(patience):
		t.Fatal("OnFatal was never called")
	}
	if good := c.members[1].group; good.IsLeader() {
		t.Error("a vote that is not on disk made a leader")
	}
	bad.crash()
	bad.config = nil
	bad.start()
	c.propose("after", c.members[1], bad)
}

func TestPartitionedLeaderAcknowledgesNothing(t *testing.T) {
	c := startCluster(t, 3, nil)
	alone := c.leader()
	rest := others(c, alone)
	c.propose("before")
	c.converge("before")
	alone.sw.Cut(true)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := alone.group.Propose(ctx, []byte("minority")); !errors.Is(err, fault.Unavailable) {
		t.Errorf("propose without a majority: got %v, want %v", err, fault.Unavailable)
	}
	c.propose("majority", rest...)
	alone.sw.Cut(false)
	c.propose("healed")
	got := c.converge("healed")
	if !slices.Contains(got, "majority") {
		t.Error("command of the majority is lost")
	}
	if slices.Contains(got, "minority") {
		t.Error("command of the cut-off leader survived although another leader was elected without it")
	}
}
