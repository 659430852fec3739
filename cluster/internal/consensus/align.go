package consensus

import (
	"fmt"

	"github.com/hashicorp/raft"
)

// Where a log meets a snapshot, hashicorp/raft can loop for ever: it forgets the term of a snapshot's last
// entry when the log behind it is not empty. A follower that has stored the first entries after a snapshot,
// and whose acknowledgement was lost, is asked whether it has the entry before them. It looks in its log,
// does not find it, and says no; the leader sends the snapshot, and asks again. The same happens to a
// follower whose log diverges from the leader's beyond the snapshot. Two rules end it:
//
//   - the log answers for the last entry of a snapshot, with its true term, although the entry itself is
//     gone;
//   - after a snapshot is installed, the log holds nothing that contradicts it.

// pointOnly is the type of the answer for an entry of which only index and term are known. Raft asks for no
// more; if it ever applied such an entry, it would stop at the unknown type.
const pointOnly raft.LogType = 255

// maxPoints bounds the snapshots that the log answers for: those that are kept, and one that was just reaped.
const maxPoints = keepSnapshots + 1

// addPoint makes the log answer for the last entry of a snapshot. The first entry of all is left out: a
// leader that sends the log from its beginning does not ask for the entry before, and must find that it has
// no first entry.
func (s *logStore) addPoint(index, term uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if index <= 1 {
		return
	}
	s.points[index] = term
	for len(s.points) > maxPoints {
		oldest := index
		for i := range s.points {
			oldest = min(oldest, i)
		}
		delete(s.points, oldest)
	}
}

// align fits the log to a snapshot whose last entry has the given index and term. Entries up to that index
// go, unless the log has that very entry: then, by Raft's log matching, all before it are right as well.
//
// If the log ends in another entry at just this index, a running Raft would compare with that one, from
// memory, for ever; then the replica stops, and finds everything in order when it is opened again.
func (s *logStore) align(index, term uint64, running bool) error {
	first, err := s.FirstIndex()
	if err != nil {
		return err
	}
	last, err := s.LastIndex()
	if err != nil || last == 0 || index < first {
		return err
	}
	var entry raft.Log
	if index <= last {
		if err := s.read(index, &entry); err != nil {
			return err
		}
		if entry.Term == term {
			return nil
		}
	}
	through := min(index, last)
	s.mu.Lock()
	s.cache.dropThrough(through)
	s.mu.Unlock()
	if err := s.truncate(first, through); err != nil {
		return err
	}
	if running && index == last {
		err := fmt.Errorf("log ended in entry %d of term %d, installed snapshot has it of term %d: "+
			"open the replica again", index, entry.Term, term)
		s.fail(err)
		return err
	}
	return nil
}
