package groups

// Every label of this package; none is used elsewhere, none begins another.
const (
	labelChain      = "starling/v1/group-chain\x00"
	labelMembers    = "starling/v1/group-members\x00"
	labelAdmins     = "starling/v1/group-admins\x00"
	labelRead       = "starling/v1/group-read\x00"
	labelWrite      = "starling/v1/group-write\x00"
	labelMod        = "starling/v1/group-mod\x00"
	labelAdmin      = "starling/v1/group-admin\x00"
	labelBody       = "starling/v1/group-body\x00"
	labelWord       = "starling/v1/group-word\x00"
	labelDay        = "starling/v1/group-day\x00"
	labelNext       = "starling/v1/group-next\x00"
	labelSlotSecret = "starling/v1/group-slot-secret\x00"

	labelCommitBody = "starling/v1/group-commit-body\x00"
	labelAuthor     = "starling/v1/group-author\x00"
	labelLeaf       = "starling/v1/group-leaf\x00"
	labelCredential = "starling/v1/group-credential\x00"
	labelState      = "starling/v1/group-state\x00"
	labelMember     = "starling/v1/group-member\x00"

	labelSlot     = "starling/v1/group-member-slot\x00"
	labelSlotSign = "starling/v1/group-slot-sign\x00"
	labelLocator  = "starling/v1/group-locator\x00"

	labelHistory     = "starling/v1/group-history\x00"
	labelHistorySlot = "starling/v1/group-history-slot\x00"
	labelHistorySign = "starling/v1/group-history-sign\x00"

	labelMessage     = "starling/v1/group-message\x00"
	labelMessageSign = "starling/v1/group-message-sign\x00"

	labelLeave   = "starling/v1/group-leave\x00"
	labelInvite  = "starling/v1/group-invite\x00"
	labelIntake  = "starling/v1/group-intake\x00"
	labelRequest = "starling/v1/group-request\x00"
	labelJoin    = "starling/v1/group-join\x00"
	labelReturn  = "starling/v1/group-return\x00"

	labelDoor       = "starling/v1/group-door\x00"
	labelDoorSlot   = "starling/v1/group-door-slot\x00"
	labelDoorSecret = "starling/v1/group-door-secret\x00"

	labelLinkMailbox   = "starling/v1/group-link-mailbox\x00"
	labelLinkAuthority = "starling/v1/group-link-authority\x00"
	labelLinkKey       = "starling/v1/group-link-key\x00"
	labelLinkBlob      = "starling/v1/group-link-blob\x00"
	labelLinkPin       = "starling/v1/group-link-pin\x00"
	labelLinkText      = "starling/v1/group-link-text\x00"
)

// labels lists the constants above for the test of their uniqueness.
var labels = []string{
	labelChain, labelMembers, labelAdmins, labelRead, labelWrite, labelMod, labelAdmin, labelBody, labelWord,
	labelDay, labelNext, labelSlotSecret,
	labelCommitBody, labelAuthor, labelLeaf, labelCredential, labelState, labelMember,
	labelSlot, labelSlotSign, labelLocator, labelHistory, labelHistorySlot, labelHistorySign, labelMessage,
	labelMessageSign,
	labelLeave, labelInvite, labelIntake, labelRequest, labelJoin, labelReturn,
	labelDoor, labelDoorSlot, labelDoorSecret,
	labelLinkMailbox, labelLinkAuthority, labelLinkKey, labelLinkBlob, labelLinkPin, labelLinkText,
}
