package store

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/private"
)

func groupID(b byte) (id ident.GroupID) {
	id[0], id[1] = ident.GroupType, b
	return id
}

func TestGroupsComeBackAsTheyWereSaved(t *testing.T) {
	db := fresh(t)
	full := Group{ID: groupID(1), Status: "waiting", Since: 5, Name: "walkers", Cursor: 7, HeadSeq: 6,
		AdminCursor: 9, Invitation: []byte{1}, Keys: []byte{2},
		Request: []byte{3}, Asked: true, Past: 4, Leaving: true, Warning: "odd", Cause: "full"}
	bare := Group{ID: groupID(2), Status: "joined", Since: 6}
	err := db.Update(func(tx *Tx) error {
		for _, g := range []Group{full, bare} {
			tx.SaveGroup(&g)
		}
		tx.SaveGroupState(full.ID, []byte("old"))
		tx.SaveGroupState(full.ID, []byte("state"))
		tx.SaveGroupState(bare.ID, []byte("gone"))
		tx.SaveGroupState(bare.ID, nil)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	err = db.View(func(tx *Tx) error {
		for _, want := range []Group{full, bare} {
			if got, ok := tx.Group(want.ID); !ok || !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v, %v, want %+v", got, ok, want)
			}
		}
		if got := tx.GroupIDs(); len(got) != 2 || got[0] != bare.ID {
			t.Errorf("got groups %v, want the newest first", got)
		}
		if got := tx.GroupState(full.ID); string(got) != "state" {
			t.Errorf("got state %q, want the newest", got)
		}
		if got := tx.GroupState(bare.ID); got != nil {
			t.Errorf("got state %q, want none after it was erased", got)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestGroupChangesKeepTheirOrderAndWhatTheyMet(t *testing.T) {
	db := fresh(t)
	id := groupID(1)
	err := db.Update(func(tx *Tx) error {
		for _, want := range []string{"first", "second"} {
			tx.AddGroupChange(&GroupChange{Group: id, Want: []byte(want), Since: 3})
		}
		tx.AddGroupChange(&GroupChange{Group: groupID(2), Want: []byte("other"), Since: 3})
		got := tx.GroupChanges(id)
		if len(got) != 2 || string(got[0].Want) != "first" || got[0].Tried != [32]byte{} {
			t.Fatalf("got %+v, want two changes in order", got)
		}
		got[0].Tried, got[0].Cause = [32]byte{8}, "no leader"
		tx.SaveGroupChange(&got[0])
		if again := tx.GroupChanges(id); !reflect.DeepEqual(again, got) {
			t.Errorf("got %+v, want %+v", again, got)
		}
		for i, g := range []Group{{Request: []byte{1}}, {Status: "waiting"},
			{Status: "waiting", Request: []byte{1}, Asked: true}, {Status: "joined"}} {
			g.ID = groupID(byte(3 + i))
			tx.SaveGroup(&g)
		}
		if n := tx.CountGroupChanges(); n != 5 {
			t.Errorf("%d changes and joins wait, want 5", n)
		}
		if !tx.DropGroupChange(got[0].N) || tx.DropGroupChange(got[0].N) {
			t.Error("a change was not dropped once")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestGroupAsksAreKeptOnceAndGoWithTheMembership(t *testing.T) {
	db := fresh(t)
	id := groupID(1)
	err := db.Update(func(tx *Tx) error {
		ask := GroupAsk{Group: id, Kind: "request", Body: bytes.Repeat([]byte{7}, 40), At: 9}
		if !tx.AddGroupAsk(&ask) {
			t.Error("a new request was not kept")
		}
		if again := ask; tx.AddGroupAsk(&again) {
			t.Error("the same request was kept twice")
		}
		got := tx.GroupAsks(id)
		if len(got) != 1 || !bytes.Equal(got[0].Body, ask.Body) {
			t.Fatalf("got %+v, want the request", got)
		}
		got[0].Held, got[0].Account = true, ident.AccountID{ident.AccountType}
		tx.SaveGroupAsk(&got[0])
		if again := tx.GroupAsks(id); !reflect.DeepEqual(again, got) {
			t.Errorf("got %+v, want %+v", again, got)
		}
		tx.AddGroupLink(id, GroupLink{Serial: 1 << 63, Seed: private.KeyOf([32]byte{1})})
		if links := tx.GroupLinks(id); len(links) != 1 || links[0].Serial != 1<<63 {
			t.Errorf("got links %+v, want the one that was added", links)
		}
		if links := tx.GroupLinks(id); links[0].Pin != nil {
			t.Errorf("got pin %x, want none", links[0].Pin)
		}
		if tx.PinGroupLink(id, 2, [16]byte{9}) || !tx.PinGroupLink(id, 1<<63, [16]byte{9}) {
			t.Error("pins go to links that are there, want to those only")
		}
		if links := tx.GroupLinks(id); len(links[0].Pin) != 16 || links[0].Pin[0] != 9 {
			t.Errorf("got pin %x, want 09 and zeros", links[0].Pin)
		}
		tx.DropGroupWork(id)
		if len(tx.GroupAsks(id))+len(tx.GroupLinks(id)) != 0 {
			t.Error("requests and links outlive the membership")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
