package account

import (
	"bytes"
	"crypto/rand"
	"errors"
	"strings"
	"testing"

	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/private"
)

// takenOver is Alice whose account somebody with her phrase has recovered; old is her device, thief the
// other's.
func takenOver(t testing.TB) (alice *person, old, thief *State, pinned *Chain) {
	t.Helper()
	alice = newPerson(t, 1, testStart)
	old = alice.devices[0]
	alice.rotate(old, Rotation{}, testStart)
	pinned, _ = old.Chain()
	thief, err := NewDevice(rand.Reader, alice.id, testCluster, "thief", testStart)
	if err != nil {
		t.Fatal(err)
	}
	thief.LearnCerts(alice.box.in(envelope.Certs))
	if err := thief.Recover(rand.Reader, alice.root(), testStart); err != nil {
		t.Fatal(err)
	}
	alice.settle(thief, testStart)
	if _, err := alice.catchUp(old, testStart); !errors.Is(err, fault.Denied) || !old.Revoked() {
		t.Fatalf("the old device: got %v, want to be left out", err)
	}
	return alice, old, thief, pinned
}

func TestContest(t *testing.T) {
	alice, old, thief, pinned := takenOver(t)
	if _, _, err := thief.Contest(rand.Reader, testStart); !errors.Is(err, fault.NotFound) {
		t.Errorf("contest of who recovered: got %v, want not found", err)
	}
	// It survives a restart and the thief's next generations.
	old, err := UnmarshalState(old.Marshal())
	if err != nil {
		t.Fatal(err)
	}
	k, req, err := old.Contest(rand.Reader, testStart)
	if err != nil {
		t.Fatal(err)
	}
	if err := req.Check(); err != nil {
		t.Errorf("request: %v", err)
	}
	put := req.Ops[0].(envelope.Store)
	got, err := OpenContest(alice.id, envelope.Envelope{Namespace: envelope.Contest, Key: put.Key,
		Body: put.Body})
	if err != nil || !bytes.Equal(got.Bytes(), k.Bytes()) {
		t.Fatalf("open contest: %v", err)
	}
	if _, err := OpenContest(alice.id, envelope.Envelope{Namespace: envelope.Contest, Key: GroupKey(9),
		Body: put.Body}); err == nil {
		t.Error("it opens under another key")
	}
	chain, _ := thief.Chain()
	if !got.Against(chain, nil) {
		t.Error("it does not count, though the recovery names its author as predecessor")
	}
	alice.rotate(thief, Rotation{}, testStart)
	longer, _ := thief.Chain()
	if !got.Against(longer, pinned) {
		t.Error("it does not count after the thief's next generation")
	}
	if got.Against(pinned, pinned) || got.Against(nil, nil) {
		t.Error("it counts for who has not seen the recovery")
	}
	bob := newPerson(t, 2, testStart)
	other, _ := bob.devices[0].Chain()
	if got.Against(other, nil) {
		t.Error("it counts against another account")
	}
}

// TestContestOfAStranger is made with a generation that no one has pinned and the recovery does not name.
func TestContestOfAStranger(t *testing.T) {
	_, old, thief, pinned := takenOver(t)
	fork := newPerson(t, 1, testStart) // the same phrase, another first generation
	fork.devices[0].log = append(fork.devices[0].log, old.log[len(old.log)-1])
	fork.devices[0].revoked = true
	k, _, err := fork.devices[0].Contest(rand.Reader, testStart)
	if err != nil {
		t.Fatal(err)
	}
	if chain, _ := thief.Chain(); k.Against(chain, pinned) || k.Against(chain, nil) {
		t.Error("a generation that nobody has seen contests the recovery")
	}
}

// TestContestOfAnEvasiveRecovery: the recovery names a predecessor that never was.
func TestContestOfAnEvasiveRecovery(t *testing.T) {
	_, old, thief, pinned := takenOver(t)
	c := *old.log[len(old.log)-1].Cert
	c.Prev = [32]byte{1}
	evasive, err := newCert(c, nil, NewRoot(private.KeyOf([32]byte{1})))
	if err != nil {
		t.Fatal(err)
	}
	old.log[len(old.log)-1].Cert = evasive
	k, _, err := old.Contest(rand.Reader, testStart)
	if err != nil {
		t.Fatal(err)
	}
	chain, err := VerifyChain(thief.Account(), []*Cert{evasive})
	if err != nil {
		t.Fatal(err)
	}
	if !k.Against(chain, pinned) || k.Against(chain, nil) {
		t.Error("it must count for who had pinned the old chain, and for nobody else")
	}
}

func TestContestReachesWhoHasNotHeardOfTheRecovery(t *testing.T) {
	alice, old, _, pinned := takenOver(t)
	bob := newPerson(t, 2, testStart)
	b := bob.devices[0]
	to := bob.box.recipient(bob.id, testStart)
	blob, err := old.SealContest(to, Outgoing{ID: ident.MessageID{7}, SentAt: testStart.UnixMilli(),
		Body: []byte("contest")}, testStart)
	if err != nil {
		t.Fatal(err)
	}
	bob.box.put(envelope.Inbox, [16]byte{}, blob, testStart)
	env := bob.box.envs[len(bob.box.envs)-1]
	in, err := b.Open(env, func(ident.AccountID) *Chain { return pinned })
	if err != nil || !in.Verified || in.Sender != alice.id {
		t.Errorf("open: got %+v, %v, want a verified message of Alice", in, err)
	}
	if _, err := b.SealContest(to, Outgoing{}, testStart); !errors.Is(err, fault.Denied) {
		t.Errorf("seal without a recovery: got %v, want denied", err)
	}
}

func TestChainNumber(t *testing.T) {
	alice, _, thief, pinned := takenOver(t)
	bob := newPerson(t, 2, testStart)
	chain, _ := thief.Chain()
	n := ChainNumber(alice.id, bob.id, pinned.Head())
	if n != ChainNumber(bob.id, alice.id, pinned.Head()) || len(strings.ReplaceAll(n, " ", "")) != 30 {
		t.Errorf("got %q, want the same 30 digits from both sides", n)
	}
	if n == ChainNumber(alice.id, bob.id, chain.Head()) {
		t.Error("both chains have the same number")
	}
}

func FuzzDecodeContest(f *testing.F) {
	_, old, _, _ := takenOver(f)
	k, _, err := old.Contest(rand.Reader, testStart)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(k.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		if k, err := DecodeContest(b); err == nil && !bytes.Equal(k.Bytes(), b) {
			t.Error("a contest is not the bytes it came as")
		}
	})
}
