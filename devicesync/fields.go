package devicesync

import (
	"encoding/binary"

	"github.com/starling-swarm/starling/internal/fault"
)

// Doc is a document.
type Doc uint8

const (
	Profile       Doc = 1 // one subject: ""
	Contacts      Doc = 2 // subject: account ID, 33 bytes
	Conversations Doc = 3 // subject: account or group ID, 33 bytes
	Groups        Doc = 4 // subject: group ID, 33 bytes
	Settings      Doc = 5 // one subject: ""; what is absent is on
	Names         Doc = 6 // subject: the name
)

// Shape says how two values of one field join.
type Shape uint8

const (
	tombstone Shape = 0 // a subject's removal; not a field
	Latest    Shape = 1 // the value with the newest clock
	Highest   Shape = 2 // the largest number
	Set       Shape = 3 // elements, observed-remove
)

// Field is a field of a subject; its shape is part of its name.
type Field struct {
	Doc   Doc
	No    uint16
	Shape Shape
}

// The fields of this version. Unknown fields of later versions are kept and merged.
var (
	ProfileName    = Field{Profile, 1, Latest}
	ProfilePicture = Field{Profile, 2, Latest}

	ContactName     = Field{Contacts, 1, Latest} // as the contact calls itself
	ContactNick     = Field{Contacts, 2, Latest} // petname
	ContactApproved = Field{Contacts, 3, Latest}
	ContactBlocked  = Field{Contacts, 4, Latest}
	ContactVerified = Field{Contacts, 5, Latest}  // Unix milliseconds; 0: not
	ContactTimer    = Field{Contacts, 6, Highest} // Timer.Pack
	ContactNotify   = Field{Contacts, 7, Latest}
	ContactMuted    = Field{Contacts, 8, Latest} // until, Unix milliseconds
	ContactAddedAt  = Field{Contacts, 9, Latest}

	ConvReadUpTo   = Field{Conversations, 1, Highest} // mailbox sequence number of the newest message read
	ConvPinned     = Field{Conversations, 2, Latest}
	ConvArchived   = Field{Conversations, 3, Latest}
	ConvHidden     = Field{Conversations, 4, Latest} // Hidden.Pack
	ConvUnread     = Field{Conversations, 5, Latest}
	ConvMuted      = Field{Conversations, 6, Latest}  // until, Unix milliseconds
	ConvClearedSeq = Field{Conversations, 7, Highest} // mailbox sequence number of the newest message of others that is gone
	ConvClearedAt  = Field{Conversations, 8, Highest} // sent_at up to which own messages are gone
	ConvStartedAt  = Field{Conversations, 9, Latest}

	GroupStanding = Field{Groups, 1, Latest} // Standing.Pack
	GroupName     = Field{Groups, 2, Latest}
	GroupJoinedAt = Field{Groups, 3, Latest} // Unix milliseconds
	GroupAdmins   = Field{Groups, 4, Set}    // account IDs, at most MaxGroupAdmins: whom to ask to be let in again
	GroupSpare    = Field{Groups, 5, Latest} // secret: keys that an only admin comes back with; empty: there are none

	SettingReceipts = Field{Settings, 1, Latest}
	SettingTyping   = Field{Settings, 2, Latest}
	SettingRequests = Field{Settings, 3, Latest}
)

// Limits of the encodings.
const (
	MaxValue   = 8_192 // bytes of a value
	MaxSubject = 64    // bytes of a subject
	MaxElement = 255   // bytes of a set's element

	MaxGroupAdmins = 16     // of GroupAdmins
	MaxDelta       = 90_000 // bytes of an encoded delta or snapshot part
	maxDots        = 32     // devices that ever touched one element of a set
)

func (f Field) check(want Shape, subject string) error {
	if f.Doc == 0 || f.Shape != want || len(subject) > MaxSubject {
		return fault.New(fault.Invalid, "change document", "field %d.%d of shape %d, subject of %d bytes",
			f.Doc, f.No, f.Shape, len(subject))
	}
	return nil
}

// Text, Bool and Uint make values; IsTrue and AsUint read them (nil reads as false and 0).

func Text(s string) []byte { return []byte(s) }

func Bool(v bool) []byte {
	if v {
		return []byte{1}
	}
	return []byte{0}
}

func Uint(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func IsTrue(b []byte) bool { return len(b) == 1 && b[0] == 1 }

func AsUint(b []byte) uint64 {
	if len(b) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}
