package groups

import (
	"crypto/rand"
	"testing"
	"time"

	"github.com/starling-swarm/starling/internal/envelope"
)

// TestRemovalAlwaysFitsItsRequest: whoever is removed, however many leaf keys wait, and whatever the log
// owes.
func TestRemovalAlwaysFitsItsRequest(t *testing.T) {
	for _, form := range []Form{FormShared, FormOwn} {
		for _, n := range []int{1, 400, maxBeside, maxBeside + 1, 700, MaxMembers - MaxLeaves - 1} {
			_, alice := foundForm(t, 1, form)
			next := alice.core.clone()
			var all []Target
			for i := 1; i <= n; i++ {
				m := *alice.Member(alice.id)
				m.Account, m.Role, m.Joined, m.Sign[0] = accountOf(1000+i), Plain, uint64(i), byte(i)
				next.members = append(next.members, m.seal())
				all = append(all, Target{Account: m.Account, Joined: m.Joined})
			}
			ch := Change{Kind: KindRemove, Targets: all}
			for i := range MaxLeaves {
				m := *alice.Member(alice.id)
				m.Account, m.Role = accountOf(5000+i), Plain
				next.members = append(next.members, m.seal())
				u := LeafUpdate{Account: m.Account, Number: 2, Leaf: m.Leaf}
				u.Signature = alice.sign.sign(labelLeaf, u.signed(next.group))
				ch.Leaves = append(ch.Leaves, u)
			}
			next.gaps = maxGaps
			alice.core, alice.past = next, make([]secret, maxGaps)
			p, err := alice.Propose(rand.Reader, start, ch)
			if err != nil {
				t.Errorf("form %d, %d members: %v", form, n, err)
				continue
			}
			c, err := decodeCommit(p.Commit)
			if err != nil {
				t.Fatal(err)
			}
			g := expandOf(t, alice, c, p)
			content, err := alice.open(c, &g.all)
			if err != nil {
				t.Fatal(err)
			}
			done, err := decodeChange(c.Kind, content.change)
			if err != nil || len(done.Targets) != n || len(done.Leaves) == 0 {
				t.Errorf("form %d: got %d leaf keys, %v for %d members, want those and some leaf keys", form,
					len(done.Leaves), err, n)
			}
			head := uint64(1)
			r := &envelope.Request{Ops: append([]envelope.Op{envelope.Store{Namespace: envelope.GroupLog,
				IfHead: &head, Body: p.Commit}}, p.Ops...)}
			if got, most := len(r.Encode()), envelope.MaxClientBatch-2048; got > most {
				t.Errorf("form %d, %d members and %d leaf keys: the request has %d bytes, want at most %d",
					form, n, len(done.Leaves), got, most)
			}
		}
	}
}

// expandOf returns what the author of a proposal gets by it.
func expandOf(t *testing.T, s *user, c *commit, p *Proposal) *grant {
	t.Helper()
	at, _, err := s.Needs(p.Commit)
	if err != nil {
		t.Fatal(err)
	}
	o, err := s.openSlot(c, at, p.Find(at), s.leaves)
	if err != nil {
		t.Fatal(err)
	}
	return o.grant
}

// TestNewcomerIsGivenNoMoreDaysThanASlotNames: an invitation may promise any number, and an admin may have
// kept them.
func TestNewcomerIsGivenNoMoreDaysThanASlotNames(t *testing.T) {
	b, alice := found(t, 1)
	b.now = b.now.Add((maxAhead + 100) * 24 * time.Hour)
	bob := b.admit(t, alice, 2, 60_000)
	if _, err := bob.Open(say(t, b, bob, "hello")); err != nil {
		t.Error(err)
	}
}
