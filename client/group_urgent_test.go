package client_test

import (
	"testing"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/client/internal/closed"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/swarmtest"
)

// shutOutOf checks that what was copied from a device before generation g opens nothing any more.
func shutOutOf(t *testing.T, loot closed.Loot, d *device, want int) {
	t.Helper()
	tried := loot.Try(patient(t), t, d.Lab())
	if len(tried) != want {
		t.Errorf("tried %d things, want %d", len(tried), want)
	}
	for what, err := range tried {
		if err == nil {
			t.Errorf("a device that was shut out may %s", what)
		}
	}
}

// next waits until all devices are in a generation after one, and returns it.
func nextGeneration(t *testing.T, id ident.GroupID, after uint32, all ...*device) (g uint32) {
	t.Helper()
	for _, d := range all {
		g = d.in(t, id, "a generation begins",
			func(g client.Group) bool {
				return g.Status == client.GroupJoined &&
					g.Generation > after
			}).Generation
	}
	return g
}

// TestShutOutDeviceTellsNoAdminOfItsOwnLeafKey: what members sign with is the same in all generations, and
// where each stores with a key of its own the nodes still take it.
func TestShutOutDeviceTellsNoAdminOfItsOwnLeafKey(t *testing.T) {
	cluster := shared(t)
	alice, _ := create(t, cluster, "Alice")
	bob, _ := create(t, cluster, "Bob")
	stolen := linkByInvite(t, cluster, bob, "stolen")
	approve(t, alice, bob)
	id := alice.groupOf(t, "walkers", client.GroupOwnKeys).ID
	alice.let(t, id, bob)
	stolen.in(t, id, "in", isMember(bob.id()))
	begun := nextGeneration(t, id, 0, alice, bob, stolen)
	loot := stolen.Lab().Steal(id)
	ok(t, "shut out", bob.Device(stolen.Account().Device).Revoke(patient(t)))
	now := nextGeneration(t, id, begun, alice, bob)
	for _, g := range []uint32{begun, now} {
		if err := loot.Leaf(patient(t), t, alice.Lab(), g); err == nil {
			t.Errorf("as of generation %d: a device that was shut out may change the leaf key", g)
		}
	}
}

func TestDeviceOfAnAdminThatIsShutOutIsOutOfTheGroupsAtOnce(t *testing.T) {
	cluster := shared(t)
	for name, shut := range map[string]func(by, lost *device, words string) error{
		"revoked": func(by, lost *device,
			_ string) error {
			return by.Device(lost.Account().Device).Revoke(patient(t))
		},
		"lost": func(by, lost *device, words string) error {
			return by.Device(lost.Account().Device).Expel(patient(t), words)
		},
	} {
		t.Run(name, func(t *testing.T) {
			alice, words := create(t, cluster, "Alice")
			alice2 := linkByInvite(t, cluster, alice, "alice-2")
			stolen := linkByInvite(t, cluster, alice, "stolen")
			bob, _ := create(t, cluster, "Bob")
			approve(t, alice, bob)
			id := alice.group(t, "walkers").ID
			alice.let(t, id, bob)
			for _, d := range []*device{alice2, stolen} {
				d.in(t, id, "bob is in", isMember(bob.id()))
			}
			begun := nextGeneration(t, id, 0, alice, alice2, bob)
			loot := stolen.Lab().Steal(id)
			ok(t, "read with a copy of the keys", loot.Read(patient(t), t, alice.Lab()))
			ok(t, "shut out", shut(alice, stolen, words))
			nextGeneration(t, id, begun, alice, alice2, bob)
			for _, d := range []*device{alice, alice2} {
				if n := d.Lab().LeafNumber(id); n < 2 {
					t.Errorf("%s: got leaf key %d, want 2 at least", d.Account().Label, n)
				}
			}
			shutOutOf(t, loot, alice, 5)
			bob.say(t, id, "without the thief")
			alice2.message(t, "without the thief")
			alice2.say(t, id, "nor here")
			bob.message(t, "nor here")
			if g, err := stolen.Group(id).Get(t.Context()); err != nil || g.Generation > begun {
				t.Errorf("the device that was shut out is in generation %d, %v, want %d at most",
					g.Generation, err, begun)
			}
		})
	}
}

func TestDeviceOfAMemberThatIsShutOutIsOutOfTheGroupsAtOnce(t *testing.T) {
	bob, stolen, alice, id := robbed(t, shared(t))
	loot := stolen.Lab().Steal(id)
	begun := nextGeneration(t, id, 0, alice, bob)
	ok(t, "revoke", bob.Device(stolen.Account().Device).Revoke(patient(t)))
	nextGeneration(t, id, begun, alice, bob)
	shutOutOf(t, loot, bob, 3)
	alice.say(t, id, "without the thief")
	bob.message(t, "without the thief")
}

func TestDeviceIsShutOutOfTheGroupsAlthoughTheOneThatDidItDies(t *testing.T) {
	cluster := shared(t)
	bob, stolen, alice, id := robbed(t, cluster)
	bob2 := linkByInvite(t, cluster, bob, "bob-3")
	bob2.in(t, id, "the group", status(client.GroupJoined))
	loot := stolen.Lab().Steal(id)
	begun := nextGeneration(t, id, 0, alice, bob, bob2)
	ok(t, "revoke", bob.Device(stolen.Account().Device).Revoke(patient(t)))
	bob.kill(t)
	nextGeneration(t, id, begun, alice, bob2)
	shutOutOf(t, loot, bob2, 3)
}

// robbed makes a group of an admin and a member with two devices.
func robbed(t *testing.T, cluster *swarmtest.Cluster) (bob, stolen, alice *device, id ident.GroupID) {
	t.Helper()
	alice, _ = create(t, cluster, "Alice")
	bob, stolen = twoDevices(t, cluster, "Bob")
	approve(t, alice, bob)
	id = alice.group(t, "walkers").ID
	alice.let(t, id, bob)
	stolen.in(t, id, "the group", status(client.GroupJoined))
	return bob, stolen, alice, id
}
