package storetest

import (
	"crypto/ed25519"

	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
)

func genesisMakesTheMailboxOnce(u *user) {
	u.begin()
	again := u.ok(u.acc.Genesis(), u.acc.MailboxKey())
	for i, r := range again.Results {
		if !r.Existed {
			u.Errorf("operation %d: got %+v for a repeated genesis, want existed", i, r)
		}
	}
	other := u.acc.Request(u.acc.MailboxKey(), envelope.SetAuthority{Change: envelope.Genesis,
		Key: public(u.acc.Authority(7))})
	u.refused(fault.Exists, other, u.acc.MailboxKey())
	self := NewAccount(string(u.acc.Mailbox().String()))
	r := self.Request(self.MailboxKey(), envelope.SetAuthority{Change: envelope.Genesis,
		Key: public(self.MailboxKey())})
	was := u.acc
	u.acc = self
	u.refused(fault.Invalid, r, self.MailboxKey())
	weak := self.Request(self.MailboxKey(), envelope.SetAuthority{Change: envelope.Genesis, Key: [32]byte{1}})
	u.refused(fault.Invalid, weak, self.MailboxKey())
	u.refused(fault.NotFound, self.Request(nil, message("to nobody")), nil)
	u.acc = was
}

func rotateSupersedesTheAuthority(u *user) {
	certs := u.begin()
	old := u.auth()
	change := u.acc.Change(envelope.Rotate, 2, certs)
	now := u.ok(change, old).CertsHead
	if now <= certs {
		u.Fatalf("got certificate head %d after a rotation, want more than %d", now, certs)
	}
	u.head(u.refused(fault.Stale, u.acc.Request(old, syncDelta("late")), old), now)
	u.head(u.refused(fault.Stale,
		u.acc.Request(old, envelope.Retrieve{Namespaces: []envelope.Namespace{envelope.Inbox}}), old), now)
	u.ok(u.acc.Request(old, envelope.Retrieve{Namespaces: []envelope.Namespace{envelope.Certs}}), old)
	// The answer to the rotation may have got lost: its retry is told that it is done.
	for i, r := range u.ok(change, old).Results {
		if !r.Existed {
			u.Errorf("operation %d: got %+v for a repeated rotation, want existed", i, r)
		}
	}
	rival := u.acc.Request(old,
		envelope.Store{Namespace: envelope.Certs, IfHead: &certs, Body: []byte("rival certificate")},
		envelope.SetAuthority{Change: envelope.Rotate, Key: public(u.acc.Authority(9))})
	u.head(u.refused(fault.Stale, rival, old), now)
	u.generation = 2
	u.own(syncDelta("new"))
	u.refused(fault.Invalid, u.acc.Request(u.auth(), envelope.SetAuthority{Change: envelope.Rotate,
		Key: public(u.acc.Authority(3))}), u.auth())
}

func recoverIsContestedOnce(u *user) {
	certs := u.begin()
	old := u.auth()
	u.ok(u.acc.Change(envelope.Recover, 2, certs), u.acc.MailboxKey())
	objection := func(body string) *envelope.Request {
		return u.acc.Request(old, envelope.Store{Namespace: envelope.Contest, Key: Key("2"), TTL: 90 * day,
			Body: []byte(body)})
	}
	u.refused(fault.Stale, u.acc.Request(old, syncDelta("late")), old)
	u.generation = 2
	u.refused(fault.Denied, u.acc.Request(u.auth(), objection("own").Ops...), u.auth())
	u.ok(objection("not me"), old)
	if again := u.ok(objection("not me"), old).Results[0]; !again.Existed {
		u.Errorf("got %+v for a repeated objection, want existed", again)
	}
	u.refused(fault.Stale, objection("again"), old)
	u.refused(fault.Denied, u.acc.Request(u.auth(), envelope.DeleteBefore{Namespace: envelope.Contest,
		Before: 1<<63 - 1}), u.auth())
	got := u.ok(u.acc.Request(nil, envelope.Retrieve{Namespaces: []envelope.Namespace{envelope.Contest}}),
		nil)
	u.bodies(got.Results[0].Envelopes, "not me")
}

func oldRecoverDoesNotReturn(u *user) {
	certs := u.begin()
	recovery := u.acc.Change(envelope.Recover, 2, certs)
	certs = u.ok(recovery, u.acc.MailboxKey()).CertsHead
	if r := u.ok(recovery, u.acc.MailboxKey()); !r.Results[1].Existed {
		u.Errorf("got %+v for a repeated recover, want existed", r.Results[1])
	}
	u.generation = 2
	now := u.ok(u.acc.Change(envelope.Rotate, 3, certs), u.auth()).CertsHead
	u.generation = 3
	u.head(u.refused(fault.Stale, recovery, u.acc.MailboxKey()), now)
	// A certificate that is in the log already brings no new key either.
	again := u.acc.Change(envelope.Recover, 3, certs)
	again.Ops[1] = envelope.SetAuthority{Change: envelope.Recover, Key: public(u.acc.Authority(4))}
	u.head(u.refused(fault.Stale, again, u.acc.MailboxKey()), now)
	u.own(syncDelta("the newest authority still rules"))
}

func mailboxKeySignsNothingElse(u *user) {
	certs := u.begin()
	root := u.acc.MailboxKey()
	u.refused(fault.Denied, u.acc.Request(root, syncDelta("x")), root)
	u.refused(fault.Denied, u.acc.Request(root,
		envelope.Retrieve{Namespaces: []envelope.Namespace{envelope.Inbox}}), root)
	smuggle := u.acc.Change(envelope.Recover, 2, certs)
	smuggle.Ops = append(smuggle.Ops, syncDelta("x"))
	if r := u.refused(fault.Denied, smuggle, root); r.Failed != 4 {
		u.Errorf("got operation %d refused, want 4", r.Failed)
	}
	wrap := u.acc.Change(envelope.Recover, 2, certs)
	wrap.Ops = append(wrap.Ops, envelope.Store{Namespace: envelope.Vault, Key: Key("wrap"),
		Body: []byte("wrap")})
	u.ok(wrap, root)
}

