package sessionapi

import "github.com/starling-swarm/starling/client"

// Devices are those of an account, those that ask to be linked, and what happened; kind device.list.
type Devices struct {
	Devices []Device      `json:"devices"`
	Pending []PendingLink `json:"pending"`
	Events  []DeviceEvent `json:"events"`
}

// Device is one installation of an account; kind device.
type Device struct {
	ID       string `json:"id"`
	Label    string `json:"label"`
	This     bool   `json:"this"`
	AddedAt  Millis `json:"added_at"`
	LastSeen Millis `json:"last_seen"`
	Status   string `json:"status"`
}

// PendingLink is a device that asks to be linked. A person compares its code with the screen of that device.
type PendingLink struct {
	ID      string `json:"id"`
	Code    string `json:"code"`
	Label   string `json:"label"`
	AskedAt Millis `json:"asked_at"`
}

// DeviceEvent is something that happened to the devices of an account.
type DeviceEvent struct {
	Kind string `json:"kind"`
	At   Millis `json:"at"`
	By   string `json:"by,omitempty"`
}

// DeviceOf is the document of a device.
func DeviceOf(d client.Device) Device {
	return Device{ID: d.ID.String(), Label: d.Label, This: d.This, AddedAt: Millis(d.AddedAt),
		LastSeen: Millis(d.LastSeen), Status: d.Status}
}

// DevicesOf is the document of all devices of an account.
func DevicesOf(ds client.Devices) Devices {
	doc := Devices{Devices: []Device{}, Pending: []PendingLink{}, Events: []DeviceEvent{}}
	for _, d := range ds.Devices {
		doc.Devices = append(doc.Devices, DeviceOf(d))
	}
	for _, p := range ds.Pending {
		doc.Pending = append(doc.Pending,
			PendingLink{ID: p.ID.String(), Code: p.Code, Label: p.Label, AskedAt: Millis(p.AskedAt)})
	}
	for _, e := range ds.Events {
		ev := DeviceEvent{Kind: e.Kind, At: Millis(e.At)}
		if e.By != nil {
			ev.By = e.By.String()
		}
		doc.Events = append(doc.Events, ev)
	}
	return doc
}

// DeviceInvite is what a new device shows, to be read by a device of the account; kind device.invite, on
// stderr.
type DeviceInvite struct {
	Invite   string `json:"invite"`
	DeviceID string `json:"device_id"`
}

// DeviceJoined is what a new device has become; kind device.joined.
type DeviceJoined struct {
	AccountID string `json:"account_id"`
	DeviceID  string `json:"device_id"`
	Name      string `json:"name,omitempty"`
}

// DeviceContest says how far an objection to a recovery came; kind device.contest.
type DeviceContest struct {
	Recorded bool `json:"recorded"`
	Told     int  `json:"told"`
	Failed   int  `json:"failed"`
}

// History is how far a history is on its way between two devices of an account; kind history.
type History struct {
	DeviceID string `json:"device_id"`
	Outgoing bool   `json:"outgoing"`
	Messages int    `json:"messages"`
	Total    int    `json:"total"`
	Done     bool   `json:"done"`
}

// HistoryOf is the document of a history on its way.
func HistoryOf(t client.HistoryTransfer) History {
	return History{DeviceID: t.Device.String(), Outgoing: t.Outgoing, Messages: t.Messages, Total: t.Total,
		Done: t.Done}
}
