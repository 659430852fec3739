package storetest

import (
	"bytes"
	"fmt"
	"time"

	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
)

func storeThenRetrieve(u *user) {
	u.begin()
	a, b := u.mail("first"), u.mail("second")
	if a.Existed || b.Existed || b.Seq != a.Seq+1 {
		u.Errorf("got %+v then %+v, want new envelopes with consecutive seqs", a, b)
	}
	got := u.inbox()
	u.bodies(got, "first", "second")
	if got[0].Seq != a.Seq || got[0].Expiry != a.Expiry || got[0].Namespace != envelope.Inbox {
		u.Errorf("got %+v, want seq %d and expiry %d in the inbox", got[0], a.Seq, a.Expiry)
	}
	if life := got[0].Expiry - got[0].StoredAt; life != 14*day*1000 {
		u.Errorf("got a life of %d ms, want 14 days", life)
	}
}

func repeatedStoreAnswersExisted(u *user) {
	u.begin()
	a := u.mail("once")
	again := u.mail("once")
	if !again.Existed || again.Seq != a.Seq {
		u.Errorf("got %+v, want existed with seq %d", again, a.Seq)
	}
	if next := u.mail("other"); next.Seq != a.Seq+1 {
		u.Errorf("got seq %d after a repeated store, want %d", next.Seq, a.Seq+1)
	}
	u.bodies(u.inbox(), "once", "other")
}

func deletedStaysDeleted(u *user) {
	u.begin()
	a := u.mail("gone")
	if d := u.own(envelope.Delete{Required: true,
		Hashes: []envelope.Hash{u.hash(message("gone"))}}); d.Deleted != 1 {
		u.Errorf("got %d deleted, want 1", d.Deleted)
	}
	if late := u.mail("gone"); !late.Existed || late.Seq != a.Seq {
		u.Errorf("got %+v for a late retry, want existed with seq %d", late, a.Seq)
	}
	u.bodies(u.inbox())
}

func conditionsLoseWithTheHead(u *user) {
	u.begin()
	at := func(head uint64, body string) *envelope.Request {
		st := syncDelta(body)
		st.IfHead = &head
		return u.acc.Request(u.auth(), st)
	}
	first := u.ok(at(0, "one"), u.auth()).Results[0]
	u.head(u.refused(fault.Stale, at(0, "rival"), u.auth()), first.Seq)
	second := u.ok(at(first.Seq, "two"), u.auth()).Results[0]
	u.head(u.refused(fault.Stale, at(first.Seq, "rival"), u.auth()), second.Seq)
	// The answer to "two" may have got lost: sent again under its old condition, it has not lost the race.
	if again := u.ok(at(first.Seq, "two"), u.auth()).Results[0]; !again.Existed || again.Seq != second.Seq {
		u.Errorf("got %+v, want existed with seq %d", again, second.Seq)
	}
	keyed := func(head uint64, body string) *envelope.Request {
		return u.acc.Request(u.auth(), envelope.Store{Namespace: envelope.Vault, Key: Key("k"), IfHead: &head,
			Body: []byte(body)})
	}
	v := u.ok(keyed(0, "v1"), u.auth()).Results[0]
	u.own(envelope.Store{Namespace: envelope.Vault, Key: Key("other"), Body: []byte("v1")})
	u.head(u.refused(fault.Stale, keyed(0, "v2"), u.auth()), v.Seq)
	u.ok(keyed(v.Seq, "v2"), u.auth())
}

func supersededSenderLosesOnCertsHead(u *user) {
	certs := u.begin()
	send := func(head uint64, body string) *envelope.Request {
		st := message(body)
		st.IfCerts = &head
		return u.acc.Request(nil, st)
	}
	u.ok(send(certs, "sealed to 1"), nil)
	now := u.ok(u.acc.Change(envelope.Rotate, 2, certs), u.auth()).CertsHead
	u.generation = 2
	u.head(u.refused(fault.Stale, send(certs, "sealed to 1 too late"), nil), now)
	if again := u.ok(send(certs, "sealed to 1"), nil).Results[0]; !again.Existed {
		u.Errorf("got %+v for the retry of what was stored in time, want existed", again)
	}
	u.ok(send(now, "sealed to 2"), nil)
	u.bodies(u.inbox(), "sealed to 1", "sealed to 2")
}

