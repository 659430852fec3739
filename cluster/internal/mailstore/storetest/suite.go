// Package storetest is the conformance suite of mailbox storage: what every way to a mailbox must do, be it a
// state machine in memory, a store on disk, a live swarm, or a swarm behind three hops.
//
// Run takes a Harness and drives it with real signed requests of fresh accounts, so that it also runs against
// a cluster that holds other mailboxes. Memory, Disk and Replica make harnesses of one replica without a
// network.
package storetest

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// Mailboxes is a way to mailboxes. Do sends an encoded request: it learns where the request goes, has it
// signed for that place, and returns the answer. An error is one of the way, not of the request.
type Mailboxes interface {
	Do(ctx context.Context, mailbox ident.MailboxID, request []byte, sign Sign) (*envelope.Response, error)
}

// Harness is what the suite drives.
type Harness struct {
	Mailboxes
	// Subscribe sends an encoded envelope.Subscribe and calls handle for what comes, in order, until ctx ends
	// or the subscription does; it returns why. Nil: tests of subscriptions are skipped.
	Subscribe func(ctx context.Context, mailbox ident.MailboxID, subscribe []byte, sign Sign,
		handle func(envelope.Envelope) error) error
	// Advance moves the swarm's clock and expires what is due. Nil: tests of expiry are skipped.
	Advance func(time.Duration)
	// MaxRequest is the largest request that the way carries, bytes. Zero: envelope.MaxRequest.
	MaxRequest int
}

// Run runs the suite; open is called once for each test.
func Run(t *testing.T, open func(t *testing.T) Harness) {
	for _, c := range []struct {
		name string
		run  func(*user)
	}{
		{"StoreThenRetrieve", storeThenRetrieve},
		{"RepeatedStoreAnswersExisted", repeatedStoreAnswersExisted},
		{"DeletedStaysDeleted", deletedStaysDeleted},
		{"ConditionsLoseWithTheHead", conditionsLoseWithTheHead},
		{"SupersededSenderLosesOnCertsHead", supersededSenderLosesOnCertsHead},
		{"NewestPerKeyReplaces", newestPerKeyReplaces},
		{"NewestDevicesArePermanent", newestDevicesArePermanent},
		{"PagesFollowTheCursor", pagesFollowTheCursor},
		{"MinSeqReadsOwnWrites", minSeqReadsOwnWrites},
		{"DeletesChooseWhatGoes", deletesChooseWhatGoes},
		{"NobodyDeletesCertificates", nobodyDeletesCertificates},
		{"BatchAllIsAtomic", batchAllIsAtomic},
		{"BatchEachStandsAlone", batchEachStandsAlone},
		{"BatchReadsItsOwnWrites", batchReadsItsOwnWrites},
		{"GenesisMakesTheMailboxOnce", genesisMakesTheMailboxOnce},
		{"RotateSupersedesTheAuthority", rotateSupersedesTheAuthority},
		{"RecoverIsContestedOnce", recoverIsContestedOnce},
		{"OldRecoverDoesNotReturn", oldRecoverDoesNotReturn},
		{"MailboxKeySignsNothingElse", mailboxKeySignsNothingElse},
		{"StrangersAreRefused", strangersAreRefused},
		{"RulesOfNamespacesHold", rulesOfNamespacesHold},
		{"LargestBodyPasses", largestBodyPasses},
		{"InfoTellsLimits", infoTellsLimits},
		{"AbsentMailboxIsNotFound", absentMailboxIsNotFound},
		{"ExpiredIsGone", expiredIsGone},
		{"ExpiryExtendsOnly", expiryExtendsOnly},
		{"SubscriptionReplaysThenPushes", subscriptionReplaysThenPushes},
		{"SubscriptionEndsWithItsAuthority", subscriptionEndsWithItsAuthority},
		{"SubscriptionsAreVerified", subscriptionsAreVerified},
		{"GroupBeginsOnce", groupBeginsOnce},
		{"CommitsFormOneOrder", commitsFormOneOrder},
		{"RekeyEndsOldKeys", rekeyEndsOldKeys},
		{"EveryGroupKeyHasItsPlace", everyGroupKeyHasItsPlace},
		{"SlotsAreStaged", slotsAreStaged},
		{"SlotsAndCommitMayTravelTogether", slotsAndCommitMayTravelTogether},
		{"CapabilitiesEndForGood", capabilitiesEndForGood},
		{"DisbandedGroupIsOnlyRead", disbandedGroupIsOnlyRead},
		{"RunningHashTellsAll", runningHashTellsAll},
		{"GroupSubscriptionEndsWithItsKey", groupSubscriptionEndsWithItsKey},
		{"MembersWriteWithTheirOwnKeys", membersWriteWithTheirOwnKeys},
		{"JoinersLetThemselvesIn", joinersLetThemselvesIn},
		{"SerialsFollowTheLog", serialsFollowTheLog},
		{"StoresNameTheirGeneration", storesNameTheirGeneration},
		{"RevokedKeyEndsItsSubscription", revokedKeyEndsItsSubscription},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			c.run(&user{T: t, ctx: ctx, h: open(t), acc: NewAccount(rand.Text()), generation: 1})
		})
	}
}

