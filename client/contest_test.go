package client_test

import (
	"errors"
	"testing"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/swarmtest"
)

// recovered makes a device that recovers an account at once.
func recovered(t testing.TB, cluster *swarmtest.Cluster, words, label string) *device {
	t.Helper()
	cfg := config(t, cluster, label)
	c, did, err := client.Restore(patient(t), cfg, words, client.RestoreOptions{NoWait: true})
	if err != nil || !did {
		t.Fatalf("restore: got recovered %v, %v, want true", did, err)
	}
	return run(t, c, cfg)
}

func contactOf(t testing.TB, d *device, id ident.AccountID) client.Contact {
	t.Helper()
	contacts, err := d.Contacts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range contacts {
		if c.ID == id {
			return c
		}
	}
	t.Fatalf("%s is no contact", id)
	return client.Contact{}
}

func contestedEvent(id ident.AccountID) func(client.Event) bool {
	return func(e client.Event) bool {
		return e.Kind == client.EventContact && *e.Contact == id && e.Text == "contested"
	}
}

// TestContestedAccountIsNotWrittenTo: somebody with Alice's phrase takes her account over, and her device
// objects.
func TestContestedAccountIsNotWrittenTo(t *testing.T) {
	cluster := shared(t)
	alice, words := create(t, cluster, "Alice")
	bob, _ := create(t, cluster, "Bob")    // hears of the recovery first
	carol, _ := create(t, cluster, "Cleo") // hears of the contest first
	for _, d := range []*device{bob, carol} {
		d.send(t, alice.id(), "hello")
		alice.message(t, "hello")
		alice.send(t, d.id(), "hi")
		d.message(t, "hi")
		before, err := d.Contact(alice.id()).Safety(patient(t))
		if err != nil || before.Contested || before.Recovered || before.Verified {
			t.Fatalf("safety before: got %+v, %v", before, err)
		}
		if c, err := d.Contact(alice.id()).Verify(patient(t), before.Number); err != nil || !c.Verified {
			t.Fatalf("verify: got %+v, %v", c, err)
		}
	}
	if err := alice.Idle(patient(t)); err != nil {
		t.Fatal(err)
	}
	thief := recovered(t, cluster, words, "thief")
	alice.next(t, "the alarm", func(e client.Event) bool {
		return e.Kind == client.EventDevice &&
			e.Device.Kind == "recovered"
	})
	thief.send(t, bob.id(), "it is me, send money")
	bob.message(t, "it is me, send money")
	if c := contactOf(t, bob, alice.id()); c.Verified || c.Contested || len(c.Events) != 1 {
		t.Errorf("Bob's view after the recovery: got %+v, want neither verified nor contested", c)
	}

	if _, err := thief.Contest(patient(t)); !errors.Is(err, fault.NotFound) {
		t.Errorf("contest of who recovered: got %v, want not found", err)
	}
	r, err := alice.Contest(patient(t))
	if err != nil || !r.Recorded || r.Told != 2 || r.Failed != 0 {
		t.Fatalf("contest: got %+v, %v, want two contacts told", r, err)
	}
	bob.next(t, "the contest", contestedEvent(alice.id()))
	carol.next(t, "the contest", contestedEvent(alice.id()))
	thief.Upkeep()
	thief.next(t, "the contest", func(e client.Event) bool {
		return e.Kind == client.EventDevice &&
			e.Device.Kind == "contested"
	})
	if again, err := alice.Contest(patient(t)); err != nil || !again.Recorded {
		t.Errorf("contest again: got %+v, %v, want to be recorded still", again, err)
	}
	for _, d := range []*device{bob, carol} {
		if c := contactOf(t, d, alice.id()); !c.Contested || c.Verified {
			t.Errorf("view after the contest: got %+v, want contested", c)
		}
		if _, err := d.Send(patient(t), alice.id(), client.Outgoing{Text: "who are you?"}); !errors.Is(err,
			fault.Denied) {
			t.Errorf("write to a contested account: got %v, want denied", err)
		}
	}
	ds, err := alice.Devices(t.Context())
	if err != nil || ds.Events[len(ds.Events)-1].Kind != "contested" {
		t.Errorf("Alice's own events: got %+v, %v, want contested last", ds.Events, err)
	}

	// The numbers tell the chains apart: what Bob sees is the thief's, not what Alice's device shows.
	seen, err := bob.Contact(alice.id()).Safety(patient(t))
	if err != nil || !seen.Contested {
		t.Fatalf("safety: got %+v, %v, want contested", seen, err)
	}
	owner, err := alice.Contact(bob.id()).Safety(patient(t))
	if err != nil {
		t.Fatal(err)
	}
	taken, err := thief.Contact(bob.id()).Safety(patient(t))
	if err != nil || seen.Theirs != taken.Mine || seen.Theirs == owner.Mine {
		t.Errorf("numbers: Bob sees %q, the thief shows %q, Alice %q, %v", seen.Theirs, taken.Mine,
			owner.Mine, err)
	}
	if _, err := bob.Contact(alice.id()).Verify(patient(t), owner.Mine); !errors.Is(err, fault.Denied) {
		t.Errorf("verify with Alice's number: got %v, want denied", err)
	}

	// Alice takes it back with her phrase, shows the number of her chain, and is written to again.
	back := recovered(t, cluster, words, "back")
	mine, err := back.Contact(bob.id()).Safety(patient(t))
	if err != nil {
		t.Fatal(err)
	}
	if c, err := bob.Contact(alice.id()).Verify(patient(t), mine.Mine); err != nil ||
		!c.Verified || c.Contested {
		t.Fatalf("verify again: got %+v, %v", c, err)
	}
	bob.send(t, alice.id(), "good to see you")
	back.message(t, "good to see you")
}

