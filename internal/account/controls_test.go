package account

import (
	"slices"
	"testing"
	"time"

	"github.com/starling-swarm/starling/internal/ident"
)

// Where the properties of this design are shown, and the control of each, which shows that the test would
// notice:
//
//	P1 phrase and nodes open nothing     TestPhraseAndServersOpenNothing               TestThiefOracleFindsPhraseDerivedSecrets
//	P2 a state opens what it retains     TestStateOpensExactlyTheRetainedDays,         TestUnerasedStateOpensOldMail
//	                                     TestDaysGoWhenAllDevicesHaveAcknowledged
//	P3 an old state opens nothing new    TestOldStateOpensNothingOfTheNextGeneration   in it: a device that stayed
//	P4 equal keys on any schedule        TestDevicesDeriveEqualKeysOnAnySchedule       TestOtherDaysAndGenerationsDiffer
//	P5 tampering is refused              TestTamperedMessagesAreRefused                in it: the true sender
//	P6 roll-back and forgery refused     TestOnlyTrueChainsVerify, TestPinnedChain..., in it: true chains;
//	                                     TestOlderRecordsAreRefused                    the newest record
//	P7 no erased seed on disk            TestErasedSeedsAreGoneWhereverTheProcess-     in it: seeds that are still needed;
//	                                     IsKilled (package client), TestErased-        TestDiskKeepsWhatIsNotErased
//	                                     SecretsAreGoneWhereverItDies (secrets)
//	P8 no record, no message             TestNothingIsSealedWithoutAValidRecord,       in it: the valid record
//	                                     TestNoDayKeyNoMessage (package client)
//	P9 length is a bucket                TestCiphertextLengthIsABucket                 TestUnpaddedLengthsTellTheBody

// TestUnerasedStateOpensOldMail is the control of P2.
func TestUnerasedStateOpensOldMail(t *testing.T) {
	w := newWorld(t)
	s := w.alice.devices[0]
	w.send()
	for range 10 {
		w.pass(48 * time.Hour)
	}
	if _, err := w.alice.catchUp(s, w.now); err != nil {
		t.Fatal(err)
	}
	s.Advance(w.now)
	if _, err := reload(t, s).Open(w.sent[0].env, nobody); err != nil {
		t.Errorf("without erasure, mail of 20 days ago: %v", err)
	}
	s.Erase(w.now, time.Time{})
	if _, err := reload(t, s).Open(w.sent[0].env, nobody); err == nil {
		t.Error("it still opens after the erasure")
	}
}

// TestOtherDaysAndGenerationsDiffer is the control of P4.
func TestOtherDaysAndGenerationsDiffer(t *testing.T) {
	alice := newPerson(t, 1, testStart)
	s := alice.devices[0]
	seen := map[[32]byte]DayVersion{}
	for g := uint32(1); g <= 3; g++ {
		for d := uint32(0); d < 5; d++ {
			v := DayVersion{g, Day(testStart) + d}
			k, ok := s.dayKeys(v)
			if !ok {
				t.Fatalf("no keys of %v", v)
			}
			if o, ok := seen[k.sync.b]; ok {
				t.Errorf("%v and %v have the same keys", o, v)
			}
			seen[k.sync.b] = v
		}
		alice.rotate(s, Rotation{}, testStart)
	}
}

// P6, for day records: whoever sends takes none that is older than one they have used, whatever a node
// serves.
func TestOlderRecordsAreRefused(t *testing.T) {
	w := newWorld(t)
	s := w.bob.devices[0]
	first := w.alice.box.recipient(w.alice.id, w.now)
	w.pass(24 * time.Hour) // both days' records are valid now
	second := w.alice.box.recipient(w.alice.id, w.now)
	if !first.Record.Version().Less(second.Record.Version()) {
		t.Fatalf("records of %v and %v", first.Record.Version(), second.Record.Version())
	}
	m := Outgoing{ID: ident.MessageID{1}, PeerSeen: 1}
	for name, row := range map[string]struct {
		record *EpochRecord
		floor  DayVersion
		ok     bool
	}{
		"the newest":                {second.Record, second.Record.Version(), true},
		"the older, not used newer": {first.Record, first.Record.Version(), true},
		"the older, used newer":     {first.Record, second.Record.Version(), false},
		"used a newer generation":   {second.Record, DayVersion{second.Record.G + 1, 0}, false},
	} {
		to := Recipient{Chain: second.Chain, Record: row.record, Floor: row.floor}
		if _, err := s.Seal(to, m, w.now); (err == nil) != row.ok {
			t.Errorf("%s: got %v, want accepted %v", name, err, row.ok)
		}
	}
}

// TestUnpaddedLengthsTellTheBody is the control of P9: the same ciphertext without padding.
func TestUnpaddedLengthsTellTheBody(t *testing.T) {
	w := newWorld(t)
	to := w.alice.box.recipient(w.alice.id, w.now)
	buckets := []int{1536, 2048, 2560, 3072, 3584, 4096}
	told := 0
	for n := range 64 {
		blob, err := boxSeal(to.Record.Kem, nil, make([]byte, 100+n))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(buckets, len(blob)) {
			told++
		}
	}
	if told < 60 {
		t.Errorf("only %d of 64 lengths tell that there is no padding", told)
	}
}
