// Package safefile replaces files so that a crash, a power cut or a full disk leaves the old contents or the
// new, never a mixture and never a file that is missing.
//
// Replace writes beside the file, syncs what it wrote, renames it over the file and syncs the directory. A
// process that dies on the way leaves a file NAME.new with a random ending, which nothing reads. Errors are
// those of package os: the caller knows what the file is, and classifies them.
package safefile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Replace makes b the contents of the file at path, which only its owner may read. When it returns nil they
// are on disk under that name; on an error the file is as it was, unless only the last sync failed: then the
// new contents are there, and may be gone after a power cut.
func Replace(path string, b []byte) error { return ReplaceMode(path, b, 0o600) }

// ReplaceMode is Replace for a file that others may read: the file gets exactly the mode given.
func ReplaceMode(path string, b []byte, mode fs.FileMode) error {
	return replace(path, mode, func(f *os.File) error {
		_, err := f.Write(b)
		return err
	})
}

func replace(path string, mode fs.FileMode, write func(*os.File) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new*")
	if err != nil {
		return err
	}
	err = f.Chmod(mode)
	if err == nil {
		err = write(f)
	}
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return SyncDir(filepath.Dir(path))
}

// Rename gives a file that is complete and synced the name to, in the same directory, and makes that durable.
func Rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(to))
}

// SyncDir makes the names in a directory durable: files that were made, renamed or removed there.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
