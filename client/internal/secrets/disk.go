package secrets

import (
	"io"
	"os"
	"path/filepath"

	"github.com/starling-swarm/starling/internal/safefile"
)

// disk is what a File needs of the file system. Nothing that was written is sure to survive a power cut
// before sync, and no name before syncDir.
type disk interface {
	read(path string) ([]byte, error)  // at most maxSize and a byte
	create(path string) error          // makes an empty file, in the place of another if there is one
	write(path string, b []byte) error // into an empty file
	zero(path string, n int) error     // overwrites the first n bytes in place
	sync(path string) error            // the contents
	rename(from, to string) error      // within the directory
	remove(path string) error          // the name
	syncDir(path string) error         // the names in the directory that path is in
}

type osDisk struct{}

func (osDisk) read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxSize+1))
}

func (osDisk) create(path string) error { return os.WriteFile(path, nil, 0o600) }

func (osDisk) write(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	if _, err := f.Write(b); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

func (osDisk) zero(path string, n int) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	if _, err := f.WriteAt(make([]byte, n), 0); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

func (osDisk) sync(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

func (osDisk) rename(from, to string) error { return os.Rename(from, to) }

func (osDisk) remove(path string) error { return os.Remove(path) }

func (osDisk) syncDir(path string) error { return safefile.SyncDir(filepath.Dir(path)) }
