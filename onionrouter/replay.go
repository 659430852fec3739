package onionrouter

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/safefile"
	"github.com/starling-swarm/starling/onionrouter/onion"
)

const (
	replayDir    = "replay"
	bootFile     = "boot"
	bucketPrefix = "bucket-"
	tagBytes     = 16
	maxTags      = 4 << 20 // of one bucket: 64 MiB, far above what a node can open in five minutes
)

type replayTag = [tagBytes]byte

// replaySet knows every create packet that the node served in the buckets it accepts. The set of a bucket is
// exact and is dropped whole. Each tag is appended to the bucket's file before the packet goes on: a plain
// write, which survives the process. What an operating system that crashed may have lost is covered by
// refusing the buckets up to the one in which it came up again, which the kernel's boot ID tells.
type replaySet struct {
	dir string

	mu      sync.Mutex
	buckets map[uint32]*replayBucket
	floor   uint32 // buckets up to here are refused; 0: none
}

type replayBucket struct {
	seen map[replayTag]struct{}
	file *os.File
}

// openReplay loads the files. bootID names the run of the operating system; ever tells whether the node has
// keys that it may have served under before.
func openReplay(dir, bootID string, ever bool, now time.Time) (*replaySet, error) {
	const op = "open replay set"
	r := &replaySet{dir: filepath.Join(dir, replayDir), buckets: map[uint32]*replayBucket{}}
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		return nil, fault.Wrap(fault.Internal, op, err)
	}
	boot := filepath.Join(r.dir, bootFile)
	last, err := os.ReadFile(boot)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fault.Wrap(fault.Internal, op, err)
	}
	if ever && (bootID == "" || string(last) != bootID) {
		r.floor = onion.BucketOf(now)
	}
	if string(last) != bootID || err != nil {
		if err := safefile.Replace(boot, []byte(bootID)); err != nil {
			return nil, fault.Wrap(fault.Internal, op, err)
		}
	}
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		return nil, fault.Wrap(fault.Internal, op, err)
	}
	for _, e := range entries {
		n, err := strconv.ParseUint(strings.TrimPrefix(e.Name(), bucketPrefix), 10, 32)
		if err != nil || !strings.HasPrefix(e.Name(), bucketPrefix) {
			continue
		}
		if err := r.load(uint32(n)); err != nil {
			return nil, fault.Wrap(fault.Internal, op, err)
		}
	}
	return r, r.prune(now)
}

func (r *replaySet) path(bucket uint32) string {
	return filepath.Join(r.dir, fmt.Sprintf("%s%d", bucketPrefix, bucket))
}

// load reads a bucket's file, or makes it. A torn tag at its end belongs to a packet that was not served.
func (r *replaySet) load(bucket uint32) error {
	f, err := os.OpenFile(r.path(bucket), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	b, err := io.ReadAll(io.LimitReader(f, maxTags*tagBytes))
	if err == nil {
		_, err = f.Seek(int64(len(b)/tagBytes*tagBytes), io.SeekStart)
	}
	if err != nil {
		f.Close()
		return err
	}
	bu := &replayBucket{seen: make(map[replayTag]struct{}, len(b)/tagBytes), file: f}
	for ; len(b) >= tagBytes; b = b[tagBytes:] {
		bu.seen[replayTag(b[:tagBytes])] = struct{}{}
	}
	r.buckets[bucket] = bu
	return nil
}

// has reports whether the tag was served in any bucket; it needs no key and so comes before all cryptography.
func (r *replaySet) has(tag replayTag) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, b := range r.buckets {
		if _, ok := b.seen[tag]; ok {
			return true
		}
	}
	return false
}

// add takes a tag in; false if the bucket is not accepted now or the tag is known.
func (r *replaySet) add(tag replayTag, bucket uint32, now time.Time) (bool, error) {
	current := onion.BucketOf(now)
	if bucket+1 < current || bucket > current+1 {
		return false, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if bucket <= r.floor {
		return false, nil
	}
	b := r.buckets[bucket]
	if b == nil {
		if err := r.load(bucket); err != nil {
			return false, fault.Wrap(fault.Internal, "add to replay set", err)
		}
		b = r.buckets[bucket]
	}
	if _, seen := b.seen[tag]; seen || len(b.seen) >= maxTags {
		return false, nil
	}
	b.seen[tag] = struct{}{}
	if _, err := b.file.Write(tag[:]); err != nil {
		return false, fault.Wrap(fault.Internal, "add to replay set", err)
	}
	if bucket > current {
		// A client ahead of this clock: the floor after a crash of the system would not cover its bucket.
		if err := b.file.Sync(); err != nil {
			return false, fault.Wrap(fault.Internal, "add to replay set", err)
		}
	}
	return true, nil
}

// prune drops the buckets that are not accepted any more.
func (r *replaySet) prune(now time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var errs []error
	for n, b := range r.buckets {
		if n+1 < onion.BucketOf(now) {
			errs = append(errs, b.file.Close(), os.Remove(r.path(n)))
			delete(r.buckets, n)
		}
	}
	return errors.Join(errs...)
}

func (r *replaySet) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for n, b := range r.buckets {
		b.file.Close()
		delete(r.buckets, n)
	}
	r.floor = 1<<32 - 1 // nothing is served from here on
}
