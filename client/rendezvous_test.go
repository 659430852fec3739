package client_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/swarmtest"
)

// invite starts a new device that shows an invitation, and returns that and what comes of it.
func invite(t testing.TB, cfg client.Config) (text string, joined <-chan *client.Client) {
	t.Helper()
	shown := make(chan string, 1)
	done := make(chan *client.Client, 1)
	go func() {
		c, err := client.Join(patient(t), cfg,
			client.JoinOptions{OnInvite: func(s string, _ ident.DeviceID) { shown <- s }})
		if err != nil && t.Context().Err() == nil {
			t.Errorf("join: %v", err)
			close(shown)
		}
		done <- c
	}()
	text, ok := <-shown
	if !ok {
		t.FailNow()
	}
	return text, done
}

// linkByInvite joins a new device to the account of by, which reads its invitation.
func linkByInvite(t testing.TB, cluster *swarmtest.Cluster, by *device, label string) *device {
	t.Helper()
	return linkByInviteWith(t, config(t, cluster, label), by)
}

func linkByInviteWith(t testing.TB, cfg client.Config, by *device) *device {
	t.Helper()
	text, joined := invite(t, cfg)
	if d, err := by.LinkDevice(patient(t), text); err != nil || d.Label != cfg.Label {
		t.Fatalf("link: got %+v, %v, want %s", d, err, cfg.Label)
	}
	c := <-joined
	if c == nil {
		t.FailNow()
	}
	return run(t, c, cfg)
}

func TestInvitationLinksWithoutThePhrase(t *testing.T) {
	cluster := shared(t)
	alice1, _ := create(t, cluster, "Alice")
	bob, _ := create(t, cluster, "Bob")
	if _, err := alice1.AddContact(patient(t), bob.id(), "bobby"); err != nil {
		t.Fatal(err)
	}
	alice2 := linkByInvite(t, cluster, alice1, "alice-2")
	if a := alice2.Account(); a.ID != alice1.id() || a.Name != "Alice" || a.Generation != 2 {
		t.Errorf("linked account: got %+v, want Alice at generation 2", a)
	}
	if contacts, err := alice2.Contacts(t.Context()); err != nil || len(contacts) != 1 ||
		contacts[0].Nick != "bobby" {
		t.Errorf("contacts: got %+v, %v, want bobby", contacts, err)
	}
	alice1.next(t, "the new device", func(e client.Event) bool {
		return e.Kind == client.EventDevice && e.Device.Kind == "linked" &&
			e.Device.Device == alice2.Account().Device
	})
	alice3 := linkByInvite(t, cluster, alice2, "alice-3")
	bob.send(t, alice1.id(), "to all")
	for _, d := range []*device{alice1, alice2, alice3} {
		d.message(t, "to all")
	}
	alice3.send(t, bob.id(), "from the third")
	bob.message(t, "from the third")
	alice1.message(t, "from the third")
	if contacts, err := bob.Contacts(t.Context()); err != nil || len(contacts) != 1 ||
		len(contacts[0].Events) != 0 {
		t.Errorf("Bob's view: got %+v, %v, want no event: nobody sees a link", contacts, err)
	}
	// The device survives a restart, and its profile takes no second account.
	alice2 = alice2.reopen(t)
	bob.send(t, alice1.id(), "after a restart")
	alice2.message(t, "after a restart")
	alice2.stop()
	if _, err := client.Join(patient(t), alice2.cfg, client.JoinOptions{}); !errors.Is(err, fault.Exists) {
		t.Errorf("join again: got %v, want exists", err)
	}
}

func TestInvitationIsRefused(t *testing.T) {
	cluster := shared(t)
	alice, _ := create(t, cluster, "Alice")
	mallory, _ := create(t, cluster, "Mallory")
	cfg := config(t, cluster, "tablet")
	text, joined := invite(t, cfg)
	for name, try := range map[string]struct {
		text string
		kind fault.Kind
	}{
		"mistyped":           {text[:len(text)-1], fault.Invalid},
		"of another cluster": {alice.ForeignInvite(), fault.Denied},
		"that nobody shows":  {alice.LonelyInvite(), fault.NotFound},
	} {
		if _, err := alice.LinkDevice(patient(t), try.text); fault.KindOf(err) != try.kind {
			t.Errorf("an invitation %s: got %v, want kind %v", name, err, try.kind)
		}
	}
	if _, err := alice.LinkDevice(patient(t), text); err != nil {
		t.Fatal(err)
	}
	c := <-joined
	if c == nil {
		t.FailNow()
	}
	tablet := run(t, c, cfg)
	if tablet.id() != alice.id() {
		t.Errorf("the tablet is of %s, want Alice", tablet.id())
	}
	// It is used up: nobody else can take the device over with it.
	if _, err := mallory.LinkDevice(patient(t), text); !errors.Is(err, fault.NotFound) {
		t.Errorf("a used invitation: got %v, want not found", err)
	}
}

