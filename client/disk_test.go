package client_test

import (
	"errors"
	"path/filepath"
	"strings"
	"sync"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/vfs"
	"github.com/ncruces/go-sqlite3/vfs/adiantum"
)

// The databases of these tests lie on a file system that counts writes, and from a given one on does nothing
// any more: what is on the disk then is what a process leaves behind that dies there.
func init() { vfs.Register("adiantum", adiantum.Wrap(mortal{vfs.Find("")}, nil)) }

var errDied = errors.New("died here")

// disks are the directories under watch.
var disks sync.Map // directory: *mortalDisk

type mortalDisk struct {
	mu     sync.Mutex
	writes int
	last   int // how many are done; negative: all
	kill   func()
	once   sync.Once
	died   chan struct{} // closed at the first write that does not happen
}

// watch counts the writes to the database in dir, and lets the first n of them happen. Negative: all.
func watch(dir string, n int) *mortalDisk {
	d := &mortalDisk{last: n, died: make(chan struct{})}
	disks.Store(dir, d)
	return d
}

func unwatch(dir string) { disks.Delete(dir) }

// write reports whether one more write happens.
func (d *mortalDisk) write() error {
	if d == nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.last >= 0 && d.writes >= d.last {
		if d.kill != nil {
			d.kill()
		}
		d.once.Do(func() { close(d.died) })
		return errDied
	}
	d.writes++
	return nil
}

type mortal struct{ vfs.VFS }

func (m mortal) disk(name string) *mortalDisk {
	d, _ := disks.Load(filepath.Dir(name))
	disk, _ := d.(*mortalDisk)
	return disk
}

func (m mortal) OpenFilename(name *vfs.Filename, flags vfs.OpenFlag) (vfs.File, vfs.OpenFlag, error) {
	var f vfs.File
	var err error
	if base, ok := m.VFS.(vfs.VFSFilename); ok {
		f, flags, err = base.OpenFilename(name, flags)
	} else {
		f, flags, err = m.VFS.Open(name.String(), flags)
	}
	if err != nil || name == nil || !strings.Contains(filepath.Base(name.String()), "store.db") {
		return f, flags, err
	}
	return &mortalFile{f, m.disk(name.String())}, flags, nil
}

func (m mortal) Delete(name string, syncDir bool) error {
	if m.disk(name).write() != nil {
		return sqlite3.IOERR_DELETE
	}
	return m.VFS.Delete(name, syncDir)
}

type mortalFile struct {
	vfs.File
	disk *mortalDisk
}

func (f *mortalFile) WriteAt(b []byte, off int64) (int, error) {
	if f.disk.write() != nil {
		return 0, sqlite3.IOERR_WRITE
	}
	return f.File.WriteAt(b, off)
}

func (f *mortalFile) Truncate(size int64) error {
	if f.disk.write() != nil {
		return sqlite3.IOERR_TRUNCATE
	}
	return f.File.Truncate(size)
}

func (f *mortalFile) Sync(flags vfs.SyncFlag) error {
	if f.disk.write() != nil {
		return sqlite3.IOERR_FSYNC
	}
	return f.File.Sync(flags)
}