// TestContestIsFoundBesideTheCertificates: a contact that was told nothing reads it when it hears of the
// recovery.
func TestContestIsFoundBesideTheCertificates(t *testing.T) {
	cluster := shared(t)
	alice, words := create(t, cluster, "Alice")
	bob, _ := create(t, cluster, "Bob")
	if _, err := bob.AddContact(patient(t), alice.id(), "ally"); err != nil { // Alice does not know of it
		t.Fatal(err)
	}
	recovered(t, cluster, words, "thief")
	alice.next(t, "the alarm", func(e client.Event) bool {
		return e.Kind == client.EventDevice &&
			e.Device.Kind == "recovered"
	})
	if r, err := alice.Contest(patient(t)); err != nil || !r.Recorded || r.Told != 0 {
		t.Fatalf("contest: got %+v, %v, want it recorded and nobody told", r, err)
	}
	sent := bob.send(t, alice.id(), "hello") // Bob has not heard of anything
	bob.next(t, "the contest", contestedEvent(alice.id()))
	if r, err := bob.Receipt(t.Context(), sent.ID); err != nil || r.State != client.StateQueued {
		t.Errorf("message to a contested account: got %+v, %v, want queued", r, err)
	}
}

// TestExpelledThiefIsOut: a device was stolen, and the phrase outranks whoever holds it.
func TestExpelledThiefIsOut(t *testing.T) {
	cluster := shared(t)
	alice1, words := create(t, cluster, "Alice")
	bob, other := create(t, cluster, "Bob")
	bob.send(t, alice1.id(), "hello")
	alice1.message(t, "hello")
	alice1.send(t, bob.id(), "hi")
	bob.message(t, "hi")
	stolen := linkByInvite(t, cluster, alice1, "stolen")
	alice3 := linkByInvite(t, cluster, alice1, "alice-3")
	if err := alice1.Device(stolen.Account().Device).Expel(patient(t), other); !errors.Is(err, fault.Denied) {
		t.Errorf("with Bob's phrase: got %v, want denied", err)
	}
	if err := alice1.Device(stolen.Account().Device).Expel(patient(t), words); err != nil {
		t.Fatal(err)
	}
	stolen.next(t, "its own end", func(e client.Event) bool {
		return e.Kind == client.EventDevice &&
			e.Device.Kind == "revoked"
	})
	alice3.next(t, "the alarm", func(e client.Event) bool {
		return e.Kind == client.EventDevice &&
			e.Device.Kind == "recovered"
	})
	alice1.send(t, bob.id(), "it was stolen")
	bob.message(t, "it was stolen")
	alice3.message(t, "it was stolen")
	if c := contactOf(t, bob, alice1.id()); len(c.Events) != 1 || c.Events[0].Kind != "recovered" {
		t.Errorf("Bob's view: got %+v, want one event, recovered", c)
	}
}

