package consensus

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/hashicorp/raft-wal/fs"
	"github.com/hashicorp/raft-wal/types"
	"pgregory.net/rapid"
)

var errCrashed = errors.New("crashed")

// crashingDisk is a disk of segments that goes away before a given change: what was not synced by then may be
// lost or torn.
type crashingDisk struct {
	types.VFS
	open map[*crashingFile]bool

	mu   sync.Mutex // the log rotates its segments in the background
	left int        // changes until the crash
}

type crashingFile struct {
	types.WritableFile
	disk    *crashingDisk
	path    string
	pending []torn // writes since the last sync
}

// torn is a write that is not synced: what it replaced and what it brought.
type torn struct {
	offset   int64
	old, now []byte
}

// change counts a change, and is an error from the crash on.
func (d *crashingDisk) change() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.left--; d.left < 0 {
		return errCrashed
	}
	return nil
}

func (d *crashingDisk) crash() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.left = 0
}

func (d *crashingDisk) file(f types.WritableFile, err error, dir, name string) (types.WritableFile, error) {
	if err != nil {
		return nil, err
	}
	file := &crashingFile{WritableFile: f, disk: d, path: filepath.Join(dir, name)}
	d.open[file] = true
	return file, nil
}

func (d *crashingDisk) Create(dir, name string, size uint64) (types.WritableFile, error) {
	if err := d.change(); err != nil {
		return nil, err
	}
	f, err := d.VFS.Create(dir, name, size)
	return d.file(f, err, dir, name)
}

func (d *crashingDisk) OpenWriter(dir, name string) (types.WritableFile, error) {
	f, err := d.VFS.OpenWriter(dir, name)
	return d.file(f, err, dir, name)
}

func (d *crashingDisk) Delete(dir, name string) error {
	if err := d.change(); err != nil {
		return err
	}
	return d.VFS.Delete(dir, name)
}

func (f *crashingFile) WriteAt(b []byte, offset int64) (int, error) {
	if err := f.disk.change(); err != nil {
		return 0, err
	}
	old := make([]byte, len(b))
	n, _ := f.WritableFile.ReadAt(old, offset) // beyond the end are zeros
	clear(old[n:])
	f.pending = append(f.pending, torn{offset, old, bytes.Clone(b)})
	return f.WritableFile.WriteAt(b, offset)
}

func (f *crashingFile) Sync() error {
	if err := f.disk.change(); err != nil {
		return err
	}
	f.pending = nil
	return f.WritableFile.Sync()
}

// lose takes back what the crash loses of the writes that were not synced, a sector at a time.
func (d *crashingDisk) lose(lost func() bool) error {
	const sector = 512
	for f := range d.open {
		if len(f.pending) == 0 {
			continue
		}
		file, err := os.OpenFile(f.path, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		defer file.Close()
		for _, w := range f.pending {
			for i := 0; i < len(w.old); {
				end := min(len(w.old), i+sector-int(w.offset+int64(i))%sector)
				if lost() {
					if _, err := file.WriteAt(w.old[i:end], w.offset+int64(i)); err != nil {
						return err
					}
				}
				i = end
			}
		}
	}
	return nil
}

// logModel is what a log has to hold: entries first to last, each with the round in which it was written.
type logModel struct {
	first, last uint64
	round       map[uint64]int
}

func (m *logModel) entries(round, n, size int) (logs []*raft.Log) {
	for i := range uint64(n) {
		logs = append(logs, &raft.Log{Index: m.last + 1 + i, Term: uint64(round), Type: raft.LogCommand,
			Data: modelData(m.last+1+i, round, size)})
	}
	return logs
}

func modelData(index uint64, round, size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(index) ^ byte(round) ^ byte(i)
	}
	return b
}

// check compares a log with the model: every entry of it is there, and nothing else.
func (m *logModel) check(w *walFiles) error {
	first, err := w.FirstIndex()
	if err != nil {
		return err
	}
	last, err := w.LastIndex()
	if err != nil {
		return err
	}
	if last != m.last || last > 0 && first != m.first {
		return fmt.Errorf("log has entries %d to %d, want %d to %d", first, last, m.first, m.last)
	}
	for i := m.first; i <= m.last; i++ {
		var l raft.Log
		if err := w.GetLog(i, &l); err != nil {
			return fmt.Errorf("entry %d: %w", i, err)
		}
		if l.Index != i || l.Term != uint64(m.round[i]) ||
			!bytes.Equal(l.Data, modelData(i, m.round[i], len(l.Data))) {
			return fmt.Errorf("entry %d: got index %d of round %d, want round %d", i, l.Index,
				l.Term, m.round[i])
		}
	}
	return nil
}

