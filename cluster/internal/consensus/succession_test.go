package consensus

import (
	"errors"
	"fmt"
	"testing"

	"github.com/hashicorp/raft"
)

// The timeouts of these groups are an hour: only what the survivors see of the dead leader can bring another.
func TestDeadLeaderIsReplacedWithoutTimeout(t *testing.T) {
	for _, n := range []int{3, 5} {
		t.Run(fmt.Sprint(n, " servers"), func(t *testing.T) {
			c := startCluster(t, n, never)
			c.propose("before")
			c.converge("before")
			live := c.members
			for len(live) > n/2+1 { // as long as a majority is left
				dead := c.leader(live...)
				dead.crash()
				var rest []*member
				for _, m := range live {
					if m != dead {
						rest = append(rest, m)
					}
				}
				live = rest
				after := fmt.Sprint("after ", len(live))
				c.propose(after, live...)
				c.converge(after, live...)
			}
		})
	}
}

// The survivor whose log is shorter must not keep the other from standing.
func TestSurvivorWithTheLongestLogSucceeds(t *testing.T) {
	c := startCluster(t, 3, never)
	c.propose("common")
	c.converge("common")
	lead := c.leader()
	rest := others(c, lead)
	behind, ahead := rest[0], rest[1]
	if behind.id.String() < ahead.id.String() { // equal logs would be decided by name, for the other one
		behind, ahead = ahead, behind
	}
	behind.sw.Cut(true)
	c.propose("more", lead, ahead)
	ahead.fsm.waitFor(t, "more")
	lead.crash()
	behind.sw.Cut(false)
	if got := c.leader(rest...); got != ahead {
		t.Errorf("got leader %s, want %s, which has an entry more", got.id, ahead.id)
	}
}

// A survivor whose log grew behind the answers has to stand after the one that stood first, and lost.
func TestLostElectionIsFollowedByAnother(t *testing.T) {
	c := startCluster(t, 3, never)
	c.propose("common")
	c.converge("common")
	lead := c.leader()
	rest := others(c, lead)
	behind, ahead := rest[0], rest[1]
	behind.sw.Cut(true)
	c.propose("more", lead, ahead)
	ahead.fsm.waitFor(t, "more")
	setRefuse := func(f func(from, to ServerID) error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.refuse = f
	}
	setRefuse(func(_, to ServerID) error { // nobody finds out yet that the leader is gone
		if to == lead.id {
			return errors.New("unreachable")
		}
		return nil
	})
	lead.crash()
	behind.sw.Cut(false)
	changes := ahead.group.LeaderChanges()
	behind.group.stand()
	<-changes
	setRefuse(nil)
	if got := c.leader(rest...); got != ahead {
		t.Errorf("got leader %s, want %s, which has an entry more", got.id, ahead.id)
	}
}

// One replica's word that the leader is gone counts for nothing as long as another hears the leader.
func TestLivingLeaderIsNotSucceeded(t *testing.T) {
	c := startCluster(t, 3, never)
	c.propose("common")
	c.converge("common")
	lead := c.leader()
	term := lead.group.Stats().Term
	id := raft.ServerID(lead.id.String())
	for _, m := range others(c, lead) {
		m.group.setGone(id)
		if m.group.chosen(id) {
			t.Errorf("replica %s was chosen in place of a leader that the other one hears", m.id)
		}
		m.group.setGone("")
	}
	c.propose("more")
	if got := lead.group.Stats(); got.Term != term || got.Role != "leader" {
		t.Errorf("got %s of term %d, want the leader of term %d", got.Role, got.Term, term)
	}
}

func TestSurvivorsChooseOneHeir(t *testing.T) {
	c := startCluster(t, 3, never)
	c.propose("common")
	c.converge("common")
	lead := c.leader()
	rest := others(c, lead)
	id := raft.ServerID(lead.id.String())
	for _, m := range rest {
		m.group.setGone(id)
	}
	index, term, err := rest[0].group.end()
	if err != nil {
		t.Fatal(err)
	}
	now := rest[0].group.raft.CurrentTerm()
	own := rest[0].id.String()
	tests := []struct {
		name              string
		term, last, index uint64
		id                string
		want              bool
	}{
		{"longer log", now + 1, term, index + 1, "", true},
		{"newer log", now + 1, term + 1, index - 1, "", true},
		{"same log, higher name", now + 1, term, index, own + "1", true},
		{"same log, lower name", now + 1, term, index, "", false},
		{"shorter log", now + 1, term, index - 1, own + "1", false},
		{"older log", now + 1, term - 1, index + 1, own + "1", false},
		{"term that is over", now, term, index + 1, own + "1", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			req := &raft.RequestPreVoteRequest{RPCHeader: raft.RPCHeader{ID: []byte(test.id)},
				Term: test.term, LastLogTerm: test.last, LastLogIndex: test.index}
			if got := rest[0].group.answerHeir(req); got == nil || got.Granted != test.want {
				t.Errorf("got %+v, want granted %t", got, test.want)
			}
		})
	}
	if a, b := rest[0].group.chosen(id), rest[1].group.chosen(id); a == b {
		t.Errorf("got both chosen %t, want exactly one", a)
	}
}

// A survivor that was restarted has closed the idle connections to it; it votes nevertheless.
func TestRestartedPeerIsAskedForItsVote(t *testing.T) {
	c := startCluster(t, 3, never)
	c.propose("common")
	c.converge("common")
	rest := others(c, c.leader())
	asks, asked := rest[0], rest[1]
	ask := func() error {
		req := &raft.RequestPreVoteRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax,
			ID: []byte(asks.id.String()), Addr: []byte(asks.id.String())}}
		id := asked.id.String()
		return asks.group.trans.RequestPreVote(raft.ServerID(id), raft.ServerAddress(id), req,
			new(raft.RequestPreVoteResponse))
	}
	if err := ask(); err != nil {
		t.Fatal(err)
	}
	asked.crash()
	asked.start()
	if err := ask(); err != nil {
		t.Errorf("after the restart: got %v, want an answer", err)
	}
}
