package e2e

import (
	"flag"
	"fmt"
	"slices"
	"testing"
)

// The tests of this package have clusters of their own. They run side by side, since all of them wait a lot.

func TestDevicesStayInStepInOneProcess(t *testing.T) {
	if testing.Short() {
		t.Skip("test/stories plays the like in fake time; run without -short")
	}
	t.Parallel()
	devicesStayInStep(t, new(embedded))
}

func TestDevicesStayInStepInProcesses(t *testing.T) {
	if testing.Short() {
		t.Skip("starts five processes; run without -short")
	}
	t.Parallel()
	devicesStayInStep(t, new(procs))
}

// containers is off by default: the README promises that `go test ./...` needs none.
var containers = flag.Bool("containers", false, "also play the stories on docker compose")

func TestDevicesStayInStepInContainers(t *testing.T) {
	if !*containers {
		t.Skip("builds an image and starts five containers; run with -containers")
	}
	devicesStayInStep(t, new(compose))
}

// burst is how many messages are under way while a node dies, and while one is cut off.
func burst() int {
	if testing.Short() {
		return 6
	}
	return 12
}

// devicesStayInStep: Alice on one device, Bob, then more devices of Alice; a node dies and one loses its
// network while they talk; in the end every device has every message once and in order. Then the same with a
// group of three, with a public group whose admin is away, and a recovery that is seen by everybody.
func devicesStayInStep(t *testing.T, s Shape) {
	s.Start(t)
	ids := clusterNodes(t, s.ClusterFile())
	home := t.TempDir()
	at := func(name string) *device {
		return &device{t: t, bin: binary(t, "sessionctl"), home: home, cluster: s.ClusterFile(), name: name}
	}
	phone, laptop, bob := at("alice-phone"), at("alice-laptop"), at("bob")
	phone.do("wait", "cluster", "--timeout", "1m")
	made := phone.do("init", "--name", "Alice")
	alice, phrase := made.text("account_id"), made.text("recovery_phrase")
	bobID := bob.do("init", "--name", "Bob").text("account_id")
	phone.do("contact", "add", bobID, "--nick", "bobby")

	// A second device, by phrase, with approval.
	if linked := laptop.link(phrase, phone); linked.text("account_id") != alice ||
		linked["recovered"] != false {
		t.Fatalf("link: got %v, want account %s, not recovered", linked, alice)
	}

	// Alice's first device sends; Bob and her second device have it.
	phone.send("bobby", "hello from the phone")
	wantEach(t, []*device{bob}, "hello from the phone")
	wantTexts(t, "laptop's log", laptop.texts("bobby"), "hello from the phone")

	// Bob answers; both of Alice's devices have it.
	both := []*device{phone, laptop}
	last := bob.send(alice, "hello to both")
	wantEach(t, both, "hello to both")

	// A node that carries the conversation dies in the middle of a burst.
	dead := slices.Index(ids, path(t, last)[1])
	said := sendWhile(t, bob, alice, "crash", func() { s.Crash(t, dead) })
	wantEach(t, both, said...)
	s.Restart(t, dead)

	// Another one loses its network, and gets it back. The laptop is away meanwhile.
	cut := (dead + 1) % nodes
	more := sendWhile(t, bob, alice, "cut", func() { s.Cut(t, cut) })
	wantEach(t, []*device{phone}, more...)
	s.Heal(t, cut)
	bob.send(alice, "all together again")
	wantEach(t, []*device{phone}, "all together again")
	wantEach(t, []*device{laptop}, append(slices.Clone(more), "all together again")...)

	// Nothing came twice, and both devices tell the same story.
	phone.nothingMore()
	laptop.nothingMore()
	story := slices.Concat([]string{"hello from the phone", "hello to both"}, said, more,
		[]string{"all together again"})
	wantTexts(t, "phone's log", phone.texts("bobby"), story...)
	wantTexts(t, "laptop's log", laptop.texts("bobby"), story...)

	thirdDeviceHasTheContacts(t, at("alice-tablet"), phone, phrase)
	carol := at("carol")
	groupStaysInStep(t, s, ids, phone, laptop, bob, carol)
	publicGroupStaysInStep(t, s, ids, phone, laptop, bob, carol)
	recoveryIsVisible(t, at("alice-new"), phone, bob, phrase, alice)
}

// sendWhile sends a burst and does harm after a third of it. Every message must be acknowledged.
func sendWhile(t *testing.T, from *device, to, word string, harm func()) (said []string) {
	t.Helper()
	for i := range burst() {
		if i == burst()/3 {
			harm()
		}
		text := fmt.Sprintf("%s %d", word, i)
		from.send(to, text)
		said = append(said, text)
	}
	return said
}

func path(t *testing.T, sent document) []string {
	t.Helper()
	items, _ := sent["path"].([]any)
	var ids []string
	for _, i := range items {
		ids = append(ids, i.(string))
	}
	if len(ids) != 3 {
		t.Fatalf("path: got %v, want three nodes", ids)
	}
	return ids
}

func wantTexts(t *testing.T, who string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("%s: got %q, want %q", who, got, want)
	}
}

func thirdDeviceHasTheContacts(t *testing.T, tablet, approver *device, phrase string) {
	t.Helper()
	tablet.link(phrase, approver)
	contacts := tablet.do("contact", "list").list("contacts")
	if len(contacts) != 1 || contacts[0].text("nick") != "bobby" {
		t.Errorf("tablet's contacts: got %v, want bobby", contacts)
	}
	active := 0
	for _, d := range approver.do("device", "list").list("devices") {
		if d.text("status") == "active" {
			active++
		}
	}
	if active != 3 {
		t.Errorf("active devices: got %d, want 3", active)
	}
}

// recoveryIsVisible restores the account without asking anybody: it works at once, the new device reads new
// mail, and nobody is left in the dark about it.
func recoveryIsVisible(t *testing.T, fresh, old, bob *device, phrase, alice string) {
	t.Helper()
	file := writeFile(t, phrase)
	recovered := fresh.do("restore", "--words-file", file, "--no-wait")
	if recovered.text("account_id") != alice || recovered["recovered"] != true {
		t.Fatalf("restore --no-wait: got %v, want account %s, recovered", recovered, alice)
	}
	bob.send(alice, "is that you?")
	wantEach(t, []*device{fresh}, "is that you?")
	if events := bob.do("contact", "list").list("contacts")[0].list("events"); len(events) == 0 ||
		events[len(events)-1].text("kind") != "recovered" {
		t.Errorf("what Bob sees of Alice: got %v, want a recovery", events)
	}
	// The device that was left out learns it when it asks, and then neither reads nor writes.
	for _, args := range [][]string{{"receive"}, {"send", "bobby", "still me?"}} {
		if code, _, errs := old.try(args...); code != 4 {
			t.Errorf("replaced device: %s: got exit code %d, want 4: %s", args[0], code, errs)
		}
	}
}
