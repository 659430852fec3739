package sessionapi

import "github.com/starling-swarm/starling/client"

// SyncStatus is what the devices of an account share, and how far each is; kind sync.status.
type SyncStatus struct {
	Documents []Document   `json:"documents"`
	Devices   []DeviceSync `json:"devices"`
}

// Document is a map of settings or contacts that all devices share.
type Document struct {
	Name     string `json:"name"`
	Version  string `json:"version"` // equal on devices that hold the same
	Pending  int    `json:"pending"`
	MergedAt Millis `json:"merged_at"`
}

// DeviceSync is how far a device is.
type DeviceSync struct {
	ID     string `json:"id"`
	Behind *int   `json:"behind"` // null: it has not said yet
}

// SyncStatusOf is the document of what devices share.
func SyncStatusOf(s client.SyncStatus) SyncStatus {
	doc := SyncStatus{[]Document{}, []DeviceSync{}}
	for _, d := range s.Documents {
		doc.Documents = append(doc.Documents,
			Document{Name: d.Name, Version: d.Version, Pending: d.Pending, MergedAt: Millis(d.MergedAt)})
	}
	for _, d := range s.Devices {
		out := DeviceSync{ID: d.ID.String()}
		if d.Known {
			out.Behind = &d.Behind
		}
		doc.Devices = append(doc.Devices, out)
	}
	return doc
}

// SyncChange is something that another device changed; kind sync.change.
type SyncChange struct {
	Document string `json:"document"`
	Subject  string `json:"subject,omitempty"` // account or conversation ID
	At       Millis `json:"at"`
}
