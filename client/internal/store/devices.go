package store

import (
	"github.com/ncruces/go-sqlite3"

	"github.com/starling-swarm/starling/internal/ident"
)

// DeviceEvent is a change of the account's device list.
type DeviceEvent struct {
	Kind   string
	Device ident.DeviceID
	At     int64
	By     *ident.DeviceID
}

// AddDeviceEvent records e once.
func (tx *Tx) AddDeviceEvent(e DeviceEvent) bool {
	var by any
	if e.By != nil {
		by = e.By[:]
	}
	return tx.Exec("INSERT INTO device_events (kind, device, at, by) VALUES (?,?,?,?) ON CONFLICT DO NOTHING",
		e.Kind, e.Device[:], e.At, by) == 1
}

// DeviceEvents returns what happened to the device list, oldest first.
func (tx *Tx) DeviceEvents() (out []DeviceEvent) {
	tx.Query("SELECT kind, device, at, by FROM device_events ORDER BY n", nil, func(s *sqlite3.Stmt) bool {
		e := DeviceEvent{Kind: s.ColumnText(0), Device: ident.DeviceID(s.ColumnRawBlob(1)),
			At: s.ColumnInt64(2)}
		if b := s.ColumnRawBlob(3); len(b) == 16 {
			e.By = (*ident.DeviceID)(append([]byte(nil), b...))
		}
		out = append(out, e)
		return true
	})
	return out
}

// Link is a device that asks to be let in.
type Link struct {
	Device  ident.DeviceID
	Code    string
	Label   string
	AskedAt int64
	Request []byte
}

// AddLink keeps a request; a newer one of the same device replaces it.
func (tx *Tx) AddLink(l Link) {
	tx.Exec("INSERT INTO links (device, code, label, asked_at, request) VALUES (?,?,?,?,?) "+
		"ON CONFLICT (device) DO UPDATE SET code = excluded.code, label = excluded.label, "+
		"asked_at = excluded.asked_at, request = excluded.request",
		l.Device[:], l.Code, l.Label, l.AskedAt, l.Request)
}

// Links returns the pending requests, oldest first.
func (tx *Tx) Links() (out []Link) {
	tx.Query("SELECT device, code, label, asked_at, request FROM links ORDER BY asked_at, device", nil,
		func(s *sqlite3.Stmt) bool {
			out = append(out, Link{Device: ident.DeviceID(s.ColumnRawBlob(0)), Code: s.ColumnText(1),
				Label:   s.ColumnText(2),
				AskedAt: s.ColumnInt64(3), Request: s.ColumnBlob(4, nil)})
			return true
		})
	return out
}

// DropLink removes a request.
func (tx *Tx) DropLink(d ident.DeviceID) { tx.Exec("DELETE FROM links WHERE device = ?", d[:]) }
