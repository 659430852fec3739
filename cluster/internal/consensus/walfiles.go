package consensus

import (
	"fmt"
	"os"
	"time"

	"github.com/hashicorp/go-hclog"
	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/fs"
	"github.com/hashicorp/raft-wal/metadb"
	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"
)

// walFiles is a raft-wal that also closes its table of segments and votes, which raft-wal leaves open and
// locked.
type walFiles struct {
	*wal.WAL
	meta *metadb.BoltMetaDB
}

func (w *walFiles) Close() error {
	err := w.WAL.Close()
	if e := w.meta.Close(); err == nil {
		err = e
	}
	return err
}

// openWAL opens the log in dir, which it makes if need be. vfs: where segments lie, nil for the disk.
func openWAL(dir string, segmentBytes int, log hclog.Logger, vfs types.VFS) (_ *walFiles, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if vfs == nil {
		vfs = fs.New()
	}
	meta := new(metadb.BoltMetaDB)
	defer func() {
		if err != nil {
			_ = meta.Close()
		}
	}()
	if err := mendTail(dir, meta, vfs); err != nil {
		return nil, fmt.Errorf("mend the newest log segment: %w", err)
	}
	w, err := wal.Open(dir, wal.WithMetaStore(meta), wal.WithSegmentFiler(segment.NewFiler(dir, vfs)),
		wal.WithLogger(log),
		wal.WithSegmentSize(segmentBytes))
	if err != nil {
		return nil, err
	}
	return &walFiles{w, meta}, nil
}

// mendTail makes a log writable again that ended, by a crash or just by being closed, between the sealing of
// its newest segment and the table's taking note of that. raft-wal opens such a log without complaint and
// then refuses every write, for good. It cannot be told from outside whether the seal is whole or torn. So
// what was written goes into a new segment, which is sealed and entered into the table, with an empty one
// after it. The old file is in no table then, and raft-wal deletes it when it opens.
func mendTail(dir string, meta *metadb.BoltMetaDB, vfs types.VFS) error {
	state, err := meta.Load(dir)
	if err != nil || len(state.Segments) == 0 {
		return err
	}
	tail := &state.Segments[len(state.Segments)-1]
	if !tail.SealTime.IsZero() {
		return nil
	}
	files := segment.NewFiler(dir, vfs)
	old, err := files.RecoverTail(*tail)
	if os.IsNotExist(err) {
		return nil // the table comes first: raft-wal makes the file
	}
	if err != nil {
		return err
	}
	defer old.Close()
	if sealed, _, err := old.Sealed(); err != nil || !sealed {
		return err
	}
	next := *tail
	tail.ID, tail.BaseIndex = state.NextSegmentID, tail.MinIndex
	next.ID, next.CreateTime = state.NextSegmentID+1, time.Now()
	state.NextSegmentID += 2
	if tail.MaxIndex = old.LastIndex(); tail.MaxIndex < tail.MinIndex {
		state.Segments[len(state.Segments)-1] = next // nothing was written
		return meta.CommitState(state)
	}
	if tail.IndexStart, err = rewrite(files, *tail, old); err != nil {
		return err
	}
	tail.SealTime = time.Now()
	next.BaseIndex = tail.MaxIndex + 1
	next.MinIndex, next.MaxIndex = next.BaseIndex, 0
	state.Segments = append(state.Segments, next)
	return meta.CommitState(state)
}

// rewrite copies a segment's entries into a new one, seals it, and returns where its index is.
func rewrite(files *segment.Filer, info types.SegmentInfo, from types.SegmentReader) (uint64, error) {
	var entries []types.LogEntry
	for i := info.MinIndex; i <= info.MaxIndex; i++ {
		b, err := from.GetLog(i)
		if err != nil {
			return 0, fmt.Errorf("read entry %d: %w", i, err)
		}
		entries = append(entries, types.LogEntry{Index: i, Data: append([]byte(nil), b.Bs...)})
		_ = b.Close()
	}
	info.MaxIndex = 0
	if err := files.Delete(info.BaseIndex, info.ID); err != nil && !os.IsNotExist(err) {
		// of an attempt that was cut short
		return 0, err
	}
	to, err := files.Create(info)
	if err != nil {
		return 0, err
	}
	defer to.Close()
	if err := to.Append(entries); err != nil {
		return 0, err
	}
	return to.ForceSeal()
}
