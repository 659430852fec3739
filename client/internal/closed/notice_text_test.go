package closed

import (
	"testing"

	"github.com/starling-swarm/starling/client/internal/content"
	"github.com/starling-swarm/starling/client/internal/conv"
	"github.com/starling-swarm/starling/groups"
	"github.com/starling-swarm/starling/internal/ident"
	bodyv1 "github.com/starling-swarm/starling/proto/starling/body/v1"
)

var (
	noticeMe    = ident.AccountID{0: 5, 1: 1}
	noticeAlice = ident.AccountID{0: 5, 1: 2}
	noticeBob   = ident.AccountID{0: 5, 1: 3}
	noticeCarol = ident.AccountID{0: 5, 1: 4}
)

func TestNoticesReadAsSentences(t *testing.T) {
	name := func(id ident.AccountID) string {
		return map[ident.AccountID]string{noticeAlice: "Alice", noticeBob: "bob", noticeCarol: "Carol"}[id]
	}
	none := ident.AccountID{}
	for _, c := range []struct {
		kind    conv.NoticeKind
		by      ident.AccountID
		members []ident.AccountID
		text    string
		want    string
	}{
		{conv.NoticeCreated, noticeMe, nil, "Climbers", "You created the group “Climbers”"},
		{conv.NoticeAdded, noticeAlice, []ident.AccountID{noticeBob, noticeCarol, noticeMe}, "",
			"Alice added bob, Carol and you"},
		{conv.NoticeAdded, none, []ident.AccountID{noticeMe}, "", "You were added"},
		{conv.NoticeJoined, noticeAlice, []ident.AccountID{noticeBob}, "", "Bob joined by a link"},
		{conv.NoticeRemoved, noticeAlice, []ident.AccountID{noticeBob}, "", "Alice removed bob"},
		{conv.NoticeRemoved, none, []ident.AccountID{noticeMe}, "", "You were removed"},
		{conv.NoticeReturned, noticeAlice, []ident.AccountID{noticeBob}, "", "Bob is back with new keys"},
		{conv.NoticeReturned, noticeAlice, []ident.AccountID{noticeMe}, "", "You are back with new keys"},
		{conv.NoticeLeft, none, []ident.AccountID{noticeBob}, "", "Bob left"},
		{conv.NoticeBanned, noticeMe, []ident.AccountID{noticeBob}, "", "You banned bob"},
		{conv.NoticeRole, noticeAlice, []ident.AccountID{noticeMe}, "admin", "Alice made you an admin"},
		{conv.NoticeRenamed, noticeBob, nil, "Cooks", "Bob changed the name to “Cooks”"},
		{conv.NoticeDescribed, noticeBob, nil, "x", "Bob changed the description"},
		{conv.NoticePicture, none, nil, "", "The picture was changed"},
		{conv.NoticeTimer, noticeMe, nil, "1h0m0s", "You changed disappearing messages: 1h0m0s"},
		{conv.NoticeTimer, noticeMe, nil, "", "You changed disappearing messages: off"},
		{conv.NoticeDisbanded, none, nil, "", "The group was disbanded"},
		{conv.NoticeDisbanded, noticeAlice, nil, "", "Alice disbanded the group"},
		{conv.NoticeInvited, noticeAlice, []ident.AccountID{noticeMe}, "", "Alice invited you"},
		{"of a later version", none, nil, "", "The group changed"},
	} {
		if got := conv.NoticeSentence(&conv.Notice{Kind: c.kind, By: c.by, Members: c.members, Text: c.text},
			noticeMe, name); got != c.want {
			t.Errorf("%s: got %q, want %q", c.kind, got, c.want)
		}
	}
}

func TestCommitsSayWhatTheyChanged(t *testing.T) {
	member := func(id ident.AccountID, joined uint64) *groups.Member {
		return &groups.Member{Account: id, Joined: joined}
	}
	before := before{Index: 6, Info: groups.Info{Name: "old", Timer: 60},
		Invites: []groups.Invite{{Serial: 1, For: []ident.AccountID{noticeBob}}}}
	after := []*groups.Member{member(noticeAlice, 1), member(noticeBob, 7), member(noticeCarol, 7)}
	for _, c := range []struct {
		name string
		d    groups.Described
		want []bodyv1.Notice_Kind
	}{
		{"invited and by link", groups.Described{Kind: groups.KindAdd, Change: &groups.Change{}},
			[]bodyv1.Notice_Kind{bodyv1.Notice_KIND_ADDED, bodyv1.Notice_KIND_JOINED}},
		{"removed", groups.Described{Kind: groups.KindRemove,
			Change: &groups.Change{Targets: []groups.Target{{Account: noticeBob}}}},
			[]bodyv1.Notice_Kind{bodyv1.Notice_KIND_REMOVED}},
		{"banned", groups.Described{Kind: groups.KindRemove, Change: &groups.Change{Ban: true,
			Targets: []groups.Target{{Account: noticeBob}}}},
			[]bodyv1.Notice_Kind{bodyv1.Notice_KIND_BANNED}},
		{"left", groups.Described{Kind: groups.KindRemove, Change: &groups.Change{Left: true,
			Targets: []groups.Target{{Account: noticeBob}}}}, []bodyv1.Notice_Kind{bodyv1.Notice_KIND_LEFT}},
		{"removed for a return", groups.Described{Kind: groups.KindRemove,
			Change: &groups.Change{Return: true, Targets: []groups.Target{{Account: noticeBob}}}}, nil},
		{"back", groups.Described{Kind: groups.KindAdd,
			Change: &groups.Change{Adds: []groups.Addition{{Replaces: 1, Member: member(noticeCarol, 7)}}}},
			[]bodyv1.Notice_Kind{bodyv1.Notice_KIND_ADDED, bodyv1.Notice_KIND_RETURNED}},
		{"rekey", groups.Described{Kind: groups.KindRekey, Change: &groups.Change{}}, nil},
		{"link opened", groups.Described{Kind: groups.KindInvite,
			Change: &groups.Change{Invite: groups.Invite{Uses: 3}}}, nil},
		{"everything of the info", groups.Described{Kind: groups.KindInfo,
			Change: &groups.Change{Info: groups.Info{Name: "new", About: "a", Picture: []byte{1}}}},
			[]bodyv1.Notice_Kind{bodyv1.Notice_KIND_RENAMED, bodyv1.Notice_KIND_DESCRIBED,
				bodyv1.Notice_KIND_PICTURE, bodyv1.Notice_KIND_TIMER}},
		{"void", groups.Described{Kind: groups.KindRemove, Void: true}, nil},
		{"void but over", groups.Described{Kind: groups.KindDisband, Void: true},
			[]bodyv1.Notice_Kind{bodyv1.Notice_KIND_DISBANDED}},
	} {
		c.d.Index, c.d.Author = 7, noticeAlice
		var got []bodyv1.Notice_Kind
		for _, n := range noticesOf(&c.d, &before, after) {
			got = append(got, n.GetKind())
			if known := len(n.GetBy()) > 0; known == c.d.Void {
				t.Errorf("%s: who did it is known: %v, want %v", c.name, known, !c.d.Void)
			}
			if !content.ValidNotice(n) {
				t.Errorf("%s: the notice does not pass its own check", c.name)
			}
		}
		if len(got) != len(c.want) {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
			continue
		}
		for i := range got {
			if got[i] != c.want[i] {
				t.Errorf("%s: got %v, want %v", c.name, got, c.want)
			}
		}
	}
}
