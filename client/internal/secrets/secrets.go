// Package secrets keeps one small secret on disk so that replacing it destroys what it said before.
//
// A File is encrypted under a key of its own that lies, wrapped under the profile's master key, in the file's
// first block. Replace writes a new file with a fresh key and syncs it, then overwrites the old file's key
// block and syncs that, then renames: once that block is gone nothing opens the old contents any more
// (crypto-erase), and a process that dies, or a power cut, at any point leaves one complete file. Load
// finishes a replacement that was interrupted.
//
// What this cannot promise: a disk that keeps overwritten blocks (flash, copy-on-write file systems) keeps
// the old key block too. Layout: docs/formats.md, section 10.
package secrets

import (
	"crypto/rand"
	"errors"
	"io/fs"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/private"
)

// label binds a ciphertext to its place; it is the additional data of both layers.
const label = "starling/v1/client-secrets\x00"

const (
	version   = 1
	nonceSize = chacha20poly1305.NonceSizeX
	wrapSize  = nonceSize + 32 + chacha20poly1305.Overhead
	headSize  = 1 + wrapSize
	maxSize   = 16 << 20
)

// File is a secret at a path, under a master key.
type File struct {
	private.Redacted
	path   string
	master private.Key
	disk   disk
	hook   func(step string) error // tests end the process here
}

// New returns the file at path; nothing is read or written.
func New(path string, master private.Key) *File {
	return &File{path: path, master: master, disk: osDisk{}}
}

// Beside returns another file under the same master key.
func (f *File) Beside(path string) *File { return New(path, f.master) }

// Steps are the steps of Replace in order: what each of them did is on disk, or on its way, when the next
// begins.
var Steps = []string{"create", "sync name", "write", "sync", "erase", "sync erased", "rename", "sync names"}

// SetHook installs f, which is called before each of Steps and whose error ends Replace there, as the death
// of the process would.
func (f *File) SetHook(hook func(step string) error) { f.hook = hook }

// Load returns the secret. It fails with NotFound if there is none, with Corrupt if the master key is wrong
// or the file is damaged.
func (f *File) Load() ([]byte, error) {
	if secret, err := f.read(f.path + ".new"); err == nil {
		// The new file is whole: the replacement got past its first step, so it counts. Finish it.
		if err := f.finish(); err != nil {
			return nil, err
		}
		return secret, nil
	}
	secret, err := f.read(f.path)
	if err == nil {
		// What lies beside a whole file is a replacement that never got written.
		if err := f.discard(f.path + ".new"); err != nil {
			return nil, fault.Wrap(fault.Internal, "load secrets", err)
		}
	}
	return secret, err
}

// Replace makes secret what Load returns, and destroys what it returned before. It is on disk when Replace
// returns.
func (f *File) Replace(secret []byte) error {
	blob, err := f.seal(secret)
	if err != nil {
		return err
	}
	fresh := f.path + ".new"
	// Its name comes first, as contents whose name gets lost could never be erased.
	for i, do := range []func() error{
		func() error { return errors.Join(f.zero(fresh), f.disk.create(fresh)) },
		func() error { return f.disk.syncDir(f.path) },
		func() error { return f.disk.write(fresh, blob) },
	} {
		if err := f.step(i, do); err != nil {
			return err
		}
	}
	return f.finish()
}

// finish does the steps of Replace after the third: the new file is complete, also if its process died.
func (f *File) finish() error {
	fresh := f.path + ".new"
	for i, do := range []func() error{
		func() error { return f.disk.sync(fresh) },
		func() error { return present(f.disk.zero(f.path, headSize)) },
		func() error { return present(f.disk.sync(f.path)) },
		func() error { return f.disk.rename(fresh, f.path) },
		func() error { return f.disk.syncDir(f.path) },
	} {
		if err := f.step(3+i, do); err != nil {
			return err
		}
	}
	return nil
}

// zero makes what is in the file at path, if there is one, unreadable for good.
func (f *File) zero(path string) error {
	err := f.disk.zero(path, headSize)
	if err == nil {
		err = f.disk.sync(path)
	}
	return present(err)
}

func (f *File) step(i int, do func() error) error {
	if f.hook != nil {
		if err := f.hook(Steps[i]); err != nil {
			return err
		}
	}
	if err := do(); err != nil {
		return fault.Wrap(fault.Internal, "replace secrets", err)
	}
	return nil
}

// present lets pass that a file does not exist: it needs no erasing.
func present(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// discard erases and removes a file, if there is one.
func (f *File) discard(path string) error {
	if err := f.zero(path); err != nil {
		return err
	}
	return present(f.disk.remove(path))
}

// Remove destroys the secret and removes the file.
func (f *File) Remove() error {
	for _, path := range []string{f.path + ".new", f.path} {
		if err := f.discard(path); err != nil {
			return fault.Wrap(fault.Internal, "remove secrets", err)
		}
	}
	if err := f.disk.syncDir(f.path); err != nil {
		return fault.Wrap(fault.Internal, "remove secrets", err)
	}
	return nil
}

// seal returns version u8 | nonce 24 | sealed file key 48 | nonce 24 | sealed secret.
func (f *File) seal(secret []byte) ([]byte, error) {
	key := make([]byte, 32)
	rand.Read(key)
	master := f.master.Reveal()
	out := append([]byte{version}, sealWith(master[:], key)...)
	return append(out, sealWith(key, secret)...), nil
}

func sealWith(key, plain []byte) []byte {
	aead, err := chacha20poly1305.NewX(key)
	if err != nil {
		panic(err) // the key has 32 bytes
	}
	nonce := make([]byte, nonceSize)
	rand.Read(nonce)
	return aead.Seal(nonce, nonce, plain, []byte(label))
}

func openWith(key, blob []byte) ([]byte, error) {
	aead, err := chacha20poly1305.NewX(key)
	if err != nil {
		return nil, err
	}
	if len(blob) < nonceSize {
		return nil, errors.New("too short")
	}
	return aead.Open(nil, blob[:nonceSize], blob[nonceSize:], []byte(label))
}

func (f *File) read(path string) ([]byte, error) {
	blob, err := f.disk.read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.New(fault.NotFound, "load secrets", "%q does not exist", path)
	}
	if err != nil {
		return nil, fault.Wrap(fault.Internal, "load secrets", err)
	}
	if len(blob) < headSize || len(blob) > maxSize {
		return nil, fault.New(fault.Corrupt, "load secrets", "%q is of no size that such a file has", path)
	}
	return decode(f.master, blob)
}

func decode(master private.Key, blob []byte) ([]byte, error) {
	if len(blob) < headSize || blob[0] != version {
		return nil, fault.New(fault.Corrupt, "load secrets", "is no version %d file", version)
	}
	wrap := master.Reveal()
	key, err := openWith(wrap[:], blob[1:headSize])
	if err != nil || len(key) != 32 {
		return nil, fault.New(fault.Corrupt, "load secrets", "the key does not open")
	}
	secret, err := openWith(key, blob[headSize:])
	if err != nil {
		return nil, fault.New(fault.Corrupt, "load secrets", "the contents do not open")
	}
	return secret, nil
}
