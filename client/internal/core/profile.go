package core

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

const labelStoreKey = "starling/v1/client-store\x00"

const labelSecretsKey = "starling/v1/client-secrets-key\x00"

const StageNew = "new" // keys are on disk, nothing is published

const StageRestore = "restore" // asks to join an account, or recovers it

const StageReady = "ready"

// Profile is a locked profile directory: the lock, the master key, the database and the secrets file.
type Profile struct {
	Dir     string
	lock    *flock.Flock
	db      *store.DB
	Secrets *secrets.File
}

// ErrBusy is what a second process gets.
var ErrBusy = errors.New("store busy: another process has this profile open")

// OpenProfile locks and opens the profile in dir.
func OpenProfile(dir string) (*Profile, error) {
	if _, err := os.Stat(filepath.Join(dir, "key")); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fault.New(fault.NotFound, "open profile", "no account in %q", dir)
		}
		return nil, fault.Wrap(fault.Internal, "open profile", err)
	}
	return lockProfile(dir)
}

// MakeProfile makes the directory of a new profile and locks it. What an unfinished init or restore left is
// kept.
func MakeProfile(dir string) (*Profile, error) {
	if dir == "" {
		return nil, fault.New(fault.Invalid, "make profile", "no directory given")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fault.Wrap(fault.Invalid, "make profile", err)
	}
	return lockProfile(dir)
}

func lockProfile(dir string) (*Profile, error) {
	p := &Profile{Dir: dir, lock: flock.New(filepath.Join(dir, "lock"), flock.SetPermissions(0o600))}
	held, err := p.lock.TryLock()
	if err != nil {
		return nil, fault.Wrap(fault.Internal, "lock profile", err)
	}
	if !held {
		return nil, fault.Wrap(fault.Exists, "open profile", ErrBusy)
	}
	if err := p.open(); err != nil {
		p.lock.Unlock()
		return nil, err
	}
	return p, nil
}

func (p *Profile) open() error {
	k, err := KeysOf(p.Dir)
	if err != nil {
		return err
	}
	p.Secrets = secrets.New(filepath.Join(p.Dir, "secrets"), k.Secrets)
	p.db, err = store.Open(filepath.Join(p.Dir, "store.db"), k.Store)
	return err
}

// ProfileKeys are the keys that what lies in a profile's directory is encrypted with.
type ProfileKeys struct{ Store, Secrets private.Key }

// KeysOf reads the keys of the profile in a directory, or makes them. Errors: Internal, Corrupt.
func KeysOf(dir string) (k ProfileKeys, err error) {
	master, err := masterKey(filepath.Join(dir, "key"))
	if err != nil {
		return k, err
	}
	return ProfileKeys{Store: derive(master, labelStoreKey), Secrets: derive(master, labelSecretsKey)}, nil
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
		return key, fault.New(fault.Corrupt, "open profile", "%q has %d bytes, want %d", path,
			len(b), len(key))
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

// Close releases the profile. Errors: Internal.
func (p *Profile) Close() error {
	err := p.db.Close()
	if uerr := p.lock.Unlock(); err == nil && uerr != nil {
		err = fault.Wrap(fault.Internal, "close profile", uerr)
	}
	return err
}

// Wipe removes what an unfinished account left, and closes the profile.
func (p *Profile) Wipe() error {
	first := p.db.Close()
	for _, name := range []string{"secrets", "secrets.new", "joiner", "joiner.new", "phrase", "phrase.new",
		"store.db", "store.db-wal", "network", "key"} {
		if err := os.Remove(filepath.Join(p.Dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) &&
			first == nil {
			first = fault.Wrap(fault.Internal, "wipe profile", err)
		}
	}
	if err := p.lock.Unlock(); err != nil && first == nil {
		first = fault.Wrap(fault.Internal, "wipe profile", err)
	}
	return first
}

// Stage returns the profile's stage, "" for an empty one.
func (p *Profile) Stage() (s string) {
	p.db.View(func(tx *store.Tx) error {
		s = string(tx.Meta(store.MetaStage))
		return nil
	})
	return s
}

// SetStage writes down how far the making of an account or a device has come. Errors: Internal.
func (p *Profile) SetStage(s string) error {
	return p.db.Update(func(tx *store.Tx) error {
		tx.SetMeta(store.MetaStage, []byte(s))
		return nil
	})
}

// Cluster returns the pinned cluster file, brought up to date from given, or pins given.
func (p *Profile) Cluster(given *directory.ClusterFile) (*directory.ClusterFile, error) {
	var pinned []byte
	err := p.db.View(func(tx *store.Tx) error {
		pinned = tx.Meta(store.MetaCluster)
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
		return nil, fault.New(fault.Denied, "open profile",
			"the profile belongs to cluster %q (%s), not to %q (%s)",
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
		tx.SetMeta(store.MetaCluster, b)
		return nil
	})
}

// StageLink is the stage of a profile whose device shows an invitation, or is about to take part in the
// account that answered it.
const StageLink = "link"

// Joiner is the file that keeps the keys of a device that shows an invitation.
func (p *Profile) Joiner() *secrets.File { return p.File("joiner") }

// File is one more secret of the profile, under the key of the secrets.
func (p *Profile) File(name string) *secrets.File {
	return p.Secrets.Beside(filepath.Join(p.Dir, name))
}

// SetHook calls f around each step of a commit of the store, for tests of crashes: see store.DB.SetHook.
func (p *Profile) SetHook(f func(point string) error) { p.db.SetHook(f) }