func newestPerKeyReplaces(u *user) {
	u.begin()
	put := func(key, body string) envelope.Result {
		return u.own(envelope.Store{Namespace: envelope.Vault, Key: Key(key), Body: []byte(body)})
	}
	a := put("k", "old")
	put("l", "beside")
	b := put("k", "new")
	if b.Seq <= a.Seq {
		u.Errorf("got seq %d after %d, want a higher one", b.Seq, a.Seq)
	}
	got := u.own(envelope.RetrieveKey{Namespace: envelope.Vault, Key: Key("k")})
	u.bodies(got.Envelopes, "new")
	if got.Seq != b.Seq || got.Envelopes[0].Key != Key("k") || got.Envelopes[0].Expiry != 0 {
		u.Errorf("got %+v, want seq %d, the key, and no expiry", got, b.Seq)
	}
	u.bodies(u.own(envelope.Retrieve{Namespaces: []envelope.Namespace{envelope.Vault}}).Envelopes,
		"beside", "new")
	u.refused(fault.NotFound, u.acc.Request(u.auth(), envelope.RetrieveKey{Namespace: envelope.Vault,
		Key: Key("none")}), u.auth())
	u.refused(fault.Invalid, u.acc.Request(u.auth(), envelope.RetrieveKey{Namespace: envelope.Inbox}),
		u.auth())
	if late := put("k", "old"); !late.Existed {
		u.Errorf("got %+v for a late retry of what was replaced, want existed", late)
	}
	u.bodies(u.own(envelope.RetrieveKey{Namespace: envelope.Vault, Key: Key("k")}).Envelopes, "new")
}

func newestDevicesArePermanent(u *user) {
	certs := u.begin()
	read := func(generation string) envelope.Envelope {
		u.Helper()
		return u.ok(u.acc.Request(nil, envelope.RetrieveKey{Namespace: envelope.Devices,
			Key: Key(generation)}), nil).Results[0].Envelopes[0]
	}
	if e := read("1"); e.Expiry != 0 {
		u.Errorf("got expiry %d for the newest, want none", e.Expiry)
	}
	u.ok(u.acc.Change(envelope.Rotate, 2, certs), u.auth())
	if e := read("1"); e.Expiry == 0 {
		u.Error("got no expiry for a superseded device group, want one")
	}
	if e := read("2"); e.Expiry != 0 {
		u.Errorf("got expiry %d for the newest, want none", e.Expiry)
	}
}

func pagesFollowTheCursor(u *user) {
	start := u.begin()
	var seqs []uint64
	for i := range 5 {
		seqs = append(seqs, u.mail(fmt.Sprintf("m%d", i)).Seq)
		u.own(syncDelta(fmt.Sprintf("s%d", i)))
	}
	both := []envelope.Namespace{envelope.Sync, envelope.Inbox}
	var all []envelope.Envelope
	for cursor, more := start, true; more; {
		r := u.own(envelope.Retrieve{Namespaces: both, After: cursor, MaxCount: 3})
		if r.Seq <= cursor || len(r.Envelopes) > 3 || r.More && r.Seq != r.Envelopes[len(r.Envelopes)-1].Seq {
			u.Fatalf("got %+v after cursor %d, want up to 3 envelopes and a cursor at the last", r, cursor)
		}
		all = append(all, r.Envelopes...)
		cursor, more = r.Seq, r.More
	}
	u.bodies(all, "m0", "s0", "m1", "s1", "m2", "s2", "m3", "s3", "m4", "s4")
	r := u.own(envelope.Retrieve{Namespaces: both, After: seqs[0], MaxBytes: 1})
	u.bodies(r.Envelopes, "s0")
	if !r.More {
		u.Error("got no more after a page cut by bytes, want more")
	}
	r = u.own(envelope.Retrieve{Namespaces: both[1:], After: seqs[4]})
	u.bodies(r.Envelopes)
	if r.More || r.Seq != seqs[4]+1 {
		u.Errorf("got cursor %d, more %v, want the mailbox's head %d and no more", r.Seq, r.More, seqs[4]+1)
	}
}

