package groups

import (
	"crypto/rand"
	"testing"
)

// crowd fills a group to n members without their commits, as a state that was read from disk.
func crowd(b testing.TB, n int) (*mailbox, *user, *user) {
	box, alice := found(b, 1)
	bob := box.add(b, alice, 2)
	leaf := alice.Member(alice.id)
	next := alice.core.clone()
	for i := len(next.members); i < n; i++ {
		m := *leaf
		m.Account, m.Role, m.Joined = accountOf(1000+i), Plain, uint64(i)
		next.members = append(next.members, m.seal())
	}
	alice.core, bob.core = next, next
	return box, alice, bob
}

// onWire is what a proposal weighs: each slot with its root and the overhead of its operation.
func onWire(p *Proposal) int {
	total := len(p.Commit)
	for i := range p.Slots {
		total += len(p.Body(i)) + 45
	}
	return total
}

// BenchmarkRemovalAt1000Members reports what an admin makes and stores, and what each member fetches.
func BenchmarkRemovalAt1000Members(b *testing.B) {
	box, alice, bob := crowd(b, 1000)
	ch := Change{Kind: KindRemove, Targets: target(alice, accountOf(1500))}
	var p *Proposal
	b.Run("admin", func(b *testing.B) {
		for b.Loop() {
			var err error
			if p, err = alice.Propose(rand.Reader, box.now, ch); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(onWire(p)), "wire-B")
	})
	b.Run("member", func(b *testing.B) {
		at, _, err := bob.Needs(p.Commit)
		if err != nil {
			b.Fatal(err)
		}
		slot := p.Find(at)
		for b.Loop() {
			if err := bob.Clone().Apply(box.now, p.Commit, slot); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(len(slot)), "slot-B")
		b.ReportMetric(float64(len(p.Commit)), "commit-B")
	})
	b.Run("member that shares", func(b *testing.B) {
		at, _, err := bob.Needs(p.Commit)
		if err != nil {
			b.Fatal(err)
		}
		slot, sh := p.Find(at), new(Shared)
		for b.Loop() {
			s := bob.Clone()
			s.Share(sh)
			if err := s.Apply(box.now, p.Commit, slot); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkStateOf1000Members writes and reads what a client persists after a commit.
func BenchmarkStateOf1000Members(b *testing.B) {
	_, alice, _ := crowd(b, 1000)
	var raw []byte
	b.Run("write", func(b *testing.B) {
		for b.Loop() {
			raw = alice.Marshal()
		}
		b.ReportMetric(float64(len(raw)), "B")
	})
	b.Run("read", func(b *testing.B) {
		for b.Loop() {
			if _, err := Unmarshal(raw); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkFillTo1000Members adds members by full commits, and enters at the end.
func BenchmarkFillTo1000Members(b *testing.B) {
	for b.Loop() {
		box, alice := found(b, 1)
		var last *user
		for n := 1; n < MaxMembers; {
			ch := Change{Kind: KindAdd}
			for ; len(ch.Adds) < MaxAdds && n < MaxMembers; n++ {
				last = newUser(b, 1+n)
				ch.Adds = append(ch.Adds, direct(last))
			}
			box.commit(b, alice, ch)
		}
		box.enter(b, last)
		b.ReportMetric(float64(len(box.log)), "commits")
	}
}

// direct is an addition without an invitation.
func direct(u *user) Addition {
	m := &Member{Account: u.id, Sign: u.keys.SignPublic(), Leaf: u.keys.leaf.box().PublicKey().Bytes(),
		LeafNumber: 1, Credential: make([]byte, 64)}
	return Addition{Member: m, slot: secret{b: u.keys.slot.b}}
}

// BenchmarkMessage1KiB seals and opens; the size is what a node stores.
func BenchmarkMessage1KiB(b *testing.B) {
	box, alice := found(b, 1)
	text := string(make([]byte, 1024))
	size := 0
	for b.Loop() {
		blob := say(b, box, alice, text)
		if _, err := alice.Open(blob); err != nil {
			b.Fatal(err)
		}
		size = len(blob)
	}
	b.ReportMetric(float64(size), "stored-B")
}

// TestRemovalAt1000MembersFitsItsBudget holds the sizes, which do not depend on the machine.
func TestRemovalAt1000MembersFitsItsBudget(t *testing.T) {
	box, alice, bob := crowd(t, 1000)
	p, err := alice.Propose(rand.Reader, box.now, Change{Kind: KindRemove, Targets: target(alice,
		accountOf(1500))})
	if err != nil {
		t.Fatal(err)
	}
	at, must, err := bob.Needs(p.Commit)
	if err != nil || !must {
		t.Fatalf("got %v, %v, want a slot needed", must, err)
	}
	for name, c := range map[string]struct{ got, most int }{
		"slots and commit": {onWire(p),
			1_500_000}, "a slot and the commit": {len(p.Find(at)) + 45 + len(p.Commit) + 45, 2048},
		"slots":      {len(p.Slots), MaxSlots},
		"a handover": {len(bob.Handover()), 4096}, "a state": {len(bob.Marshal()), 1_600_000},
	} {
		if c.got > c.most {
			t.Errorf("%s: got %d, want at most %d", name, c.got, c.most)
		}
	}
	t.Logf("wire %d, commit %d, slot %d, handover %d, state %d", onWire(p), len(p.Commit), len(p.Find(at)),
		len(bob.Handover()), len(bob.Marshal()))
}
