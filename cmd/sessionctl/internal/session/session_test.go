package session

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/fault"
)

func TestProfilesOfAHome(t *testing.T) {
	s := &Session{Home: t.TempDir(), Profile: "alcie"}
	for _, name := range []string{"bob", "alice", ".hidden", "no space"} {
		if err := os.MkdirAll(filepath.Join(s.ProfilesDir(), name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := s.ProfileNames(), []string{"alice", "bob"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	_, err := s.Open(t.Context())
	e := cli.Describe(err)
	if !errors.Is(err, fault.NotFound) || !slices.Contains(e.Try, "sessionctl -p alice") {
		t.Errorf("mistyped profile: got %v and %q, want not found, and the nearest one", err, e.Try)
	}
}

func TestHintsNameTheProfile(t *testing.T) {
	for profile, want := range map[string]string{"default": "sessionctl", "work": "sessionctl -p work"} {
		if got := (&Session{Profile: profile}).Self(); got != want {
			t.Errorf("profile %s: got %q, want %q", profile, got, want)
		}
	}
}

func TestUserDecidesHowLongToWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, tc := range []struct{ user, own, want time.Duration }{{0, time.Minute, time.Minute},
			{time.Hour, time.Minute, time.Hour}} {
			ctx, cancel := (&Session{Timeout: tc.user}).Deadline(t.Context(), tc.own)
			end, _ := ctx.Deadline()
			cancel()
			if got := time.Until(end); got != tc.want {
				t.Errorf("user %s, own %s: got %s, want %s", tc.user, tc.own, got, tc.want)
			}
		}
		if cfg := (&Session{Timeout: time.Hour}).config(); cfg.Patience <= time.Hour {
			t.Errorf("got patience %s, want more than the user's hour", cfg.Patience)
		}
	})
}

func TestNoClusterSaysHowToGetOne(t *testing.T) {
	_, err := (&Session{Home: t.TempDir()}).ClusterFile(t.Context())
	e := cli.Describe(err)
	if e.Code != "NET-103" || e.Exit != cli.ExitNetwork || len(e.Try) != 2 ||
		!strings.HasPrefix(e.Try[0], "swarmd dev") {
		t.Errorf("got %+v, want NET-103 with two ways out", e)
	}
}

func TestUnreachableKeepsWhatAnErrorSaysAlready(t *testing.T) {
	s := &Session{Home: t.TempDir()}
	own := cli.Usage("wrong")
	if got := s.Unreachable("send", own); got != error(own) {
		t.Errorf("got %v, want %v as it is", got, own)
	}
	if e := cli.Describe(s.Unreachable("send",
		fault.New(fault.Unavailable, "dial", "nobody"))); len(e.Try) == 0 {
		t.Errorf("got %+v, want what to type", e)
	}
	if err := s.Unreachable("send", nil); err != nil {
		t.Errorf("got %v for nothing", err)
	}
}

func TestGroupWaitsForThisDevice(t *testing.T) {
	for name, tc := range map[string]struct {
		group   client.Group
		settled bool
	}{
		"nothing":       {client.Group{}, true},
		"somebody asks": {client.Group{Pending: []client.GroupPending{{Kind: "request"}}}, false},
		"somebody needs a word": {client.Group{Pending: []client.GroupPending{{Kind: "return", Held: true}}},
			true},
		"somebody leaves": {client.Group{Role: client.RoleAdmin,
			Members: []client.GroupMember{{Status: "removing"}}}, false},
		"not our task": {client.Group{Role: client.RoleMember,
			Members: []client.GroupMember{{Status: "removing"}}},
			true},
	} {
		if got := settled(tc.group); got != tc.settled {
			t.Errorf("%s: got settled %t, want %t", name, got, tc.settled)
		}
	}
}

func TestLoadClusterNamesWhatItCannotFind(t *testing.T) {
	if _, err := LoadCluster(t.Context(), t.TempDir(), "nowhere.json"); !errors.Is(err, fault.NotFound) {
		t.Errorf("got %v, want not found", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := askNodes(ctx, nil,
		func(context.Context, nodeConn) (int, error) { return 0, nil }); !errors.Is(err, fault.Unavailable) {
		t.Errorf("no nodes: got %v, want unavailable", err)
	}
}
