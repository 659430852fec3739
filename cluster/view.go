package cluster

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/starling-swarm/starling/internal/directory"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/safefile"
)

// snapshotView is one verified directory.
type snapshotView struct {
	dir    *directory.Directory
	signed *directory.Signed
}

// view is the newest directory with enough signatures. It is on disk, so that a node serves at once after a
// restart and never goes back to an older version.
type view struct {
	file *directory.ClusterFile
	path string
	now  atomic.Pointer[snapshotView]

	mu      sync.Mutex
	changed chan struct{} // closed and replaced at every change
}

// openView loads the directory that the node knew last, if there is one.
func openView(file *directory.ClusterFile, path string) (*view, error) {
	v := &view{file: file, path: path, changed: make(chan struct{})}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return v, nil
	}
	if err != nil {
		return nil, fault.Wrap(fault.Internal, "read directory", err)
	}
	signed, err := directory.DecodeSigned(b)
	if err == nil {
		var d *directory.Directory
		if d, err = file.Verify(signed); err == nil {
			v.now.Store(&snapshotView{d, signed})
			return v, nil
		}
	}
	if errors.Is(err, fault.Denied) {
		return nil, fault.Wrap(fault.Denied, "read "+path, err) // the data directory of another cluster
	}
	// Damaged. The signers have it: losing the copy costs one fetch.
	return v, nil
}

// current returns the newest directory; nil before the first.
func (v *view) current() (*directory.Directory, *directory.Signed) {
	if s := v.now.Load(); s != nil {
		return s.dir, s.signed
	}
	return nil, nil
}

// version returns the number of the newest directory; 0: none.
func (v *view) version() uint64 {
	if d, _ := v.current(); d != nil {
		return d.Version
	}
	return 0
}

// adopt takes over a newer directory once its signatures are checked and it is on disk. An older or equal one
// is ignored.
func (v *view) adopt(signed *directory.Signed) error {
	d, err := v.file.Verify(signed)
	if err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if d.Version <= v.version() {
		return nil
	}
	if err := safefile.Replace(v.path, signed.Encode()); err != nil {
		return fault.Wrap(fault.Internal, "write "+filepath.Base(v.path), err)
	}
	v.now.Store(&snapshotView{d, signed})
	close(v.changed)
	v.changed = make(chan struct{})
	return nil
}

// changes returns a channel that is closed at the next change. Take it before looking at current.
func (v *view) changes() <-chan struct{} {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.changed
}

// wait returns the newest directory once it is newer than a version.
func (v *view) wait(ctx context.Context, after uint64) (*directory.Directory, *directory.Signed, error) {
	for {
		changed := v.changes()
		if d, s := v.current(); d != nil && d.Version > after {
			return d, s, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
}