// TestInvitationOutlivesTheNewDevicesProcess ends the new device while its invitation is read.
func TestInvitationOutlivesTheNewDevicesProcess(t *testing.T) {
	cluster := shared(t)
	alice, _ := create(t, cluster, "Alice")
	cfg := config(t, cluster, "tablet")
	first := make(chan string, 1)
	ctx, die := context.WithCancel(patient(t))
	gone := make(chan error, 1)
	go func() {
		_, err := client.Join(ctx, cfg,
			client.JoinOptions{OnInvite: func(s string, _ ident.DeviceID) { first <- s }})
		gone <- err
	}()
	text := <-first
	die()
	if err := <-gone; !errors.Is(err, fault.Unavailable) {
		t.Fatalf("join that was ended: got %v, want unavailable", err)
	}
	if _, err := alice.LinkDevice(patient(t), text); err != nil {
		t.Fatal(err)
	}
	var again string
	c, err := client.Join(patient(t), cfg,
		client.JoinOptions{OnInvite: func(s string, _ ident.DeviceID) { again = s }})
	if err != nil {
		t.Fatal(err)
	}
	tablet := run(t, c, cfg)
	if tablet.id() != alice.id() || again != text {
		t.Errorf("after a restart: account %s with invitation %q, want Alice and the same one",
			tablet.id(), again)
	}
}

func TestRevokedDeviceIsOutAndSaysSo(t *testing.T) {
	cluster := shared(t)
	alice1, _ := create(t, cluster, "Alice")
	bob, _ := create(t, cluster, "Bob")
	if _, err := alice1.AddContact(patient(t), bob.id(), "bobby"); err != nil {
		t.Fatal(err)
	}
	alice2 := linkByInvite(t, cluster, alice1, "alice-2")
	alice3 := linkByInvite(t, cluster, alice1, "alice-3")
	lost := alice2.Account().Device
	text, joined := invite(t, config(t, cluster, "late"))
	go func() { <-joined }()

	if err := alice1.Device(alice1.Account().Device).Revoke(patient(t)); !errors.Is(err, fault.Invalid) {
		t.Errorf("revoke itself: got %v, want invalid", err)
	}
	if err := alice1.Device(ident.DeviceID{1}).Revoke(patient(t)); !errors.Is(err, fault.NotFound) {
		t.Errorf("revoke nobody: got %v, want not found", err)
	}
	if err := alice1.Device(lost).Revoke(patient(t)); err != nil {
		t.Fatal(err)
	}
	alice2.next(t, "its own end", func(e client.Event) bool {
		return e.Kind == client.EventDevice &&
			e.Device.Kind == "revoked"
	})
	for name, try := range map[string]func() error{
		"read": func() error { return alice2.SyncToHeads(patient(t)) },
		"write": func() error {
			_, err := alice2.Send(patient(t), bob.id(),
				client.Outgoing{Text: "x"})
			return err
		},
		"approve": func() error { _, err := alice2.Approve(patient(t), "ABCD-EFGH"); return err },
		"link":    func() error { _, err := alice2.LinkDevice(patient(t), text); return err },
		"revoke":  func() error { return alice2.Device(alice1.Account().Device).Revoke(patient(t)) },
		"rename":  func() error { _, err := alice2.Device(lost).Rename(patient(t), "mine"); return err },
	} {
		if err := try(); !errors.Is(err, fault.Denied) {
			t.Errorf("a revoked device may %s: got %v, want denied", name, err)
		}
	}
	if a := alice2.Account(); !a.Revoked {
		t.Error("its account does not say that it was revoked")
	}
	// The others go on, and what is new is under keys that the revoked device does not have.
	alice3.next(t, "revocation", func(e client.Event) bool {
		return e.Kind == client.EventDevice && e.Device.Kind == "revoked" && e.Device.Device == lost &&
			e.Device.By != nil && *e.Device.By == alice1.Account().Device
	})
	bob.send(t, alice1.id(), "without the second")
	alice1.message(t, "without the second")
	alice3.message(t, "without the second")
	if contacts, err := bob.Contacts(t.Context()); err != nil || len(contacts) != 1 ||
		len(contacts[0].Events) != 0 {
		t.Errorf("Bob's view: got %+v, %v, want no event: nobody sees a revocation", contacts, err)
	}
	ds, err := alice3.Devices(t.Context())
	if err != nil || len(ds.Devices) != 3 || ds.Devices[2].ID != lost || ds.Devices[2].Status != "revoked" {
		t.Errorf("devices: got %+v, %v, want two and a revoked one", ds.Devices, err)
	}
	// Its owner found it again: it joins anew, keeps its conversations, and is another device from then on.
	alice2.stop()
	text, joined = invite(t, alice2.cfg)
	if _, err := alice3.LinkDevice(patient(t), text); err != nil {
		t.Fatal(err)
	}
	c := <-joined
	if c == nil {
		t.FailNow()
	}
	back := run(t, c, alice2.cfg)
	if a := back.Account(); a.Device == lost || a.Revoked || a.ID != alice1.id() {
		t.Errorf("joined anew: got %+v, want another device of Alice", a)
	}
	bob.send(t, alice1.id(), "welcome back")
	back.message(t, "welcome back")
}

