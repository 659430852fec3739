package scenario

import (
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/ident"
)

// manyContacts is how many contacts the largest address book has.
const manyContacts = 20_000

// large is what needs many parts.
var large = []Scenario{
	{Name: "many-contacts", About: "20,000 contacts come to all devices, and to a new one", Heavy: true,
		play: playManyContacts},
}

func contacts(n int) shows {
	return func(d *device) (bool, error) {
		all, err := d.Contacts(d.stage.ctx)
		return len(all) == n, err
	}
}

func playManyContacts(s *stage) error {
	count := s.cfg.Contacts
	if count == 0 {
		count = manyContacts
	}
	s.note = fmt.Sprintf("%d contacts", count)
	if err := s.familyOf(s.cfg.Devices - 1); err != nil {
		return err
	}
	book := make([]client.ImportedContact, count)
	for i := range book {
		pub, _, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return err
		}
		book[i] = client.ImportedContact{ID: ident.AccountIDOf(pub), Nick: fmt.Sprintf("number %d", i)}
	}
	if err := s.middle(); err != nil {
		return err
	}
	if err := s.devices[0].ImportContacts(s.ctx, book); err != nil {
		return err
	}
	if err := s.same(); err != nil {
		return err
	}
	begun := time.Now()
	d, _, err := s.join(s.devices[0], "alice-new")
	if err != nil {
		return err
	}
	s.devices = append(s.devices, d)
	if err := s.same(); err != nil {
		return err
	}
	s.note += fmt.Sprintf(", on a new device after %.1f s", time.Since(begun).Seconds())
	for _, d := range s.devices {
		if ok, err := contacts(count)(d); err != nil || !ok {
			return fmt.Errorf("%s does not have %d contacts, %w", d.cfg.Label, count, orNone(err))
		}
	}
	return s.startRepair()
}
