package consensus

import (
	"math"

	"github.com/hashicorp/raft"
)

// logCache holds the newest entries, so that replicators need not read back what was just written. It is
// bounded in bytes: coalesced entries differ in size by a factor of thousands.
type logCache struct {
	limit int
	bytes int
	first uint64 // index of entries[0]
	logs  []*raft.Log
}

// entryCost is charged for an entry besides its data.
const entryCost = 128

func (c *logCache) add(l *raft.Log) {
	if n := len(c.logs); n > 0 && c.first+uint64(n) != l.Index {
		c.clear()
	}
	if len(c.logs) == 0 {
		c.first = l.Index
	}
	c.logs = append(c.logs, l)
	c.bytes += entryCost + len(l.Data)
	for c.bytes > c.limit && len(c.logs) > 0 {
		c.shift()
	}
}

func (c *logCache) get(index uint64, out *raft.Log) bool {
	if index < c.first || index-c.first >= uint64(len(c.logs)) {
		return false
	}
	*out = *c.logs[index-c.first]
	return true
}

func (c *logCache) shift() {
	c.bytes -= entryCost + len(c.logs[0].Data)
	c.logs[0] = nil
	c.logs = c.logs[1:]
	c.first++
}

func (c *logCache) dropThrough(index uint64) {
	for len(c.logs) > 0 && c.first <= index {
		c.shift()
	}
}

func (c *logCache) dropFrom(index uint64) {
	for n := len(c.logs); n > 0 && c.first+uint64(n-1) >= index; n-- {
		c.bytes -= entryCost + len(c.logs[n-1].Data)
		c.logs[n-1] = nil
		c.logs = c.logs[:n-1]
	}
}

func (c *logCache) clear() { c.logs, c.bytes = nil, 0 }

// ledger accounts for the bytes of the log: how much has grown since the last snapshot, and which entries lie
// behind the newest retain bytes. It knows the entries written or read since the group was opened; those
// before count as old.
type ledger struct {
	retain int64
	limit  int64  // a snapshot is due when grown reaches it
	total  int64  // bytes of all entries accounted for
	grown  int64  // bytes since the last snapshot
	marks  []mark // rising in both fields
}

// mark says that the entries through index add up to total bytes.
type mark struct {
	index uint64
	total int64
}

// markEvery is the distance of marks in bytes.
const markEvery = 64 << 10

func (l *ledger) add(index uint64, size int) {
	if len(l.marks) == 0 {
		l.marks = append(l.marks, mark{index - 1, l.total})
	}
	l.total += int64(size) + entryCost
	l.grown += int64(size) + entryCost
	if last := l.marks[len(l.marks)-1]; l.total-last.total >= markEvery {
		l.marks = append(l.marks, mark{index, l.total})
	}
}

// deletable returns the highest index behind which at least retain bytes remain, or the last one that is not
// accounted for.
func (l *ledger) deletable() uint64 {
	if len(l.marks) == 0 {
		return math.MaxUint64 // nothing was written since the start
	}
	n := 0
	for n+1 < len(l.marks) && l.total-l.marks[n+1].total >= l.retain {
		n++
	}
	l.marks = l.marks[n:]
	return l.marks[0].index
}

// dropFrom forgets the entries from index on. Their bytes stay in the sums, which errs on the side of a
// snapshot.
func (l *ledger) dropFrom(index uint64) {
	for n := len(l.marks); n > 0 && l.marks[n-1].index >= index; n-- {
		l.marks = l.marks[:n-1]
	}
}
