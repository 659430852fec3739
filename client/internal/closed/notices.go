package closed

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/starling-swarm/starling/client/internal/content"
	"github.com/starling-swarm/starling/client/internal/conv"
	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/groups"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/ident"
	bodyv1 "github.com/starling-swarm/starling/proto/starling/body/v1"
)

// Notices are rows of a group's conversation that nobody wrote: every device makes them of the group's log,
// at the same place and with the same IDs.

// groupNotices adds what a commit changed, in words. g is the group after the commit.
func (c *Groups) groupNotices(tx *store.Tx, a *core.Batch, g *group, b before, commit []byte,
	env envelope.Envelope) error {
	c.groupTold(tx, g, b)
	d, err := g.state.Describe(commit)
	if err != nil {
		c.core.Log.Debug("commit not described", "error", err)
		return tx.Err()
	}
	id := ident.MessageID(d.Hash[:16])
	for _, n := range noticesOf(d, &b, g.state.Members()) {
		c.notice(tx, a, g, id, n, content.Capped(d.At, env.StoredAt), env.Seq)
		id[15]++
	}
	return tx.Err()
}

// noticesOf says what a commit changed, from what was before it and who is a member after it.
func noticesOf(d *groups.Described, b *before, after []*groups.Member) (out []*bodyv1.Notice) {
	say := func(kind bodyv1.Notice_Kind, text string, members ...ident.AccountID) {
		n := &bodyv1.Notice{Kind: kind, Members: content.MentionBytes(members), Text: text}
		if !d.Void {
			n.By = d.Author[:]
		}
		out = append(out, n)
	}
	if d.Kind == groups.KindDisband {
		say(bodyv1.Notice_KIND_DISBANDED, "")
	}
	if d.Void {
		return out
	}
	switch ch := d.Change; d.Kind {
	case groups.KindAdd:
		added, joined := newcomers(d.Index, b.Invites, after)
		back := returned(ch)
		joined = slices.DeleteFunc(joined, func(id ident.AccountID) bool { return slices.Contains(back, id) })
		if len(added) > 0 {
			say(bodyv1.Notice_KIND_ADDED, "", added...)
		}
		if len(joined) > 0 {
			say(bodyv1.Notice_KIND_JOINED, "", joined...)
		}
		if len(back) > 0 {
			say(bodyv1.Notice_KIND_RETURNED, "", back...)
		}
	case groups.KindJoin:
		say(bodyv1.Notice_KIND_JOINED, "", d.Author)
	case groups.KindRemove:
		if ch.Return {
			return out // the addition says that they are back
		}
		kind := bodyv1.Notice_KIND_REMOVED
		switch {
		case ch.Ban:
			kind = bodyv1.Notice_KIND_BANNED
		case ch.Left:
			kind = bodyv1.Notice_KIND_LEFT
		}
		say(kind, "", targets(ch)...)
	case groups.KindRole:
		say(bodyv1.Notice_KIND_ROLE, string(roleOf(ch.Role)), targets(ch)...)
	case groups.KindInfo:
		infoNotices(&b.Info, &ch.Info, func(kind bodyv1.Notice_Kind, text string) { say(kind, text) })
	case groups.KindInvite:
		if len(ch.Invite.For) > 0 {
			say(bodyv1.Notice_KIND_INVITED, "", ch.Invite.For...)
		}
	case groups.KindRevokeInvite:
		if ch.Ban && len(ch.Accounts) > 0 {
			say(bodyv1.Notice_KIND_BANNED, "", ch.Accounts...)
		}
	}
	return out
}

// newcomers tells those whom an admin invited from those who came by a link.
func newcomers(index uint64, invites []groups.Invite,
	after []*groups.Member) (added, joined []ident.AccountID) {
	for _, m := range after {
		invited := func(i groups.Invite) bool { return slices.Contains(i.For, m.Account) }
		switch {
		case m.Joined != index:
		case slices.ContainsFunc(invites, invited):
			added = append(added, m.Account)
		default:
			joined = append(joined, m.Account)
		}
	}
	return added, joined
}

// returned are those whom an addition lets in again with new keys.
func returned(ch *groups.Change) (out []ident.AccountID) {
	for _, a := range ch.Adds {
		if a.Serial == 0 && a.Replaces != 0 {
			out = append(out, a.Member.Account)
		}
	}
	return out
}

func targets(ch *groups.Change) (out []ident.AccountID) {
	for _, t := range ch.Targets {
		out = append(out, t.Account)
	}
	return out
}

