package circuit

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/starling-swarm/starling/internal/directory"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/safefile"
	"github.com/starling-swarm/starling/onionrouter/paths"
)

const (
	stateName    = "network"
	stateVersion = 1
)

// kept is the content of the state file.
type kept struct {
	V       int             `json:"v"`
	Cluster ident.ClusterID `json:"cluster"`
	// the newest directory seen: nothing older is accepted
	Version   uint64       `json:"version"`
	Directory []byte       `json:"directory"`        // that directory, signed
	Sample    paths.Sample `json:"sample"`           // guards and middles
	Passed    []keptPassed `json:"passed,omitempty"` // guards that failed lately
}

// stateFile is what a profile keeps of the network.
type stateFile struct {
	path string

	mu sync.Mutex
	k  kept
}

func openState(dir string, cluster ident.ClusterID) (*stateFile, error) {
	const op = "load network state"
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fault.Wrap(fault.Internal, op, err)
	}
	s := &stateFile{path: filepath.Join(dir, stateName), k: kept{V: stateVersion, Cluster: cluster}}
	b, err := os.ReadFile(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, fault.Wrap(fault.Internal, op, err)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	var k kept
	if err := d.Decode(&k); err != nil {
		return nil, fault.Wrap(fault.Corrupt, op, err)
	}
	if k.V != stateVersion {
		return nil, fault.New(fault.Corrupt, op, "version %d, want %d", k.V, stateVersion)
	}
	if k.Cluster != cluster {
		return nil, fault.New(fault.Denied, op, "is of cluster %s, want %s", k.Cluster, cluster)
	}
	s.k = k
	return s, nil
}

// signed returns the newest directory seen; nil before the first.
func (s *stateFile) signed() *directory.Signed {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.k.Directory) == 0 {
		return nil
	}
	d, err := directory.DecodeSigned(s.k.Directory)
	if err != nil {
		return &directory.Signed{} // fails its verification
	}
	return d
}

// seen returns the newest version seen.
func (s *stateFile) seen() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.k.Version
}

// middles returns the middles to prefer.
func (s *stateFile) middles() []ident.NodeID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.k.Sample.Pinned()
}

// update changes the state and, if change says so, writes it before it returns.
func (s *stateFile) update(change func(*kept) bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !change(&s.k) {
		return nil
	}
	b, err := json.Marshal(&s.k)
	if err == nil {
		err = safefile.Replace(s.path, b)
	}
	if err != nil {
		return fault.Wrap(fault.Internal, "keep network state", err)
	}
	return nil
}
