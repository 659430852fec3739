package storetest

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"

	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
)

// subscribe starts a subscription; what it gets and why it ended come over the channels.
func (u *user) subscribe(ctx context.Context, key ed25519.PrivateKey, cursor uint64,
	ns ...envelope.Namespace) (<-chan envelope.Envelope, <-chan error) {
	sub := &envelope.Subscribe{Mailbox: u.acc.Mailbox(), Namespaces: ns, Cursor: cursor}
	if key != nil {
		sub.Authority = public(key)
	}
	got, ended := make(chan envelope.Envelope, 100), make(chan error, 1)
	go func() {
		ended <- u.h.Subscribe(ctx, sub.Mailbox, sub.Encode(), Signer(envelope.LabelSubscribe, key),
			func(e envelope.Envelope) error {
				got <- e
				return nil
			})
	}()
	return got, ended
}

// next waits for one pushed envelope.
func (u *user) next(got <-chan envelope.Envelope, ended <-chan error) envelope.Envelope {
	u.Helper()
	select {
	case e := <-got:
		return e
	case err := <-ended:
		u.Fatalf("the subscription ended: %v", err)
	case <-u.ctx.Done():
		u.Fatal("nothing was pushed")
	}
	return envelope.Envelope{}
}

func (u *user) needSubscribe() {
	if u.h.Subscribe == nil {
		u.Skip("no subscriptions here")
	}
}

func subscriptionReplaysThenPushes(u *user) {
	u.needSubscribe()
	u.begin()
	first := u.mail("m0")
	u.mail("m1")
	ctx, cancel := context.WithCancel(u.ctx)
	got, ended := u.subscribe(ctx, u.auth(), first.Seq, envelope.Inbox)
	all := []envelope.Envelope{u.next(got, ended)}
	for i := 2; i < 10; i++ {
		u.own(syncDelta(fmt.Sprint(i))) // another namespace: not pushed
		u.mail(fmt.Sprintf("m%d", i))
		u.mail("m0") // a repeated store: not pushed again
		all = append(all, u.next(got, ended))
	}
	u.bodies(all, "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "m9")
	cancel()
	<-ended
	if len(got) != 0 {
		u.Errorf("got %d envelopes more, want none", len(got))
	}
}

func subscriptionEndsWithItsAuthority(u *user) {
	u.needSubscribe()
	certs := u.begin()
	got, ended := u.subscribe(u.ctx, u.auth(), 0, envelope.Inbox)
	u.mail("before")
	u.bodies([]envelope.Envelope{u.next(got, ended)}, "before")
	u.ok(u.acc.Change(envelope.Rotate, 2, certs), u.auth())
	select {
	case err := <-ended:
		if !errors.Is(err, fault.Stale) {
			u.Errorf("got the end %v, want stale", err)
		}
	case <-u.ctx.Done():
		u.Fatal("the subscription outlived its authority")
	}
}

func subscriptionsAreVerified(u *user) {
	u.needSubscribe()
	u.begin()
	stranger := NewAccount("stranger").MailboxKey()
	for _, c := range []struct {
		name string
		key  ed25519.PrivateKey
		ns   envelope.Namespace
		want fault.Kind
	}{
		{"unsigned inbox", nil, envelope.Inbox, fault.Unauthenticated},
		{"stranger", stranger, envelope.Inbox, fault.Denied},
		{"unknown namespace", u.auth(), 99, fault.Invalid},
	} {
		_, ended := u.subscribe(u.ctx, c.key, 0, c.ns)
		select {
		case err := <-ended:
			if fault.KindOf(err) != c.want {
				u.Errorf("%s: got %v (%v), want %v", c.name, fault.KindOf(err), err, c.want)
			}
		case <-u.ctx.Done():
			u.Fatalf("%s: the subscription was served", c.name)
		}
	}
	got, ended := u.subscribe(u.ctx, nil, 0, envelope.Certs)
	u.bodies([]envelope.Envelope{u.next(got, ended)}, "certificate 1")
}
