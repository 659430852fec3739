package secrets

import (
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"testing"

	"github.com/starling-swarm/starling/internal/private"
)

// memory is a disk in memory that keeps apart what was done and what would survive a power cut, and dies
// after a number of steps. Blocks of files that lost their name stay readable for whoever takes the disk
// apart.
type memory struct {
	names, synced map[string]*blocks // as they are, and as they are on the medium
	all           []*blocks
	left          int // steps until it dies; negative: never
	careless      bool
}

type blocks struct{ b, synced []byte }

func newMemory() *memory {
	return &memory{names: map[string]*blocks{}, synced: map[string]*blocks{}, left: -1}
}

func (m *memory) step() error {
	if m.left == 0 {
		return errDied
	}
	m.left--
	return nil
}

func (m *memory) file(path string) (*blocks, error) {
	if f := m.names[path]; f != nil {
		return f, nil
	}
	return nil, fs.ErrNotExist
}

func (m *memory) read(path string) ([]byte, error) {
	f, err := m.file(path)
	if err != nil {
		return nil, err
	}
	return bytes.Clone(f.b), nil
}

func (m *memory) create(path string) error {
	if err := m.step(); err != nil {
		return err
	}
	f := &blocks{} // those of a file that was there before are free, and not overwritten
	m.names[path], m.all = f, append(m.all, f)
	return nil
}

func (m *memory) write(path string, b []byte) error {
	if err := m.step(); err != nil {
		return err
	}
	f, err := m.file(path)
	if err == nil {
		f.b = bytes.Clone(b)
	}
	return err
}

func (m *memory) zero(path string, n int) error {
	if err := m.step(); err != nil || m.careless {
		return err
	}
	f, err := m.file(path)
	if err == nil {
		clear(f.b[:min(n, len(f.b))])
	}
	return err
}

func (m *memory) sync(path string) error {
	if err := m.step(); err != nil {
		return err
	}
	f, err := m.file(path)
	if err == nil {
		f.synced = bytes.Clone(f.b)
	}
	return err
}

func (m *memory) rename(from, to string) error {
	if err := m.step(); err != nil {
		return err
	}
	f, err := m.file(from)
	if err == nil {
		m.names[to] = f
		delete(m.names, from)
	}
	return err
}

func (m *memory) remove(path string) error {
	if err := m.step(); err != nil {
		return err
	}
	_, err := m.file(path)
	delete(m.names, path)
	return err
}

func (m *memory) syncDir(string) error {
	if err := m.step(); err != nil {
		return err
	}
	m.synced = maps.Clone(m.names)
	return nil
}

// Ways to lose what was not synced. Contents and names get lost, or not, independently of each other.
type loss struct {
	name        string
	data, names bool // are lost
	torn        bool // of unsynced contents, half
}

var losses = []loss{
	{name: "kill"},
	{name: "power cut", data: true, names: true},
	{name: "power cut that kept names", data: true},
	{name: "power cut that kept contents", names: true},
	{name: "power cut that tore contents", torn: true},
	{name: "power cut that tore contents and lost names", torn: true, names: true},
}

// restart is the disk as the next process finds it.
func (m *memory) restart(l loss) {
	m.left = -1
	for _, f := range m.all {
		switch {
		case l.data:
			f.b = bytes.Clone(f.synced)
		case l.torn && !bytes.Equal(f.b, f.synced):
			half := bytes.Clone(f.b[:len(f.b)/2])
			if len(f.synced) > len(half) {
				half = append(half, f.synced[len(half):]...)
			}
			f.b = half
		}
		f.synced = bytes.Clone(f.b)
	}
	if l.names {
		m.names = maps.Clone(m.synced)
	}
	m.synced = maps.Clone(m.names)
}

// opens returns what the blocks of all files that ever were open to, with and without what is not synced.
func (m *memory) opens(master private.Key) map[string]bool {
	out := map[string]bool{}
	for _, f := range m.all {
		for _, b := range [][]byte{f.b, f.synced} {
			if secret, err := decode(master, b); err == nil {
				out[string(secret)] = true
			}
		}
	}
	return out
}