func minSeqReadsOwnWrites(u *user) {
	u.begin()
	r := u.acc.Request(u.auth(), envelope.Retrieve{Namespaces: []envelope.Namespace{envelope.Inbox}})
	r.MinSeq = u.mail("mine").Seq
	u.bodies(u.ok(r, u.auth()).Results[0].Envelopes, "mine")
}

func deletesChooseWhatGoes(u *user) {
	u.begin()
	for _, b := range []string{"a", "b", "c"} {
		u.mail(b)
		u.own(syncDelta(b))
	}
	u.refused(fault.NotFound, u.acc.Request(u.auth(), envelope.Delete{Required: true,
		Hashes: []envelope.Hash{u.hash(message("a")), {1}}}), u.auth())
	u.bodies(u.inbox(), "a", "b", "c")
	if d := u.own(envelope.Delete{Namespace: envelope.Sync, Hashes: []envelope.Hash{u.hash(message("a")),
		{1}}}); d.Deleted != 0 {
		u.Errorf("got %d deleted in a namespace that does not hold it, want 0", d.Deleted)
	}
	h := u.hash(message("a"))
	if d := u.own(envelope.Delete{Hashes: []envelope.Hash{h, h, {1}}}); d.Deleted != 1 {
		u.Errorf("got %d deleted of one named twice and one absent, want 1", d.Deleted)
	}
	stored := u.inbox()[0].StoredAt
	if d := u.own(envelope.DeleteBefore{Namespace: envelope.Inbox, Before: stored}); d.Deleted != 0 {
		u.Errorf("got %d deleted before the oldest, want 0", d.Deleted)
	}
	if d := u.own(envelope.DeleteBefore{Namespace: envelope.Inbox, Before: 1<<63 - 1}); d.Deleted != 2 {
		u.Errorf("got %d deleted of the whole inbox, want 2", d.Deleted)
	}
	u.bodies(u.inbox())
	u.own(envelope.DeleteBefore{Before: 1<<63 - 1})
	u.bodies(u.own(envelope.Retrieve{Namespaces: []envelope.Namespace{envelope.Sync, envelope.Devices,
		envelope.Days}}).Envelopes)
	u.bodies(u.own(envelope.Retrieve{Namespaces: []envelope.Namespace{envelope.Certs}}).Envelopes,
		"certificate 1")
}

func nobodyDeletesCertificates(u *user) {
	u.begin()
	cert := envelope.Store{Namespace: envelope.Certs, Body: []byte("certificate 1")}
	u.refused(fault.Denied, u.acc.Request(u.auth(), envelope.Delete{Hashes: []envelope.Hash{u.hash(cert)}}),
		u.auth())
	u.refused(fault.Denied, u.acc.Request(u.auth(), envelope.DeleteBefore{Namespace: envelope.Certs,
		Before: 1<<63 - 1}), u.auth())
	u.refused(fault.Unauthenticated, u.acc.Request(nil, envelope.DeleteBefore{Before: 1<<63 - 1}), nil)
}

func batchAllIsAtomic(u *user) {
	u.begin()
	before := u.own(envelope.Info{}).Info
	bad := syncDelta("late")
	bad.IfHead = new(uint64(999))
	resp := u.refused(fault.Stale, u.acc.Request(u.auth(), syncDelta("x"), syncDelta("y"), bad,
		syncDelta("z")), u.auth())
	if resp.Failed != 2 || len(resp.Results) != 1 {
		u.Errorf("got failed %d with %d results, want operation 2 and its error", resp.Failed,
			len(resp.Results))
	}
	if after := u.own(envelope.Info{}).Info; *after != *before {
		u.Errorf("got %+v after a failed batch, want %+v as before", after, before)
	}
	ok := u.ok(u.acc.Request(u.auth(), syncDelta("x"), syncDelta("y"), syncDelta("z")), u.auth())
	for i, r := range ok.Results {
		if want := before.NextSeq + uint64(i); r.Seq != want || r.Existed {
			u.Errorf("operation %d: got %+v, want a new envelope with seq %d", i, r, want)
		}
	}
}