func strangersAreRefused(u *user) {
	u.begin()
	stranger := NewAccount("stranger").MailboxKey()
	read := envelope.Retrieve{Namespaces: []envelope.Namespace{envelope.Inbox}}
	u.refused(fault.Unauthenticated, u.acc.Request(nil, read), nil)
	u.refused(fault.Unauthenticated, u.acc.Request(nil, syncDelta("x")), nil)
	u.refused(fault.Denied, u.acc.Request(stranger, read), stranger)
	u.refused(fault.Denied, u.acc.Request(stranger, syncDelta("x")), stranger)
	u.refused(fault.Unauthenticated, u.acc.Request(u.auth(), read), stranger)
	u.refused(fault.Unauthenticated, u.acc.Request(u.auth(), syncDelta("x")), stranger)
	u.refused(fault.Unauthenticated, u.acc.Request(u.auth(), syncDelta("x")), nil)
	u.bodies(u.ok(u.acc.Request(nil, envelope.Retrieve{Namespaces: []envelope.Namespace{envelope.Certs}}),
		nil).Results[0].Envelopes, "certificate 1")
}

func rulesOfNamespacesHold(u *user) {
	certs := u.begin()
	key := u.auth()
	for _, c := range []struct {
		name string
		op   envelope.Op
		key  ed25519.PrivateKey
		want fault.Kind
	}{
		{"ttl too short", envelope.Store{Namespace: envelope.Inbox, TTL: 9, Body: []byte("x")},
			nil, fault.Invalid},
		{"ttl too long", envelope.Store{Namespace: envelope.Inbox, TTL: 14*day + 1, Body: []byte("x")},
			nil, fault.Invalid},
		{"no ttl in the inbox", envelope.Store{Namespace: envelope.Inbox, Body: []byte("x")},
			nil, fault.Invalid},
		{"ttl in the vault", envelope.Store{Namespace: envelope.Vault, TTL: day, Body: []byte("x")},
			key, fault.Invalid},
		{"key in the inbox", envelope.Store{Namespace: envelope.Inbox, Key: Key("k"), TTL: day,
			Body: []byte("x")}, nil, fault.Invalid},
		{"unconditional certificate", envelope.Store{Namespace: envelope.Certs, Body: []byte("x")},
			key, fault.Invalid},
		{"certificate too long", envelope.Store{Namespace: envelope.Certs, IfHead: &certs,
			Body: make([]byte, 1025)}, key, fault.Invalid},
		{"day record too long", envelope.Store{Namespace: envelope.Days, TTL: day, Body: make([]byte, 2049)},
			key, fault.Invalid},
		{"unknown namespace", envelope.Store{Namespace: 99, TTL: day, Body: []byte("x")}, key, fault.Invalid},
		{"retrieve from an unknown namespace", envelope.Retrieve{Namespaces: []envelope.Namespace{99}},
			key, fault.Invalid},
		{"retrieve twice from one", envelope.Retrieve{Namespaces: []envelope.Namespace{1, 1}},
			key, fault.Invalid},
		{"contest without a recover", envelope.Store{Namespace: envelope.Contest, TTL: 90 * day,
			Body: []byte("x")}, key, fault.Denied},
		{"application", envelope.Store{Namespace: envelope.Application + 5, TTL: day, Body: []byte("x")}, key,
			0},
		{"blob", envelope.Store{Namespace: envelope.Blobs, Key: Key("0"), TTL: day, Body: []byte("x")}, key,
			0},
	} {
		resp := u.send(u.acc.Request(c.key, c.op), c.key)
		if got := fault.KindOf(resp.Err()); got != c.want {
			u.Errorf("%s: got %v (%v), want %v", c.name, got, resp.Err(), c.want)
		}
	}
}

func infoTellsLimits(u *user) {
	none := u.ok(u.acc.Request(nil, envelope.Info{}), nil).Results[0].Info
	if none == nil || none.Exists || none.QuotaBytes == 0 || none.Replicas == 0 {
		u.Fatalf("got %+v for a mailbox that is not there, want the replica's limits", none)
	}
	u.begin()
	a := u.own(envelope.Info{}).Info
	sent := u.mail("12345")
	b := u.own(envelope.Info{}).Info
	if !b.Exists || b.NextSeq != sent.Seq+1 || b.Count != a.Count+1 || b.Bytes <= a.Bytes {
		u.Errorf("got %+v after one more envelope, before it %+v", b, a)
	}
}

func absentMailboxIsNotFound(u *user) {
	u.refused(fault.NotFound, u.acc.Request(nil, message("x")), nil)
	u.refused(fault.NotFound,
		u.acc.Request(nil, envelope.Retrieve{Namespaces: []envelope.Namespace{envelope.Certs}}), nil)
	u.refused(fault.NotFound, u.acc.Request(u.auth(), syncDelta("x")), u.auth())
	u.refused(fault.NotFound, u.acc.Change(envelope.Recover, 1, 0), u.acc.MailboxKey())
	// A genesis is signed by the mailbox key only.
	forged := u.acc.Genesis()
	forged.Authority = public(u.acc.Authority(1))
	u.refused(fault.NotFound, forged, u.auth())
	forged.Authority = [32]byte{}
	u.refused(fault.Unauthenticated, forged, nil)
}
