package client_test

import (
	"errors"
	"testing"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/swarmtest"
)

// link joins a new device to the account of by, which approves it.
func link(t testing.TB, cluster *swarmtest.Cluster, by *device, words, label string) *device {
	t.Helper()
	return linkWith(t, config(t, cluster, label), by, words)
}

func linkWith(t testing.TB, cfg client.Config, by *device, words string) *device {
	t.Helper()
	label := cfg.Label
	codes := make(chan string, 1)
	done := make(chan *client.Client, 1)
	go func() {
		c, recovered, err := client.Restore(patient(t), cfg, words,
			client.RestoreOptions{OnPending: func(code string, _ ident.DeviceID) { codes <- code }})
		if err != nil || recovered {
			t.Errorf("restore: got recovered %v, %v, want to be linked", recovered, err)
		}
		done <- c
	}()
	code := <-codes
	by.next(t, "link request", func(e client.Event) bool {
		return e.Kind == client.EventLink && e.Link.Code == code && e.Link.Label == label
	})
	if _, err := by.Approve(patient(t), code); err != nil {
		t.Fatalf("approve: %v", err)
	}
	c := <-done
	if c == nil {
		t.FailNow()
	}
	return run(t, c, cfg)
}

func TestLinkedDevicesHaveTheSameConversations(t *testing.T) {
	cluster := shared(t)
	alice1, words := create(t, cluster, "Alice")
	bob, _ := create(t, cluster, "Bob")
	if _, err := alice1.AddContact(patient(t), bob.id(), "bobby"); err != nil {
		t.Fatalf("add contact: %v", err)
	}
	alice2 := link(t, cluster, alice1, words, "alice-2")
	if a := alice2.Account(); a.Name != "Alice" || a.Generation != 2 || a.ID != alice1.id() {
		t.Errorf("linked account: got %+v, want Alice at generation 2", a)
	}
	contacts, err := alice2.Contacts(t.Context())
	if err != nil || len(contacts) != 1 || contacts[0].Nick != "bobby" || !contacts[0].Approved {
		t.Errorf("contacts of the linked device: got %+v, %v, want bobby, approved", contacts, err)
	}
	sent := alice1.send(t, bob.id(), "from the first")
	bob.message(t, "from the first")
	if m := alice2.message(t, "from the first"); !m.Mine || m.From != alice1.id() ||
		m.Conversation != bob.id().String() {
		t.Errorf("copy: got %+v, want our own message to Bob", m)
	}
	bob.send(t, alice1.id(), "to both")
	alice1.message(t, "to both")
	if m := alice2.message(t, "to both"); m.Unverified || m.Request {
		t.Errorf("message on the second device: got %+v, want verified, no request", m)
	}
	if _, err := alice1.Wait(patient(t), sent.ID, client.StateStored); err != nil {
		t.Errorf("wait: %v", err)
	}
	alice2.send(t, bob.id(), "from the second")
	bob.message(t, "from the second")
	alice1.message(t, "from the second")

	alice3 := link(t, cluster, alice2, words, "alice-3")
	if contacts, err := alice3.Contacts(t.Context()); err != nil || len(contacts) != 1 {
		t.Errorf("contacts of the third device: got %+v, %v, want one", contacts, err)
	}
	// Bob still knows generation 2: his message is refused, sealed again, and opened by all three.
	bob.send(t, alice1.id(), "to all")
	for _, d := range []*device{alice1, alice2, alice3} {
		d.message(t, "to all")
	}
	list, err := alice1.Devices(t.Context())
	if err != nil || len(list.Devices) != 3 || len(list.Pending) != 0 || len(list.Events) != 3 {
		t.Errorf("devices: got %+v, %v, want three, nothing pending, three events", list, err)
	}
	if _, err := alice1.Approve(patient(t), "ABCD-EFGH"); !errors.Is(err, fault.NotFound) {
		t.Errorf("approve an unknown code: got %v, want not found", err)
	}
}

func TestNoteToSelfReachesOwnDevices(t *testing.T) {
	cluster := shared(t)
	alice1, words := create(t, cluster, "Alice")
	alone := alice1.send(t, alice1.id(), "alone")
	if r, err := alice1.Wait(patient(t), alone.ID, client.StateStored); err != nil {
		t.Errorf("note of a sole device: got %+v, %v, want stored", r, err)
	}
	alice2 := link(t, cluster, alice1, words, "alice-2")
	sent := alice1.send(t, alice1.id(), "milk")
	if m := alice2.message(t, "milk"); m.Conversation != alice1.id().String() || !m.Mine {
		t.Errorf("note: got %+v, want a note to self", m)
	}
	if r, err := alice1.Wait(patient(t), sent.ID, client.StateStored); err != nil ||
		r.Path != (ident.Path{}) {
		t.Errorf("note: got %+v, %v, want stored, no path", r, err)
	}
}

func TestRecoveryIsVisibleAndLocksOldDevicesOut(t *testing.T) {
	cluster := shared(t)
	alice1, words := create(t, cluster, "Alice")
	bob, _ := create(t, cluster, "Bob")
	alice1.send(t, bob.id(), "before")
	bob.message(t, "before")
	bob.send(t, alice1.id(), "answer")
	alice1.message(t, "answer")
	if err := alice1.Idle(patient(t)); err != nil {
		t.Fatal(err)
	}

	cfg := config(t, cluster, "rescue")
	c, recovered, err := client.Restore(patient(t), cfg, words, client.RestoreOptions{NoWait: true})
	if err != nil || !recovered {
		t.Fatalf("restore: got recovered %v, %v, want true", recovered, err)
	}
	rescue := run(t, c, cfg)
	if a := rescue.Account(); a.Name != "Alice" || a.Generation != 2 {
		t.Errorf("recovered account: got %+v, want Alice at generation 2", a)
	}
	if contacts, err := rescue.Contacts(t.Context()); err != nil || len(contacts) != 1 ||
		contacts[0].ID != bob.id() {
		t.Errorf("recovered contacts: got %+v, %v, want Bob", contacts, err)
	}
	alice1.next(t, "revocation", func(e client.Event) bool {
		return e.Kind == client.EventDevice &&
			e.Device.Kind == "revoked"
	})
	if _, err := alice1.Send(patient(t), bob.id(), client.Outgoing{Text: "still me?"}); !errors.Is(err,
		fault.Denied) {
		t.Errorf("send from the replaced device: got %v, want denied", err)
	}
	if err := alice1.SyncToHeads(patient(t)); !errors.Is(err, fault.Denied) {
		t.Errorf("sync on the replaced device: got %v, want denied", err)
	}
	bob.send(t, rescue.id(), "who are you?")
	rescue.message(t, "who are you?")
	contacts, err := bob.Contacts(t.Context())
	if err != nil || len(contacts) != 1 || len(contacts[0].Events) != 1 ||
		contacts[0].Events[0].Kind != "recovered" {
		t.Errorf("Bob's view of Alice: got %+v, %v, want one event, recovered", contacts, err)
	}
}