func TestRenamedDeviceHasItsNameEverywhere(t *testing.T) {
	cluster := shared(t)
	alice1, _ := create(t, cluster, "Alice")
	alice2 := linkByInvite(t, cluster, alice1, "alice-2")
	id := alice1.Account().Device
	if d, err := alice2.Device(id).Rename(patient(t), "kitchen"); err != nil || d.Label != "kitchen" ||
		d.LastSeen.IsZero() {
		t.Fatalf("rename: got %+v, %v, want kitchen", d, err)
	}
	if err := alice1.SyncToHeads(patient(t)); err != nil {
		t.Fatal(err)
	}
	if a := alice1.Account(); a.Label != "kitchen" {
		t.Errorf("the renamed device calls itself %q, want kitchen", a.Label)
	}
	for _, name := range []string{"kitchen", id.String(), id.String()[:8]} {
		if d, err := alice1.ResolveDevice(t.Context(), name); err != nil || d.ID != id || !d.This {
			t.Errorf("find %q: got %+v, %v, want the first device", name, d, err)
		}
	}
	if _, err := alice1.ResolveDevice(t.Context(), "attic"); !errors.Is(err, fault.NotFound) {
		t.Errorf("find attic: got %v, want not found", err)
	}
	if _, err := alice1.Device(id).Rename(patient(t), " "); !errors.Is(err, fault.Invalid) {
		t.Errorf("an empty label: got %v, want invalid", err)
	}
}

// TestTwoDevicesActAtOnce renames and links at the same time: one wins the compare-and-set, the other goes on
// from there.
func TestTwoDevicesActAtOnce(t *testing.T) {
	cluster := shared(t)
	alice1, _ := create(t, cluster, "Alice")
	alice2 := linkByInvite(t, cluster, alice1, "alice-2")
	cfg := config(t, cluster, "alice-3")
	text, joined := invite(t, cfg)
	renamed := make(chan error, 1)
	go func() {
		_, err := alice2.Device(alice2.Account().Device).Rename(patient(t), "pocket")
		renamed <- err
	}()
	if _, err := alice1.LinkDevice(patient(t), text); err != nil {
		t.Errorf("link: %v", err)
	}
	if err := <-renamed; err != nil {
		t.Errorf("rename: %v", err)
	}
	c := <-joined
	if c == nil {
		t.FailNow()
	}
	alice3 := run(t, c, cfg)
	if err := alice3.SyncToHeads(patient(t)); err != nil {
		t.Fatal(err)
	}
	if d, err := alice3.ResolveDevice(t.Context(), "pocket"); err != nil || d.ID != alice2.Account().Device {
		t.Errorf("the third device finds pocket: got %+v, %v", d, err)
	}
}

// brief is a network whose process dies after some requests: from then on nothing gets out.
type brief struct {
	client.Network
	left *atomic.Int32
	die  func()
}

func (n brief) Do(ctx context.Context, purpose string, mailbox ident.MailboxID, request []byte,
	sign client.SignFunc) (*envelope.Response, ident.Path, error) {
	if n.left.Add(-1) < 0 {
		n.die()
		return nil, ident.Path{}, fault.New(fault.Unavailable, "send", "dead")
	}
	return n.Network.Do(ctx, purpose, mailbox, request, sign)
}

