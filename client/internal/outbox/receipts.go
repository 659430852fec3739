package outbox

import (
	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/inbox"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/internal/ident"
	bodyv1 "github.com/starling-swarm/starling/proto/starling/body/v1"
)

// takeReceipt moves our messages on.
func (c *Outbox) takeReceipt(tx *store.Tx, a *core.Batch, m *inbox.Mail) error {
	from, r := m.Sender, m.Body.GetReceipt()
	for _, b := range r.GetMessageIds() {
		row, ok := tx.MessageOf(c.core.Me, ident.MessageID(b))
		if !ok || row.Conversation != from.String() {
			continue
		}
		at := a.Now.UnixMilli()
		switch r.GetKind() {
		case bodyv1.Receipt_KIND_DELIVERED:
			if row.DeliveredAt != 0 {
				continue
			}
			row.DeliveredAt = at
			row.State = max(row.State, store.StateDelivered)
		case bodyv1.Receipt_KIND_READ:
			if row.ReadAt != 0 {
				continue
			}
			row.ReadAt, row.State = at, store.StateRead
			if row.DeliveredAt == 0 {
				row.DeliveredAt = at
			}
		default:
			continue
		}
		if row.StoredAt == 0 {
			row.StoredAt = at // another device sent it, or the acknowledgement is still under way
		}
		tx.SaveMessage(&row)
		a.Tell(core.Fact{Kind: core.FactState, Row: &row})
	}
	return tx.Err()
}