// TestPhraseBringsARevokedDeviceBack: the thief was faster and revoked the owner's device.
func TestPhraseBringsARevokedDeviceBack(t *testing.T) {
	cluster := shared(t)
	alice, words := create(t, cluster, "Alice")
	thief := linkByInvite(t, cluster, alice, "stolen")
	if err := thief.Device(alice.Account().Device).Revoke(patient(t)); err != nil {
		t.Fatal(err)
	}
	alice.next(t, "its own end", func(e client.Event) bool {
		return e.Kind == client.EventDevice &&
			e.Device.Kind == "revoked"
	})
	if err := alice.Device(thief.Account().Device).Expel(patient(t), words); err != nil {
		t.Fatal(err)
	}
	thief.next(t, "its own end", func(e client.Event) bool {
		return e.Kind == client.EventDevice &&
			e.Device.Kind == "revoked"
	})
	alice = alice.reopen(t)
	if err := alice.SyncToHeads(patient(t)); err != nil {
		t.Errorf("sync: %v", err)
	}
	if a := alice.Account(); a.Revoked || a.Name != "Alice" {
		t.Errorf("account: got %+v, want Alice, in again", a)
	}
}

// TestOwnersOldDeviceComesBack: the recovery was the owner's own, and the old device links again, with its
// history.
func TestOwnersOldDeviceComesBack(t *testing.T) {
	cluster := shared(t)
	alice, words := create(t, cluster, "Alice")
	bob, _ := create(t, cluster, "Bob")
	bob.send(t, alice.id(), "remember this")
	alice.message(t, "remember this")
	id := alice.id()
	back := recovered(t, cluster, words, "back")
	alice.next(t, "the alarm", func(e client.Event) bool {
		return e.Kind == client.EventDevice &&
			e.Device.Kind == "recovered"
	})
	if a := alice.Account(); !a.Revoked || !a.Replaced {
		t.Errorf("the old device: got %+v, want to be replaced", a)
	}
	mallory, _ := create(t, cluster, "Mallory")
	alice.stop()
	// Somebody else reads the invitation: the old device does not change hands.
	shown := make(chan string, 1)
	refused := make(chan error, 1)
	go func() {
		_, err := client.Join(patient(t), alice.cfg,
			client.JoinOptions{OnInvite: func(s string, _ ident.DeviceID) { shown <- s }})
		refused <- err
	}()
	if _, err := mallory.LinkDevice(patient(t), <-shown); err != nil {
		t.Fatal(err)
	}
	if err := <-refused; !errors.Is(err, fault.Denied) {
		t.Fatalf("answered by another account: got %v, want denied", err)
	}
	// That invitation is spent; the next one is read by the owner.
	text, joined := invite(t, alice.cfg)
	if _, err := back.LinkDevice(patient(t), text); err != nil {
		t.Fatal(err)
	}
	c := <-joined
	if c == nil {
		t.FailNow()
	}
	alice = run(t, c, alice.cfg)
	bob.send(t, id, "are you both there?")
	alice.message(t, "are you both there?")
	back.message(t, "are you both there?")
	old, err := alice.Messages(t.Context(), client.Filter{Conversation: bob.id().String()})
	if err != nil || len(old) < 2 || old[0].Text != "remember this" {
		t.Errorf("its history: got %d messages, %v, want those of before", len(old), err)
	}
}