// TestLinkSurvivesDeathAtEveryRequest kills the new device's process at each request in turn, and goes on
// afterwards: one device joins, once.
func TestLinkSurvivesDeathAtEveryRequest(t *testing.T) {
	if testing.Short() {
		t.Skip("links once for every request of a link")
	}
	cluster := shared(t)
	alice, _ := create(t, cluster, "Alice")
	cfg := config(t, cluster, "tablet")
	var left atomic.Int32
	var first string
	var joined *client.Client
	for n := int32(1); joined == nil; n++ {
		if n > 60 {
			t.Fatal("it never joins")
		}
		left.Store(n)
		ctx, die := context.WithCancel(patient(t))
		cfg.SetNetwork(func(inner client.Network) client.Network { return brief{inner, &left, die} })
		var linking sync.WaitGroup
		c, err := client.Join(ctx, cfg, client.JoinOptions{OnInvite: func(s string, _ ident.DeviceID) {
			if first == "" {
				first = s
				linking.Go(func() {
					if _, err := alice.LinkDevice(patient(t), s); err != nil {
						t.Errorf("link: %v", err)
					}
				})
			}
			if s != first {
				t.Errorf("the invitation changed after %d requests", n)
			}
		}})
		linking.Wait()
		die()
		if err == nil {
			joined = c
		}
	}
	tablet := run(t, joined, cfg)
	left.Store(1 << 30)
	if err := alice.SyncToHeads(patient(t)); err != nil {
		t.Fatal(err)
	}
	ds, err := alice.Devices(t.Context())
	if err != nil || len(ds.Devices) != 2 || tablet.id() != alice.id() {
		t.Errorf("devices: got %+v, %v, want Alice's two", ds.Devices, err)
	}
}

// TestLinkThatDiedBeforeItsAnswerGoesOn: the generation was made, and the process that made it died.
func TestLinkThatDiedBeforeItsAnswerGoesOn(t *testing.T) {
	cluster := shared(t)
	cfg := config(t, cluster, "Alice-1")
	var fail atomic.Bool
	cfg.SetNetwork(func(inner client.Network) client.Network { return lastWord{inner, &fail} })
	alice, _ := createWith(t, cfg, "Alice")
	tcfg := config(t, cluster, "tablet")
	text, joined := invite(t, tcfg)
	fail.Store(true)
	if _, err := alice.LinkDevice(patient(t), text); !errors.Is(err, fault.Unavailable) {
		t.Fatalf("link without its answer: got %v, want unavailable", err)
	}
	fail.Store(false)
	if d, err := alice.LinkDevice(patient(t), text); err != nil || d.Label != "tablet" {
		t.Fatalf("link again: got %+v, %v", d, err)
	}
	c := <-joined
	if c == nil {
		t.FailNow()
	}
	tablet := run(t, c, tcfg)
	if a := tablet.Account(); a.ID != alice.id() || a.Generation != 2 {
		t.Errorf("the tablet: got %+v, want Alice at generation 2", a)
	}
}

// lastWord loses stores under the key of an answer.
type lastWord struct {
	client.Network
	fail *atomic.Bool
}

func (n lastWord) Do(ctx context.Context, purpose string, mailbox ident.MailboxID, request []byte,
	sign client.SignFunc) (*envelope.Response, ident.Path, error) {
	r, err := envelope.DecodeRequest(request)
	if err == nil && n.fail.Load() {
		if put, ok := r.Ops[0].(envelope.Store); ok && put.Namespace == envelope.Blobs {
			return nil, ident.Path{}, fault.New(fault.Unavailable, "send", "lost")
		}
	}
	return n.Network.Do(ctx, purpose, mailbox, request, sign)
}

// TestDeathAfterTheAnswerGoesOn loses the acknowledgement of the answer to an invitation: reading the
// invitation again goes on where it was.
func TestDeathAfterTheAnswerGoesOn(t *testing.T) {
	cluster := shared(t)
	net := &tapped{}
	alice := createTapped(t, cluster, "Alice", net)
	text, joined := invite(t, config(t, cluster, "alice-2"))
	lost := false
	net.tap(func(_ string, r *envelope.Request, _ *envelope.Response) error {
		if put, ok := r.Ops[0].(envelope.Store); ok && put.Namespace == envelope.Blobs && put.IfHead != nil &&
			!lost {
			lost = true
			return errLost
		}
		return nil
	})
	if _, err := alice.LinkDevice(patient(t), text); !errors.Is(err, fault.Unavailable) {
		t.Fatalf("first time: got %v, want that the answer was lost", err)
	}
	alice = alice.reopen(t)
	d, err := alice.LinkDevice(patient(t), text)
	if err != nil || d.Label != "alice-2" {
		t.Errorf("second time: got %+v, %v, want the device", d, err)
	}
	c := <-joined
	if c.Account().ID != alice.id() {
		t.Errorf("got a device of %s, want of Alice", c.Account().ID)
	}
	c.Close()
}