func infoNotices(old, now *groups.Info, say func(bodyv1.Notice_Kind, string)) {
	if now.Name != old.Name {
		say(bodyv1.Notice_KIND_RENAMED, now.Name)
	}
	if now.About != old.About {
		say(bodyv1.Notice_KIND_DESCRIBED, now.About)
	}
	if string(now.Picture) != string(old.Picture) {
		say(bodyv1.Notice_KIND_PICTURE, "")
	}
	if now.Timer != old.Timer {
		text := "" // off
		if now.Timer > 0 {
			text = conv.TimerOfSeconds(now.Timer).After.String()
		}
		say(bodyv1.Notice_KIND_TIMER, text)
	}
}

// groupStarted adds that the own account created or joined the group; once for each stay, on all devices.
func (c *Groups) groupStarted(tx *store.Tx, a *core.Batch, g *group) {
	me := g.state.Member(c.core.Me)
	if me == nil {
		return
	}
	n := &bodyv1.Notice{Kind: bodyv1.Notice_KIND_JOINED, Members: [][]byte{c.core.Me[:]}}
	if me.Joined == 1 {
		n = &bodyv1.Notice{Kind: bodyv1.Notice_KIND_CREATED, By: c.core.Me[:], Text: g.state.Info().Name}
	}
	c.notice(tx, a, g, noticeID("start", g.ID, me.Joined), n, c.core.NowMS(), g.Cursor)
}

// groupEnded adds that the own account is no member any more; once for each stay, on all devices.
func (c *Groups) groupEnded(tx *store.Tx, a *core.Batch, g *group, how Status, env envelope.Envelope) error {
	joined := uint64(0)
	if g.state != nil {
		if me := g.state.Member(c.core.Me); me != nil {
			joined = me.Joined
		}
	}
	n := &bodyv1.Notice{Kind: bodyv1.Notice_KIND_REMOVED, Members: [][]byte{c.core.Me[:]}}
	switch how {
	case Left:
		n.Kind = bodyv1.Notice_KIND_LEFT
	case Disbanded:
		n = &bodyv1.Notice{Kind: bodyv1.Notice_KIND_DISBANDED}
	}
	c.notice(tx, a, g, noticeID("end", g.ID, joined), n, env.StoredAt, max(env.Seq, g.Cursor))
	return tx.Err()
}

// groupInvited adds that an invitation waits for an answer.
func (c *Groups) groupInvited(tx *store.Tx, a *core.Batch, g *group, in *groups.Invitation) error {
	n := &bodyv1.Notice{Kind: bodyv1.Notice_KIND_INVITED, By: in.Inviter[:], Members: [][]byte{c.core.Me[:]}}
	c.notice(tx, a, g, noticeID("invited", g.ID, in.Serial), n, a.Now.UnixMilli(), g.Cursor)
	return tx.Err()
}

// noticeID is the ID of a notice that no commit of the log gives.
func noticeID(what string, id ident.GroupID, n uint64) ident.MessageID {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(append([]byte("starling notice "+what+" "), id[:]...),
		n))
	return ident.MessageID(sum[:16])
}

// notice adds a row. Its author is who did it, or else whom it concerns.
func (c *Groups) notice(tx *store.Tx, a *core.Batch, g *group, id ident.MessageID, n *bodyv1.Notice,
	at int64, seq uint64) {
	body, err := proto.Marshal(&bodyv1.Body{Kind: &bodyv1.Body_Notice{Notice: n}})
	if err != nil {
		c.core.Log.Debug("notice dropped", "error", err) // names are UTF-8, the log sees to it
		return
	}
	m := store.Message{ID: id, Conversation: g.ID.String(), Text: c.rows.NoticeText(tx, conv.NoticeOf(n)),
		Body: body, SentAt: at, ReceivedAt: a.Now.UnixMilli(),
		HandedOut: true, Notice: true, MailboxSeq: max(seq, 1)} // 0 would mean that it is still to be sent
	switch {
	case len(n.GetBy()) > 0:
		m.Sender = ident.AccountID(n.GetBy())
	case len(n.GetMembers()) > 0:
		m.Sender = ident.AccountID(n.GetMembers()[0])
	}
	if !c.rows.AddMessage(tx, a, &m, nil) {
		return
	}
	a.Tell(core.Fact{Kind: core.FactNotice, Row: &m, Group: &g.ID, Conversation: m.Conversation})
}
