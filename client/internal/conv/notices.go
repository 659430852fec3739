package conv

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/starling-swarm/starling/client/internal/content"
	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/internal/ident"
	bodyv1 "github.com/starling-swarm/starling/proto/starling/body/v1"
)

// NoticeKind says what happened to a group.
type NoticeKind string

// What can happen to a group.
const (
	NoticeCreated   NoticeKind = "created"
	NoticeAdded     NoticeKind = "added"  // Members accepted an admin's invitation
	NoticeJoined    NoticeKind = "joined" // Members came by a link, or this account began its stay
	NoticeRemoved   NoticeKind = "removed"
	NoticeLeft      NoticeKind = "left"
	NoticeBanned    NoticeKind = "banned" // Members are kept out until they are added again
	NoticeRole      NoticeKind = "role"   // Notice.Text is the new GroupRole
	NoticeRenamed   NoticeKind = "renamed"
	NoticeDescribed NoticeKind = "described"
	NoticePicture   NoticeKind = "picture"
	NoticeTimer     NoticeKind = "timer" // Notice.Text is the time, "" for off
	NoticeDisbanded NoticeKind = "disbanded"
	NoticeInvited   NoticeKind = "invited"
	// Members lost their keys and are in again with new ones, as plain members
	NoticeReturned NoticeKind = "returned"
)

var noticeKinds = map[bodyv1.Notice_Kind]NoticeKind{
	bodyv1.Notice_KIND_CREATED: NoticeCreated, bodyv1.Notice_KIND_ADDED: NoticeAdded,
	bodyv1.Notice_KIND_JOINED:  NoticeJoined,
	bodyv1.Notice_KIND_REMOVED: NoticeRemoved, bodyv1.Notice_KIND_LEFT: NoticeLeft,
	bodyv1.Notice_KIND_BANNED: NoticeBanned,
	bodyv1.Notice_KIND_ROLE:   NoticeRole, bodyv1.Notice_KIND_RENAMED: NoticeRenamed,
	bodyv1.Notice_KIND_DESCRIBED: NoticeDescribed,
	bodyv1.Notice_KIND_PICTURE:   NoticePicture, bodyv1.Notice_KIND_TIMER: NoticeTimer,
	bodyv1.Notice_KIND_DISBANDED: NoticeDisbanded,
	bodyv1.Notice_KIND_INVITED:   NoticeInvited, bodyv1.Notice_KIND_RETURNED: NoticeReturned,
}

// Notice is what happened to a group.
type Notice struct {
	Kind    NoticeKind
	By      ident.AccountID // who did it; zero: not known
	Members []ident.AccountID
	Text    string // the new name, description, role or timer
}

// NoticeOf reads a notice; content.DecodeBody has checked its lengths.
func NoticeOf(n *bodyv1.Notice) *Notice {
	out := &Notice{Kind: noticeKinds[n.GetKind()], Text: n.GetText()}
	copy(out.By[:], n.GetBy())
	for _, b := range n.GetMembers() {
		out.Members = append(out.Members, ident.AccountID(b))
	}
	return out
}

// TextOf is what a message says, with names as they are called now.
func (c *Rows) TextOf(tx *store.Tx, m *store.Message) string {
	if !m.Notice || m.Deleted {
		return m.Text
	}
	body, ok := content.DecodeBody(m.Body)
	if !ok {
		return m.Text
	}
	return c.NoticeText(tx, NoticeOf(body.GetNotice()))
}

// NoticeText says a notice in words.
func (c *Rows) NoticeText(tx *store.Tx, n *Notice) string {
	return NoticeSentence(n, c.core.Me, func(id ident.AccountID) string {
		if name := c.people.Name(tx, id); name != "" {
			return name
		}
		return core.Short(id)
	})
}

// NoticeSentence says a notice in words to me.
func NoticeSentence(n *Notice, me ident.AccountID, name func(ident.AccountID) string) string {
	call := func(id ident.AccountID) string {
		if id == me {
			return "you"
		}
		return name(id)
	}
	by, known := call(n.By), n.By != ident.AccountID{}
	var all []string
	for _, id := range n.Members {
		all = append(all, call(id))
	}
	whom := listOf(all)
	were := "was"
	if len(n.Members) > 1 || len(n.Members) == 1 && n.Members[0] == me {
		were = "were"
	}
	// done is "Alice added Bob", or "Bob was added" if it is not known who did.
	done := func(verb, after string) string {
		if known {
			return by + " " + verb + " " + whom + after
		}
		return whom + " " + were + " " + verb + after
	}
	// set is "Alice changed the picture", or "the picture was changed".
	set := func(what, to string) string {
		if known {
			return by + " changed " + what + to
		}
		return what + " was changed" + to
	}
	var s string
	switch n.Kind {
	case NoticeCreated:
		s = by + " created the group " + quoted(n.Text)
	case NoticeAdded:
		s = done("added", "")
	case NoticeJoined:
		s = whom + " joined"
		if known { // else it is the beginning of the own stay
			s += " by a link"
		}
	case NoticeReturned:
		is := "is"
		if were == "were" {
			is = "are"
		}
		s = whom + " " + is + " back with new keys"
	case NoticeRemoved:
		s = done("removed", "")
	case NoticeLeft:
		s = whom + " left"
	case NoticeBanned:
		s = done("banned", "")
	case NoticeRole:
		s = done("made", " "+roleWords[n.Text])
	case NoticeRenamed:
		s = set("the name", " to "+quoted(n.Text))
	case NoticeDescribed:
		s = set("the description", "")
	case NoticePicture:
		s = set("the picture", "")
	case NoticeTimer:
		s = set("disappearing messages", ": "+n.Text)
		if n.Text == "" {
			s = set("disappearing messages", ": off")
		}
	case NoticeDisbanded:
		s = "the group was disbanded"
		if known {
			s = by + " disbanded the group"
		}
	case NoticeInvited:
		s = done("invited", "")
	default:
		s = "the group changed"
	}
	return capital(s)
}

var roleWords = map[string]string{"member": "a plain member", "moderator": "a moderator", "admin": "an admin"}

// listOf joins names: "Alice, Bob and Carol".
func listOf(names []string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " and " + names[last]
}

func quoted(s string) string { return "“" + s + "”" }

func capital(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	if n == 0 {
		return s
	}
	return string(unicode.ToUpper(r)) + s[n:]
}
