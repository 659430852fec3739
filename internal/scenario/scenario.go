// Package scenario plays what people do with several devices of one account, and checks that all of them end
// in the same state: linking, recovery, revocation, every change that devices share, changes made apart,
// crashes, wrong clocks. The devices are real clients (package client) that reach a real cluster through its
// onion network; sessionctl e2e and the tests of test/e2e play the same list.
//
//	for _, s := range scenario.All() {
//		r := scenario.Play(ctx, s, scenario.Config{Cluster: file, Dir: dir, Devices: 2})
//		...
//	}
//
// Each play makes accounts of its own. Package clients keep no state here; nothing is removed from the
// cluster, where what was stored expires. A change counts as arrived when the other device has told its user
// (an Event), and its convergence time runs from the moment when the change was acknowledged where it was
// made: on that device's disk.
package scenario

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"slices"
	"time"

	"github.com/starling-swarm/starling/internal/directory"
	"github.com/starling-swarm/starling/internal/ident"
)

// Config says how a scenario is played.
type Config struct {
	Cluster *directory.ClusterFile
	Dir     string // profiles are made here and removed again
	Devices int    // of the account, 2 or more
	Seed    uint64 // of everything that is random in the scenario itself
	Logger  *slog.Logger
	Pause   time.Duration // before every change that is measured

	Contacts int // in the largest address book; 0: 20,000

	// Disturb, if set, breaks something in the middle; the peer is the account or the group that is watched.
	// What it returns repairs it and is called once the devices have met the fault.
	Disturb Disturb
}

// Disturb breaks what a peer's mailbox rests on, and returns what repairs it.
type Disturb = func(ctx context.Context, peer ident.Peer) (repair func(context.Context) error, err error)

// Scenario is one story with a check at its end.
type Scenario struct {
	Name  string
	About string
	Heavy bool // it takes seconds even on an idle machine
	Fixed bool // it brings its own accounts and devices, whatever Config.Devices says

	play     func(*stage) error
	patience time.Duration // 0: the usual
}

// Result is the outcome of a play.
type Result struct {
	Name      string
	Devices   int
	Disturbed bool // something was broken in the middle
	Err       error
	Took      time.Duration
	Times     []time.Duration // of convergence, sorted; one for every change and device that had to see it
	Note      string          // what a person should know of it: a seed, a size
}

// Percentile returns a convergence time by nearest rank; 0 without any.
func (r *Result) Percentile(p float64) time.Duration {
	if len(r.Times) == 0 {
		return 0
	}
	return r.Times[max(0, int(math.Ceil(p*float64(len(r.Times))))-1)]
}

// patience bounds a play; nothing is expected to take that long.
const patience = 2 * time.Minute

// Play plays s once.
func Play(ctx context.Context, s Scenario, cfg Config) Result {
	started := time.Now()
	r := Result{Name: s.Name, Devices: cfg.Devices}
	dir, err := os.MkdirTemp(cfg.Dir, "scenario-")
	if err != nil {
		r.Err = err
		return r
	}
	defer os.RemoveAll(dir)
	limit := max(s.patience, patience)
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not done after %s", limit))
	defer cancel()
	st := newStage(ctx, cfg, dir)
	err = s.play(st)
	r.Err = errors.Join(err, st.end())
	if cause := context.Cause(ctx); r.Err != nil && cause != nil && !errors.Is(r.Err, cause) {
		r.Err = fmt.Errorf("%w: %w", r.Err, cause)
	}
	slices.Sort(st.times)
	r.Times, r.Disturbed, r.Note, r.Took = st.times, st.disturbed, st.note, time.Since(started)
	return r
}

// All returns every scenario, in the order in which they are played.
func All() []Scenario {
	return slices.Concat(linking, documents, conversations, messages, apart, clocks, trouble,
		large, groupPlays)
}

// Find returns the scenario with a name.
func Find(name string) (Scenario, bool) {
	all := All()
	i := slices.IndexFunc(all, func(s Scenario) bool { return s.Name == name })
	if i < 0 {
		return Scenario{}, false
	}
	return all[i], true
}
