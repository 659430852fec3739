package account

import (
	"crypto/hkdf"
	"crypto/sha256"
)

// Every label of this package. A label opens what is signed or hashed and ends the derivation of a key, so no
// two uses may share one; the test of this file checks that against the labels of the other packages too.
const (
	labelRoot         = "starling/v1/root\x00"
	labelVault        = "starling/v1/vault\x00"
	labelMailboxBlind = "starling/v1/mailbox-blind\x00"
	labelBlindNonce   = "starling/v1/blind-nonce\x00"

	labelAsk       = "starling/v1/ask\x00"
	labelSx        = "starling/v1/sx\x00"
	labelAuth      = "starling/v1/auth\x00"
	labelChain     = "starling/v1/chain\x00"
	labelEpochSeed = "starling/v1/epoch-seed\x00"
	labelNext      = "starling/v1/next\x00"
	labelKem       = "starling/v1/kem\x00"
	labelAx        = "starling/v1/ax\x00"
	labelSync      = "starling/v1/sync\x00"

	labelGenCert     = "starling/v1/gencert\x00"
	labelEpochRecord = "starling/v1/epochrec\x00"
	labelRecordWrap  = "starling/v1/rec\x00"
	labelGroup       = "starling/v1/devgroup\x00"
	labelGroupSlot   = "starling/v1/devgroup-slot\x00"
	labelVaultWrap   = "starling/v1/vault-wrap\x00"

	labelMessage       = "starling/v1/dm\x00"
	labelMessageExport = "starling/v1/dm-export\x00"
	labelMessageAuth   = "starling/v1/dm-auth\x00"
	labelMessageLink   = "starling/v1/dm-link\x00"
	labelLink          = "starling/v1/link\x00"
	labelLinkCode      = "starling/v1/link-code\x00"

	labelLinkText      = "starling/v1/link-text\x00"
	labelLinkOffer     = "starling/v1/link-offer\x00"
	labelLinkMailbox   = "starling/v1/link-mailbox\x00"
	labelLinkAuthority = "starling/v1/link-authority\x00"
	labelLinkWrap      = "starling/v1/link-wrap\x00"
	labelLinkAnswer    = "starling/v1/link-answer\x00"
	labelContest       = "starling/v1/contest\x00"
	labelVouch         = "starling/v1/vouch\x00"
	labelSafetyHead    = "starling/v1/safety-head\x00"

	labelCopy     = "starling/v1/copy\x00"
	labelAnnounce = "starling/v1/announce\x00"
	labelFetched  = "starling/v1/fetched\x00"
	labelTurn     = "starling/v1/turn\x00"
	labelDocument = "starling/v1/document\x00"
	labelSafety   = "starling/v1/safety\x00"
)

// labels lists the constants above for the test of their uniqueness.
var labels = []string{
	labelRoot, labelVault, labelMailboxBlind, labelBlindNonce,
	labelAsk, labelSx, labelAuth, labelChain, labelEpochSeed, labelNext, labelKem, labelAx, labelSync,
	labelGenCert, labelEpochRecord, labelRecordWrap, labelGroup, labelGroupSlot, labelVaultWrap,
	labelMessage, labelMessageExport, labelMessageAuth, labelMessageLink, labelLink, labelLinkCode,
	labelLinkText, labelLinkOffer, labelLinkMailbox, labelLinkAuthority, labelLinkWrap, labelLinkAnswer,
	labelContest, labelVouch, labelSafetyHead,
	labelCopy, labelAnnounce, labelFetched, labelTurn, labelDocument, labelSafety,
}

// derive is HKDF-SHA256 without salt, 32 bytes: docs/formats.md, section 5.
func derive(key []byte, label string, context ...byte) (out [32]byte) {
	b, err := hkdf.Key(sha256.New, key, nil, label+string(context), 32)
	if err != nil {
		panic("account: hkdf: " + err.Error()) // only for outputs over 8,160 bytes
	}
	copy(out[:], b)
	clear(b)
	return out
}