func batchEachStandsAlone(u *user) {
	u.begin()
	bad := syncDelta("late")
	bad.IfHead = new(uint64(999))
	r := u.acc.Request(u.auth(), syncDelta("x"), bad, syncDelta("y"))
	r.Mode = envelope.Each
	resp := u.refused(fault.Stale, r, u.auth())
	if resp.Failed != -1 || len(resp.Results) != 3 || resp.Results[0].Err != nil ||
		resp.Results[1].Err == nil || resp.Results[2].Err != nil {
		u.Fatalf("got %+v, want three results of which the second failed", resp)
	}
	if resp.Results[2].Seq != resp.Results[0].Seq+1 {
		u.Errorf("got seqs %d and %d, want consecutive ones", resp.Results[0].Seq, resp.Results[2].Seq)
	}
	u.bodies(u.own(envelope.Retrieve{Namespaces: []envelope.Namespace{envelope.Sync}}).Envelopes, "x", "y")
}

func batchReadsItsOwnWrites(u *user) {
	u.begin()
	all := envelope.Retrieve{Namespaces: []envelope.Namespace{envelope.Sync}}
	resp := u.ok(u.acc.Request(u.auth(), syncDelta("x"), all,
		envelope.Delete{Hashes: []envelope.Hash{u.hash(syncDelta("x"))}}, all), u.auth())
	u.bodies(resp.Results[1].Envelopes, "x")
	u.bodies(resp.Results[3].Envelopes)
}

func expiredIsGone(u *user) {
	if u.h.Advance == nil {
		u.Skip("the clock cannot be moved here")
	}
	u.begin()
	brief := message("brief")
	brief.TTL = 10
	a := u.ok(u.acc.Request(nil, brief), nil).Results[0]
	u.mail("lasting")
	u.h.Advance(9 * time.Second)
	u.bodies(u.inbox(), "brief", "lasting")
	u.h.Advance(time.Second)
	u.bodies(u.inbox(), "lasting")
	again := u.ok(u.acc.Request(nil, brief), nil).Results[0]
	if again.Existed || again.Seq <= a.Seq {
		u.Errorf("got %+v for a store after the first one's expiry, want a new envelope", again)
	}
	u.h.Advance(61 * 24 * time.Hour)
	u.bodies(u.inbox())
	u.bodies(u.own(envelope.Retrieve{Namespaces: []envelope.Namespace{envelope.Certs, envelope.Devices,
		envelope.Days}}).Envelopes, "certificate 1", "devices 1")
}

func expiryExtendsOnly(u *user) {
	if u.h.Advance == nil {
		u.Skip("the clock cannot be moved here")
	}
	u.begin()
	with := func(ttl uint32) envelope.Result {
		st := message("kept")
		st.TTL = ttl
		return u.ok(u.acc.Request(nil, st), nil).Results[0]
	}
	a := with(3600)
	if b := with(10); !b.Existed || b.Expiry != a.Expiry {
		u.Errorf("got %+v for a shorter life, want expiry %d", b, a.Expiry)
	}
	c := with(7200)
	if !c.Existed || c.Seq != a.Seq || c.Expiry != a.Expiry+3600_000 {
		u.Errorf("got %+v for a longer life, want seq %d and expiry %d", c, a.Seq, a.Expiry+3600_000)
	}
	u.h.Advance(90 * time.Minute)
	u.bodies(u.inbox(), "kept")
	// A dup row outlives deletion until the extended expiry.
	u.own(envelope.DeleteBefore{Namespace: envelope.Inbox, Before: 1<<63 - 1})
	u.h.Advance(29 * time.Minute)
	if d := with(3600); !d.Existed {
		u.Errorf("got %+v before the extended expiry, want existed", d)
	}
	u.h.Advance(time.Minute)
	if e := with(3600); e.Existed {
		u.Errorf("got %+v after the extended expiry, want a new envelope", e)
	}
}

func largestBodyPasses(u *user) {
	u.begin()
	st := message(string(bytes.Repeat([]byte{0xa5}, envelope.MaxBody)))
	u.ok(u.acc.Request(nil, st), nil)
	got := u.inbox()
	if len(got) != 1 || !bytes.Equal(got[0].Body, st.Body) {
		u.Fatalf("got %d envelopes, want the largest body back", len(got))
	}
}
