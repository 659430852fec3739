package inbox

import (
	"reflect"

	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/people"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/envelope"
	bodyv1 "github.com/starling-swarm/starling/proto/starling/body/v1"
)

// Mail is a message of another account, or of the own one to itself.
type Mail struct {
	*account.Incoming
	From     people.Person
	Body     *bodyv1.Body // decoded and checked; Incoming.Body is its bytes
	Envelope envelope.Envelope
}

// A MailHandler takes in a message. An error is one of the store.
type MailHandler func(*store.Tx, *core.Batch, *Mail) error

// A CopyHandler takes in what another own device told the others, stored at an instant in Unix milliseconds.
// An error is one of the store.
type CopyHandler func(tx *store.Tx, b *core.Batch, copy []byte, storedAt int64) error

// A DeltaHandler takes in another device's change of the documents. An error is one of the store.
type DeltaHandler func(tx *store.Tx, b *core.Batch, delta []byte, e envelope.Envelope) error

// A LinkHandler takes in a request of a device to join the account, which is proven to know the recovery
// phrase.
type LinkHandler func(*store.Tx, *core.Batch, *account.LinkRequest)

// table says who takes in what. The rooms register themselves; a kind that nobody registered goes to rest.
type table struct {
	mail       map[reflect.Type]MailHandler
	unverified map[reflect.Type]MailHandler
	rest       MailHandler
	copies     map[account.CopyKind]CopyHandler
	delta      DeltaHandler
	link       LinkHandler
}

func kindOf(body *bodyv1.Body) reflect.Type { return reflect.TypeOf(body.GetKind()) }

// OnMail registers who takes in messages whose body is of the kind of an example, such as
// (*bodyv1.Body_Receipt)(nil), from senders that are verified. Register before Run.
func (c *Inbox) OnMail(example any, f MailHandler) { c.table.mail[reflect.TypeOf(example)] = f }

// OnUnverifiedMail is OnMail for bodies that prove by themselves who wrote them.
func (c *Inbox) OnUnverifiedMail(example any, f MailHandler) {
	c.table.unverified[reflect.TypeOf(example)] = f
}

// OnCopy registers who takes in copies of a kind from own devices.
func (c *Inbox) OnCopy(kind account.CopyKind, f CopyHandler) { c.table.copies[kind] = f }

// OnDelta registers who takes in changes of the documents.
func (c *Inbox) OnDelta(f DeltaHandler) { c.table.delta = f }

// OnLink registers who takes in requests to join the account.
func (c *Inbox) OnLink(f LinkHandler) { c.table.link = f }
