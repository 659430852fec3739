package devicesync

import "encoding/binary"

// Docs are the documents of this version, in order of their numbers.
var Docs = []Doc{Profile, Contacts, Conversations, Groups, Settings, Names}

var docNames = [...]string{Profile: "profile", Contacts: "contacts", Conversations: "conversations",
	Groups: "groups", Settings: "settings", Names: "names"}

// String returns the document's name, "unknown" for one of a later version.
func (d Doc) String() string {
	if d == 0 || int(d) >= len(docNames) {
		return "unknown"
	}
	return docNames[d]
}

// TimerMode says when a message's time begins to run.
type TimerMode uint8

const (
	TimerOff       TimerMode = 0
	TimerAfterSend TimerMode = 1
	TimerAfterRead TimerMode = 2
)

// MaxTimer is the longest timer in seconds, and what its encoding holds.
const MaxTimer = 1<<30 - 1

// Timer is the timer of disappearing messages of a conversation. Both sides may set it: the newest setting is
// the largest number, so a field of shape Highest settles it for all devices of both.
type Timer struct {
	SetAt   uint32 // Unix seconds
	Mode    TimerMode
	Seconds uint32
}

// Pack returns the value of a field; what does not fit is cut.
func (t Timer) Pack() uint64 {
	return uint64(t.SetAt)<<32 | uint64(t.Mode&3)<<30 | uint64(t.Seconds&MaxTimer)
}

// UnpackTimer reads what Pack wrote. An unknown mode reads as off.
func UnpackTimer(n uint64) Timer {
	t := Timer{SetAt: uint32(n >> 32), Mode: TimerMode(n >> 30 & 3), Seconds: uint32(n) & MaxTimer}
	if t.Mode > TimerAfterRead || t.Seconds == 0 {
		t.Mode, t.Seconds = TimerOff, 0
	}
	return t
}

// Hidden says since when a conversation is hidden: a later message shows it again.
type Hidden struct {
	At  int64  // own messages sent after it are later; Unix milliseconds
	Seq uint64 // messages of others with a larger sequence number in the mailbox are later
}

// Pack returns the value of a field; nil for the zero Hidden, which hides nothing.
func (h Hidden) Pack() []byte {
	if h == (Hidden{}) {
		return nil
	}
	return binary.BigEndian.AppendUint64(Uint(uint64(h.At)), h.Seq)
}

// UnpackHidden reads what Pack wrote; anything else reads as not hidden.
func UnpackHidden(b []byte) (h Hidden, hidden bool) {
	if len(b) != 16 || AsUint(b[:8]) > maxWall {
		return Hidden{}, false
	}
	return Hidden{At: int64(AsUint(b[:8])), Seq: AsUint(b[8:])}, true
}

// GroupStatus is what the account is to a group.
type GroupStatus uint8

const (
	GroupJoined   GroupStatus = 1
	GroupLeft     GroupStatus = 2
	GroupRemoved  GroupStatus = 3
	GroupDeclined GroupStatus = 4 // an invitation was
)

// Standing is what the account is to a group, and of which stay that is said: a device that reads the group's
// log late reports the end of a stay when another one has begun.
type Standing struct {
	Status GroupStatus
	Joined uint64 // index of the commit that began the stay; 0: none did
}

// Pack returns the value of a field.
func (s Standing) Pack() []byte {
	return binary.BigEndian.AppendUint64([]byte{byte(s.Status)}, s.Joined)
}

// UnpackStanding reads what Pack wrote; false for anything else.
func UnpackStanding(b []byte) (s Standing, ok bool) {
	if len(b) != 9 || b[0] < byte(GroupJoined) || b[0] > byte(GroupDeclined) {
		return Standing{}, false
	}
	return Standing{GroupStatus(b[0]), AsUint(b[1:])}, true
}
