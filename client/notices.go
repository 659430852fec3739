package client

import (
	"github.com/starling-swarm/starling/client/internal/conv"
	"github.com/starling-swarm/starling/internal/ident"
)

// NoticeKind says what happened to a group.
type NoticeKind string

// What can happen to a group.
const (
	NoticeCreated   NoticeKind = NoticeKind(conv.NoticeCreated)
	NoticeAdded     NoticeKind = NoticeKind(conv.NoticeAdded)  // Members accepted an admin's invitation
	NoticeJoined    NoticeKind = NoticeKind(conv.NoticeJoined) // Members came by a link, or this account began its stay
	NoticeRemoved   NoticeKind = NoticeKind(conv.NoticeRemoved)
	NoticeLeft      NoticeKind = NoticeKind(conv.NoticeLeft)
	NoticeBanned    NoticeKind = NoticeKind(conv.NoticeBanned) // Members are kept out until they are added again
	NoticeRole      NoticeKind = NoticeKind(conv.NoticeRole)   // Notice.Text is the new GroupRole
	NoticeRenamed   NoticeKind = NoticeKind(conv.NoticeRenamed)
	NoticeDescribed NoticeKind = NoticeKind(conv.NoticeDescribed)
	NoticePicture   NoticeKind = NoticeKind(conv.NoticePicture)
	NoticeTimer     NoticeKind = NoticeKind(conv.NoticeTimer) // Notice.Text is the time, "" for off
	NoticeDisbanded NoticeKind = NoticeKind(conv.NoticeDisbanded)
	NoticeInvited   NoticeKind = NoticeKind(conv.NoticeInvited)
	NoticeReturned  NoticeKind = NoticeKind(conv.NoticeReturned) // Members lost their keys and are in again with new ones, as plain members
)

// Notice is what happened to a group.
type Notice struct {
	Kind    NoticeKind
	By      ident.AccountID // who did it; zero: not known
	Members []ident.AccountID
	Text    string // the new name, description, role or timer
}
