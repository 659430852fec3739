package onionrouter

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/crypto/cryptobyte"

	"github.com/starling-swarm/starling/internal/directory"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/private"
	"github.com/starling-swarm/starling/internal/safefile"
	"github.com/starling-swarm/starling/onionrouter/onion"
)

const (
	keyFile     = "onion-keys"
	keysVersion = 1
	keysAhead   = 4                // periods published beyond the current one
	keyGrace    = 30 * time.Minute // how long the last period's key is still accepted
	clockSlack  = 5 * time.Minute  // how early the next period's key is accepted
	maxKeys     = 64
)

// periodKey is a relay's key for one period.
type periodKey struct {
	private.Redacted
	period uint32
	seed   private.Key
	key    *onion.PrivateKey
}

// keyring holds the onion keys of a node and their file: version u8 | count u8 | count x (period u32 | seed
// 32). A key that is not in the file any more is gone for good.
type keyring struct {
	path string

	mu      sync.Mutex
	keys    []periodKey // rising periods
	changed chan struct{}
}

func periodOf(t time.Time) uint32 { return uint32(t.Unix() / directory.PeriodSeconds) }

// openKeyring reads the file, if there is one, and makes what is missing. fresh reports that there was none.
func openKeyring(dir string, now time.Time) (k *keyring, fresh bool, err error) {
	k = &keyring{path: filepath.Join(dir, keyFile), changed: make(chan struct{}, 1)}
	b, err := os.ReadFile(k.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		fresh = true
	case err != nil:
		return nil, false, fault.Wrap(fault.Internal, "read onion keys", err)
	default:
		if k.keys, err = decodeKeys(b); err != nil {
			return nil, false, err
		}
	}
	// Nothing is erased here: the directory that says which keys are still in use may not be known yet.
	return k, fresh, k.rotate(now, 0)
}

func decodeKeys(b []byte) ([]periodKey, error) {
	const op = "read onion keys"
	s := cryptobyte.String(b)
	var version, n uint8
	if !s.ReadUint8(&version) || version != keysVersion {
		return nil, fault.New(fault.Corrupt, op, "version %d, want %d", version, keysVersion)
	}
	if !s.ReadUint8(&n) || n > maxKeys || len(s) != int(n)*(4+onion.SeedSize) {
		return nil, fault.New(fault.Corrupt, op, "%d keys in %d bytes", n, len(b))
	}
	keys := make([]periodKey, n)
	for i := range keys {
		k := &keys[i]
		s.ReadUint32(&k.period)
		var seed [onion.SeedSize]byte
		s.CopyBytes(seed[:])
		k.seed = private.KeyOf(seed)
		if i > 0 && k.period <= keys[i-1].period {
			return nil, fault.New(fault.Corrupt, op, "periods do not rise")
		}
		var err error
		if k.key, err = onion.ParsePrivate(k.seed); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

// rotate makes the keys of the current period and the next ones, erases what is over, and writes the file if
// that changed anything. inUse is the newest period that clients can know of from the directory, and not
// later than now; its key stays, so that a node that cannot publish does not shut its clients out. Zero keeps
// every key.
func (k *keyring) rotate(now time.Time, inUse uint32) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	current := periodOf(now)
	oldest := periodOf(now.Add(-keyGrace))
	keys := slices.DeleteFunc(slices.Clone(k.keys), func(p periodKey) bool {
		return inUse != 0 && p.period < oldest && p.period < inUse
	})
	dirty := len(keys) != len(k.keys)
	if over := len(keys) - (maxKeys - keysAhead - 1); over > 0 {
		keys = keys[over:]
	}
	for p := current; p <= current+keysAhead; p++ {
		if slices.ContainsFunc(keys, func(q periodKey) bool { return q.period == p }) {
			continue
		}
		seed, _, err := onion.GenerateKey(rand.Reader)
		if err != nil {
			return err
		}
		key, err := onion.ParsePrivate(seed)
		if err != nil {
			return err
		}
		keys = append(keys, periodKey{period: p, seed: seed, key: key})
		dirty = true
	}
	if !dirty {
		return nil
	}
	slices.SortFunc(keys, func(a, b periodKey) int { return int(int64(a.period) - int64(b.period)) })
	b := []byte{keysVersion, byte(len(keys))}
	for _, p := range keys {
		b = binary.BigEndian.AppendUint32(b, p.period)
		seed := p.seed.Reveal()
		b = append(b, seed[:]...)
	}
	if err := safefile.Replace(k.path, b); err != nil {
		return fault.Wrap(fault.Internal, "write onion keys", err)
	}
	k.keys = keys
	select {
	case k.changed <- struct{}{}:
	default:
	}
	return nil
}

// published returns what the directory should list: current and coming periods.
func (k *keyring) published(now time.Time) (out []directory.OnionKey) {
	k.mu.Lock()
	defer k.mu.Unlock()
	current := periodOf(now)
	for _, p := range k.keys {
		if p.period >= current && p.period <= current+keysAhead {
			out = append(out, directory.OnionKey{Period: p.period, Key: p.key.Public()})
		}
	}
	return out
}

// candidates returns the keys that a create packet of now may be sealed to, the likeliest first.
func (k *keyring) candidates(now time.Time, inUse uint32) (out []periodKey) {
	k.mu.Lock()
	defer k.mu.Unlock()
	add := func(period uint32) {
		for _, p := range k.keys {
			if p.period == period && !slices.ContainsFunc(out,
				func(q periodKey) bool { return q.period == period }) {
				out = append(out, p)
			}
		}
	}
	if inUse != 0 {
		add(inUse)
	}
	add(periodOf(now))
	add(periodOf(now.Add(-keyGrace)))
	add(periodOf(now.Add(clockSlack)))
	return out
}
