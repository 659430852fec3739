package sessionapi

import "github.com/starling-swarm/starling/client"

// Contacts are the people an account knows; kind contact.list.
type Contacts struct {
	Contacts []Contact `json:"contacts"`
}

// Contact is somebody an account knows; kind contact.
type Contact struct {
	AccountID string         `json:"account_id"`
	Name      string         `json:"name"`
	Nick      string         `json:"nick"`
	Approved  bool           `json:"approved"`
	Blocked   bool           `json:"blocked"`
	Verified  bool           `json:"verified"`
	Events    []ContactEvent `json:"events"`
}

// ContactEvent is something that happened to a contact's account: recovered, contested.
type ContactEvent struct {
	Kind string `json:"kind"`
	At   Millis `json:"at"`
}

// ContactOf is the document of a contact.
func ContactOf(p client.Contact) Contact {
	d := Contact{AccountID: p.ID.String(), Name: p.Name, Nick: p.Nick, Approved: p.Approved,
		Blocked:  p.Blocked,
		Verified: p.Verified, Events: []ContactEvent{}}
	for _, e := range p.Events {
		d.Events = append(d.Events, ContactEvent{e.Kind, Millis(e.At)})
	}
	return d
}

// Removed names the account that is no contact any more, or whose request is gone; kinds contact.removed and
// request.declined.
type Removed struct {
	AccountID string `json:"account_id"`
}

// Requests are people who wrote and are no contacts; kind request.list.
type Requests struct {
	Requests []Request `json:"requests"`
}

// Request is somebody who wrote and is no contact, with the last of their messages.
type Request struct {
	AccountID string `json:"account_id"`
	Name      string `json:"name"`
	Messages  int    `json:"messages"`
	LastAt    Millis `json:"last_at"`
	Text      string `json:"text"`
}

// Verification is what two people compare to know that nobody sits between them; kind contact.verify.
type Verification struct {
	AccountID    string `json:"account_id"`
	SafetyNumber string `json:"safety_number"`
	Theirs       string `json:"their_chain"`
	Mine         string `json:"my_chain"`
	Since        Millis `json:"since"`
	Recovered    bool   `json:"recovered"`
	Contested    bool   `json:"contested"`
	Verified     bool   `json:"verified"`
}
