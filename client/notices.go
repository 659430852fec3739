package client

import (
	"github.com/starling-swarm/starling/client/internal/conv"
	"github.com/starling-swarm/starling/internal/ident"
)

// NoticeKind says what happened to a group.
type NoticeKind string

// What can happen to a group.
const (
	NoticeCreated NoticeKind = NoticeKind(conv.NoticeCreated)
	NoticeAdded   NoticeKind = NoticeKind(conv.NoticeAdded) // Members accepted an admin's invitation
	// Members came by a link, or this account began its stay
	NoticeJoined  NoticeKind = NoticeKind(conv.NoticeJoined)
	NoticeRemoved NoticeKind = NoticeKind(conv.NoticeRemoved)
	NoticeLeft    NoticeKind = NoticeKind(conv.NoticeLeft)
	// Members are kept out until they are added again
	NoticeBanned    NoticeKind = NoticeKind(conv.NoticeBanned)
	NoticeRole      NoticeKind = NoticeKind(conv.NoticeRole) // Notice.Text is the new GroupRole
	NoticeRenamed   NoticeKind = NoticeKind(conv.NoticeRenamed)
	NoticeDescribed NoticeKind = NoticeKind(conv.NoticeDescribed)
	NoticePicture   NoticeKind = NoticeKind(conv.NoticePicture)
	NoticeTimer     NoticeKind = NoticeKind(conv.NoticeTimer) // Notice.Text is the time, "" for off
	NoticeDisbanded NoticeKind = NoticeKind(conv.NoticeDisbanded)
	NoticeInvited   NoticeKind = NoticeKind(conv.NoticeInvited)
	// Members lost their keys and are in again with new ones, as plain members
	NoticeReturned NoticeKind = NoticeKind(conv.NoticeReturned)
)

// Notice is what happened to a group.
type Notice struct {
	Kind    NoticeKind
	By      ident.AccountID // who did it; zero: not known
	Members []ident.AccountID
	Text    string // the new name, description, role or timer
}
