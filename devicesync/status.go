package devicesync

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
)

// Version names the settled state of a document: replicas whose versions are equal hold the same. "": nothing
// is there.
func (r *Replica) Version(doc Doc) string {
	var keys []subjectKey
	for _, k := range slices.Collect(maps.Keys(r.subjects)) {
		if k.doc == doc && len(r.subjects[k].settled) > 0 {
			keys = append(keys, k)
		}
	}
	if len(keys) == 0 {
		return ""
	}
	h := sha256.New()
	for _, k := range sortKeys(keys) {
		h.Write(encodeEntries(versionSnapshot, r.subjects[k].settled))
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// Pending is how many changes of a document wait for an acknowledgement.
func (r *Replica) Pending(doc Doc) (n int) {
	for k, s := range r.subjects {
		if k.doc == doc {
			n += len(s.dirty)
		}
	}
	return n
}

// ChangedAt returns when a Latest field was given its value, in Unix milliseconds by the clocks of the
// account's devices; 0: it has none.
func (r *Replica) ChangedAt(f Field, subject string) int64 {
	if e := r.read(key{field: f, subject: subject}); e != nil && f.Shape == Latest {
		return e.clock.Wall
	}
	return 0
}