// user is an account under test.
type user struct {
	*testing.T
	ctx        context.Context
	h          Harness
	acc        *Account
	generation int
}

// auth returns the current authority's key.
func (u *user) auth() ed25519.PrivateKey { return u.acc.Authority(u.generation) }

// begin makes the mailbox and returns its certificate head.
func (u *user) begin() uint64 {
	u.Helper()
	return u.ok(u.acc.Genesis(), u.acc.MailboxKey()).CertsHead
}

// send has r signed by key (nil: nobody) and answered.
func (u *user) send(r *envelope.Request, key ed25519.PrivateKey) *envelope.Response {
	u.Helper()
	resp, err := u.h.Do(u.ctx, u.acc.Mailbox(), r.Encode(), Signer(envelope.LabelRequest, key))
	if err != nil {
		u.Fatalf("do: %v", err)
	}
	return resp
}

// ok sends r and wants every operation done.
func (u *user) ok(r *envelope.Request, key ed25519.PrivateKey) *envelope.Response {
	u.Helper()
	resp := u.send(r, key)
	if err := resp.Err(); err != nil {
		u.Fatalf("got %v (%v), want no error", err, fault.KindOf(err))
	}
	if len(resp.Results) != len(r.Ops) {
		u.Fatalf("got %d results, want %d", len(resp.Results), len(r.Ops))
	}
	return resp
}

// refused sends r and wants kind.
func (u *user) refused(kind fault.Kind, r *envelope.Request, key ed25519.PrivateKey) *envelope.Response {
	u.Helper()
	resp := u.send(r, key)
	if err := resp.Err(); !errors.Is(err, kind) {
		u.Fatalf("got %v (%v), want %v", err, fault.KindOf(err), kind)
	}
	return resp
}

// own sends operations signed by the authority, one result of which is wanted.
func (u *user) own(ops ...envelope.Op) envelope.Result {
	u.Helper()
	resp := u.ok(u.acc.Request(u.auth(), ops...), u.auth())
	return resp.Results[len(resp.Results)-1]
}

// mail puts a message into the inbox as a stranger would.
func (u *user) mail(body string) envelope.Result {
	u.Helper()
	return u.ok(u.acc.Request(nil, message(body)), nil).Results[0]
}

func message(body string) envelope.Store {
	return envelope.Store{Namespace: envelope.Inbox, TTL: 14 * day, Body: []byte(body)}
}

func syncDelta(body string) envelope.Store {
	return envelope.Store{Namespace: envelope.Sync, Body: []byte(body)}
}

// inbox reads the whole inbox.
func (u *user) inbox() []envelope.Envelope {
	u.Helper()
	return u.own(envelope.Retrieve{Namespaces: []envelope.Namespace{envelope.Inbox}}).Envelopes
}

func (u *user) hash(st envelope.Store) envelope.Hash {
	return envelope.HashOf(u.acc.Mailbox(), st.Namespace, st.Key, st.Body)
}

// bodies wants these bodies in this order.
func (u *user) bodies(got []envelope.Envelope, want ...string) {
	u.Helper()
	if len(got) != len(want) {
		u.Fatalf("got %d envelopes, want %d (%q)", len(got), len(want), want)
	}
	last := uint64(0)
	for i, e := range got {
		if string(e.Body) != want[i] {
			u.Errorf("envelope %d: got %q, want %q", i, e.Body, want[i])
		}
		if e.Seq <= last {
			u.Errorf("envelope %d: got seq %d after %d, want a higher one", i, e.Seq, last)
		}
		last = e.Seq
	}
}

// head wants a Stale refusal that names a head.
func (u *user) head(resp *envelope.Response, want uint64) {
	u.Helper()
	for _, r := range resp.Results {
		if r.Err != nil && r.Err.Kind == fault.Stale {
			if r.Err.Head != want {
				u.Errorf("got head %d in %v, want %d", r.Err.Head, r.Err, want)
			}
			return
		}
	}
	u.Errorf("got no stale result in %+v", resp)
}
