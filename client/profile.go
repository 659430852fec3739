package client

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"

	"github.com/starling-swarm/starling/client/internal/secrets"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/internal/directory"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/private"
	"github.com/starling-swarm/starling/internal/safefile"
)

// Labels of the keys that come from a profile's master key.
const (
	labelStoreKey   = "starling/v1/client-store\x00"
	labelSecretsKey = "starling/v1/client-secrets-key\x00"
)

// Stages of a profile's life, under the key "stage". A profile that is not ready is the rest of an init or restore
// that did not end.
const (
	stageNew     = "new"     // keys are on disk, nothing is published
	stageRestore = "restore" // asks to join an account, or recovers it
	stageReady   = "ready"
)

// profile is a locked profile directory: the lock, the master key, the database and the secrets file.
type profile struct {
	dir     string
	lock    *flock.Flock
	db      *store.DB
	secrets *secrets.File
}

// errBusy is what a second process gets.
var errBusy = errors.New("store busy: another process has this profile open")

// IsBusy reports whether err says that another process holds the profile.
func IsBusy(err error) bool { return errors.Is(err, errBusy) }

// openProfile locks and opens the profile in cfg.Dir.
func openProfile(cfg Config) (*profile, error) {
	if _, err := os.Stat(filepath.Join(cfg.Dir, "key")); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fault.New(fault.NotFound, "open profile", "no account in %q", cfg.Dir)
		}
		return nil, fault.Wrap(fault.Internal, "open profile", err)
	}
	return lockProfile(cfg.Dir)
}

// makeProfile makes the directory of a new profile and locks it. What an unfinished init or restore left is kept.
func makeProfile(dir string) (*profile, error) {
	if dir == "" {
		return nil, fault.New(fault.Invalid, "make profile", "no directory given")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fault.Wrap(fault.Invalid, "make profile", err)
	}
	return lockProfile(dir)
}

func lockProfile(dir string) (*profile, error) {
	p := &profile{dir: dir, lock: flock.New(filepath.Join(dir, "lock"), flock.SetPermissions(0o600))}
	held, err := p.lock.TryLock()
	if err != nil {
		return nil, fault.Wrap(fault.Internal, "lock profile", err)
	}
	if !held {
		return nil, fault.Wrap(fault.Exists, "open profile", errBusy)
	}
	if err := p.open(); err != nil {
		p.lock.Unlock()
		return nil, err
	}
	return p, nil
}

func (p *profile) open() error {
	master, err := masterKey(filepath.Join(p.dir, "key"))
	if err != nil {
		return err
	}
	p.secrets = secrets.New(filepath.Join(p.dir, "secrets"), derive(master, labelSecretsKey))
	p.db, err = store.Open(filepath.Join(p.dir, "store.db"), derive(master, labelStoreKey))
	return err
}

// masterKey reads the key file, or makes it.
func masterKey(path string) (key [32]byte, err error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		rand.Read(key[:])
		if err := safefile.Replace(path, key[:]); err != nil {
			return key, fault.Wrap(fault.Internal, "make profile", err)
		}
		return key, nil
	}
	if err != nil {
		return key, fault.Wrap(fault.Internal, "open profile", err)
	}
	if len(b) != len(key) {
		return key, fault.New(fault.Corrupt, "open profile", "%q has %d bytes, want %d", path, len(b), len(key))
	}
	copy(key[:], b)
	return key, nil
}

func derive(master [32]byte, label string) private.Key {
	var out [private.Size]byte
	b, err := hkdf.Key(sha256.New, master[:], nil, label, len(out))
	if err != nil {
		panic(err) // only for outputs over 8,160 bytes
	}
	copy(out[:], b)
	return private.KeyOf(out)
}

func (p *profile) close() error {
	err := p.db.Close()
	if uerr := p.lock.Unlock(); err == nil && uerr != nil {
		err = fault.Wrap(fault.Internal, "close profile", uerr)
	}
	return err
}

// wipe removes what an unfinished account left, and closes the profile.
func (p *profile) wipe() error {
	first := p.db.Close()
	for _, name := range []string{"secrets", "secrets.new", "joiner", "joiner.new", "phrase", "phrase.new", "store.db", "store.db-wal", "network", "key"} {
		if err := os.Remove(filepath.Join(p.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) && first == nil {
			first = fault.Wrap(fault.Internal, "wipe profile", err)
		}
	}
	if err := p.lock.Unlock(); err != nil && first == nil {
		first = fault.Wrap(fault.Internal, "wipe profile", err)
	}
	return first
}

// stage returns the profile's stage, "" for an empty one.
func (p *profile) stage() (s string) {
	p.db.View(func(tx *store.Tx) error {
		s = string(tx.Meta("stage"))
		return nil
	})
	return s
}

func (p *profile) setStage(s string) error {
	return p.db.Update(func(tx *store.Tx) error {
		tx.SetMeta("stage", []byte(s))
		return nil
	})
}

// cluster returns the pinned cluster file, brought up to date from given, or pins given.
func (p *profile) cluster(given *directory.ClusterFile) (*directory.ClusterFile, error) {
	var pinned []byte
	err := p.db.View(func(tx *store.Tx) error {
		pinned = tx.Meta("cluster")
		return nil
	})
	if err != nil {
		return nil, err
	}
	var old *directory.ClusterFile
	if pinned != nil {
		old = new(directory.ClusterFile)
		if err := json.Unmarshal(pinned, old); err != nil {
			return nil, fault.Wrap(fault.Corrupt, "open profile", err)
		}
	}
	switch {
	case given == nil && old == nil:
		return nil, fault.New(fault.Invalid, "open profile", "no cluster given")
	case given == nil:
		return old, nil
	case old != nil && old.ID != given.ID:
		return nil, fault.New(fault.Denied, "open profile", "the profile belongs to cluster %q (%s), not to %q (%s)",
			old.Name, old.ID.String()[:8], given.Name, given.ID.String()[:8])
	}
	b, err := json.Marshal(given)
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, "open profile", err)
	}
	if string(b) == string(pinned) {
		return given, nil
	}
	return given, p.db.Update(func(tx *store.Tx) error {
		tx.SetMeta("cluster", b)
		return nil
	})
}