// TestErasedSecretsAreGoneWhereverItDies ends a replacement after each of its steps, in every way: one of the
// two secrets is always there, what Replace has acknowledged stays, and from then on the old one is on no
// block of the disk.
func TestErasedSecretsAreGoneWhereverItDies(t *testing.T) {
	master := private.KeyOf([32]byte{7})
	for _, l := range losses {
		for left := range len(Steps) + 2 { // a leftover that is not there costs a step, too
			t.Run(fmt.Sprint(l.name, " after ", left), func(t *testing.T) {
				m := newMemory()
				f := File{path: "secrets", master: master, disk: m}
				if err := f.Replace([]byte("old seed")); err != nil {
					t.Fatal(err)
				}
				m.left = left
				acknowledged := f.Replace([]byte("new seed")) == nil
				if acknowledged && m.opens(master)["old seed"] {
					t.Error("the old secret is on the disk after Replace has returned")
				}
				m.restart(l)
				again := File{path: "secrets", master: master, disk: m}
				got, err := again.Load()
				if err != nil {
					t.Fatalf("load: %v", err)
				}
				if s := string(got); s != "new seed" && (s != "old seed" || acknowledged) {
					t.Errorf("load: got %q, acknowledged %v", s, acknowledged)
				}
				if string(got) == "new seed" && m.opens(master)["old seed"] {
					t.Error("the old secret is on the disk after Load has returned the new one")
				}
				// The next process can die again, at any step of finishing.
				if err := again.Replace([]byte("third seed")); err != nil {
					t.Fatal(err)
				}
				if open := m.opens(master); len(open) != 1 || !open["third seed"] {
					t.Errorf("the disk opens to %v, want the third secret alone", open)
				}
			})
		}
	}
}

// TestFinishingMayDieToo ends Load while it finishes a replacement.
func TestFinishingMayDieToo(t *testing.T) {
	master := private.KeyOf([32]byte{7})
	for _, first := range losses {
		for _, second := range losses {
			for left := range len(Steps) {
				m := newMemory()
				f := File{path: "secrets", master: master, disk: m}
				f.Replace([]byte("old seed"))
				m.left = 5 // the new file is there, by name and contents
				f.Replace([]byte("new seed"))
				m.restart(first)
				m.left = left
				f.Load()
				m.restart(second)
				got, err := f.Load()
				if err != nil || string(got) != "new seed" || m.opens(master)["old seed"] {
					t.Errorf("%s, then %s after %d: got %q, %v; the disk opens to %v", first.name,
						second.name, left, got, err, m.opens(master))
				}
			}
		}
	}
}

// TestDiskKeepsWhatIsNotErased is the control: without the overwriting the old secret is still on the disk.
func TestDiskKeepsWhatIsNotErased(t *testing.T) {
	master := private.KeyOf([32]byte{7})
	m := newMemory()
	m.careless = true
	f := File{path: "secrets", master: master, disk: m}
	f.Replace([]byte("old seed"))
	if err := f.Replace([]byte("new seed")); err != nil {
		t.Fatal(err)
	}
	if !m.opens(master)["old seed"] {
		t.Error("the oracle is blind: it does not find a secret that was not erased")
	}
}

// TestRealDiskDoesWhatTheModelDoes runs the same steps on the file system.
func TestRealDiskDoesWhatTheModelDoes(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	m := newMemory()
	for i, do := range []func(d disk) error{
		func(d disk) error { return d.sync(a) },
		func(d disk) error { return d.zero(a, 2) },
		func(d disk) error { return d.write(a, []byte("nowhere")) },
		func(d disk) error { return d.create(a) },
		func(d disk) error { return d.write(a, []byte("longer")) },
		func(d disk) error { return d.create(a) },
		func(d disk) error { return d.write(a, []byte("hello")) },
		func(d disk) error { return d.zero(a, 2) },
		func(d disk) error { return d.sync(a) },
		func(d disk) error { return d.rename(a, b) },
		func(d disk) error { return d.rename(a, b) },
		func(d disk) error { return d.syncDir(a) },
		func(d disk) error { return d.create(a) },
		func(d disk) error { return d.remove(a) },
		func(d disk) error { return d.remove(a) },
	} {
		if got, want := do(osDisk{}), do(m); (got == nil) != (want == nil) {
			t.Errorf("step %d: got %v, want %v", i, got, want)
		}
		for _, path := range []string{a, b} {
			got, gerr := osDisk{}.read(path)
			want, werr := m.read(path)
			if string(got) != string(want) || (gerr == nil) != (werr == nil) {
				t.Errorf("step %d, %s: got %q, %v, want %q, %v", i, path, got, gerr, want, werr)
			}
		}
	}
}