func (m *logModel) store(logs []*raft.Log, round int) {
	for _, l := range logs {
		m.round[l.Index] = round
	}
	m.last += uint64(len(logs))
}

const modelSegment = 16 << 10

// TestLogSurvivesACrashAtEveryWrite crashes a log before one of its changes to the disk, loses or tears what
// was not synced, and opens what is left: it has every entry that was acknowledged, what was under way is
// there as a whole or not at all, and it takes further entries, through more crashes.
func TestLogSurvivesACrashAtEveryWrite(t *testing.T) {
	root := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp(root, "")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		m := &logModel{first: 1, round: make(map[uint64]int)}
		for life := range rapid.IntRange(1, 4).Draw(t, "lives") {
			next := filepath.Join(dir, fmt.Sprint(life+1))
			liveAndCrash(t, filepath.Join(dir, fmt.Sprint(life)), next, m, life*100)
		}
	})
}

// liveAndCrash opens the log in dir, checks it, changes it until it crashes, and leaves what the crash left
// in next.
func liveAndCrash(t *rapid.T, dir, next string, m *logModel, round int) {
	disk := &crashingDisk{VFS: fs.New(), left: rapid.IntRange(0, 60).Draw(t, "changes until the crash"),
		open: make(map[*crashingFile]bool)}
	w, err := openWAL(dir, modelSegment, newLogger(discard), disk)
	if err != nil && !errors.Is(err, errCrashed) {
		t.Fatalf("open: %v", err)
	}
	var doubt *logModel // the log as it is if what was under way came about
	if err == nil {
		if err := m.check(w); err != nil {
			t.Fatal(err)
		}
		for doubt == nil {
			round++
			doubt = changeLog(t, w, m, round)
		}
	}
	// Nothing runs any more but a rotation that waits: it ends with the first write it tries.
	if w != nil {
		disk.crash()
		_ = w.WAL.Close()
	}
	random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "what is lost"), 0))
	odds := rapid.SampledFrom([]float64{0, 0.5, 1}).Draw(t, "odds of losing a sector")
	if err := disk.lose(func() bool { return random.Float64() < odds }); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(next, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if w != nil {
		_ = w.Close()
	}
	again, err := openWAL(next, modelSegment, newLogger(discard), nil)
	if err != nil {
		t.Fatalf("open after the crash: %v", err)
	}
	defer again.Close()
	err = m.check(again)
	if err != nil && doubt != nil && doubt.check(again) == nil {
		*m, err = *doubt, nil
	}
	if err != nil {
		t.Fatalf("after the crash: %v", err)
	}
	for range 12 { // more than a segment
		logs := m.entries(round, 2, 1<<10)
		if err := again.StoreLogs(logs); err != nil {
			t.Fatalf("write after the crash: %v", err)
		}
		m.store(logs, round)
	}
	if err := m.check(again); err != nil {
		t.Fatalf("after the crash and more entries: %v", err)
	}
}

// changeLog makes one random change. If the log crashed meanwhile, it returns the log as the change would
// have left it.
func changeLog(t *rapid.T, w *walFiles, m *logModel, round int) *logModel {
	then := &logModel{m.first, m.last, make(map[uint64]int)}
	for i, r := range m.round {
		then.round[i] = r
	}
	var err error
	switch op := rapid.SampledFrom([]string{"append", "append", "append", "suffix", "prefix"}).Draw(t,
		"change"); {
	case op == "append" || m.last < m.first+2: // Raft never empties a log of ours
		logs := m.entries(round, rapid.IntRange(1, 8).Draw(t, "entries"),
			rapid.IntRange(0, 3000).Draw(t, "size"))
		then.store(logs, round)
		err = w.StoreLogs(logs)
	case op == "suffix":
		from := rapid.Uint64Range(m.first+1, m.last).Draw(t, "from")
		then.last = from - 1
		err = w.DeleteRange(from, m.last)
	case op == "prefix":
		then.first = rapid.Uint64Range(m.first+1, m.last).Draw(t, "up to")
		err = w.DeleteRange(m.first, then.first-1)
	}
	if err == nil {
		*m = *then
		return nil
	}
	return then
}
