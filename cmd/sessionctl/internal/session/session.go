package session

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/starling-swarm/starling/client"
)

const (
	// defaultTimeout bounds what a command waits for, unless the user or the command says otherwise.
	DefaultTimeout = 15 * time.Second

	// patienceBeyond makes the deadline, and not the client's patience with a silent cluster, end a wait
	// whose length the user chose.
	patienceBeyond = time.Minute
)

var validName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}$`)

// ValidProfile reports whether a profile may be called name: 1 to 64 letters, digits, dots, hyphens and
// underscores.
func ValidProfile(name string) bool { return validName.MatchString(name) }

// Reporter is told what a session waits for and what a person should know.
type Reporter interface {
	// Waiting says that something is under way; stop takes that back and may be called more than once.
	Waiting(what string) (stop func())
	// Warn says something that matters although nothing has failed.
	Warn(format string, args ...any)
}

// Session is one profile, and the client on it once it is open. Set the exported fields before the first
// call.
type Session struct {
	Home    string // directory of all profiles and contexts
	Profile string // name of the profile
	Cluster string // file, link or context that the user named; "": the profile's own, or the current context

	Timeout time.Duration // how long the user wants to wait; 0: as long as each operation thinks right
	Logger  *slog.Logger  // nil: nothing is logged
	Report  Reporter      // must be set before the first call that uses the network
	OnEvent func(context.Context, *client.Client,
		client.Event) // sees every event of a connected client; may be nil

	Client  *client.Client // the open client; nil before and after
	stopRun context.CancelFunc
	ran     chan error // receives the end of client.Run
}

// ProfilesDir is where all profiles lie, each in a directory of its name.
func (s *Session) ProfilesDir() string { return filepath.Join(s.Home, "profiles") }

// ProfileDir is the directory of this profile.
func (s *Session) ProfileDir() string { return filepath.Join(s.ProfilesDir(), s.Profile) }

// ProfileNames returns the profiles of this home, sorted.
func (s *Session) ProfileNames() []string {
	entries, err := os.ReadDir(s.ProfilesDir())
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && ValidProfile(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names
}

// Self is how this profile is called on the command line, for hints: "sessionctl -p alice".
func (s *Session) Self() string {
	if s.Profile == "default" {
		return "sessionctl"
	}
	return "sessionctl -p " + s.Profile
}

// Deadline returns ctx bounded by what the user wants to wait, or by own if they did not say.
func (s *Session) Deadline(ctx context.Context, own time.Duration) (context.Context, context.CancelFunc) {
	if s.Timeout > 0 {
		own = s.Timeout
	}
	return context.WithTimeout(ctx, own)
}

// Config returns the client configuration of a profile that is to get an account: the cluster must be named
// somehow. Errors: those of ClusterFile.
func (s *Session) Config(ctx context.Context) (client.Config, error) {
	cfg := s.config()
	cf, err := s.ClusterFile(ctx)
	cfg.Cluster = cf
	return cfg, err
}

// config is the configuration of a profile that knows its cluster.
func (s *Session) config() client.Config {
	cfg := client.Config{Dir: s.ProfileDir(), Logger: s.Logger}
	if s.Timeout > 0 {
		cfg.Patience = s.Timeout + patienceBeyond
	}
	return cfg
}

// Open opens the profile for local work; nothing is sent or fetched. A cluster that the user named refreshes
// what the profile knows of its own. Errors: NotFound without an account in the profile; those of ClusterFile
// and of client.Open, with what to type.
func (s *Session) Open(ctx context.Context) (*client.Client, error) {
	if _, err := os.Stat(s.ProfileDir()); errors.Is(err, os.ErrNotExist) {
		return nil, s.NoProfile()
	}
	cfg := s.config()
	if s.Cluster != "" {
		cf, err := s.ClusterFile(ctx)
		if err != nil {
			return nil, err
		}
		cfg.Cluster = cf
	}
	c, err := client.Open(cfg)
	if err != nil {
		return nil, s.OpenError(err)
	}
	s.Client = c
	return c, nil
}

// Close disconnects and closes the profile, if one is open.
func (s *Session) Close() {
	if s.stopRun != nil {
		s.stopRun()
		<-s.ran
		s.stopRun = nil
	}
	if s.Client != nil {
		_ = s.Client.Close()
		s.Client = nil
	}
}
