package scenario

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/devicesync/phrase"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/private"
)

// trouble is what must be refused, and what comes at random.
var trouble = []Scenario{
	{Name: "wrong-word", About: "a phrase with one wrong word is refused, and nothing is left behind",
		play: playWrongWord},
	{Name: "other-cluster", About: "a phrase of another cluster is refused", play: playOtherCluster},
	{Name: "random", About: "100 random actions on all devices, online or not, converge", Heavy: true,
		play: playRandom},
}

// refusedRestore checks that a phrase is refused and that its profile is free for another.
func (s *stage) refusedRestore(words string, kind fault.Kind) error {
	cfg := s.config("alice-new")
	_, _, err := client.Restore(s.ctx, cfg, words, client.RestoreOptions{NoWait: true})
	if err := refused("restore", err, kind); err != nil {
		return err
	}
	left, _ := os.ReadDir(cfg.Dir)
	for _, f := range left {
		if f.Name() != "lock" {
			return fmt.Errorf("a refused phrase left %s in its profile", f.Name())
		}
	}
	return nil
}

func playWrongWord(s *stage) error {
	bob, err := s.familyAndFriend()
	if err != nil {
		return err
	}
	if err := s.middle(); err != nil {
		return err
	}
	words := strings.Fields(s.words)
	at := s.rng.IntN(len(words))
	typo := slices.Clone(words)
	typo[at] += "x"
	_, _, err = client.Restore(s.ctx, s.config("alice-new"), strings.Join(typo, " "),
		client.RestoreOptions{NoWait: true})
	var w *phrase.WordError
	if err := check(errors.As(err, &w), "restore with %q: got %v, want the word to be named", typo[at],
		err); err != nil {
		return err
	}
	if err := s.refusedRestore(strings.Join(typo, " "), fault.Invalid); err != nil {
		return err
	}
	// A word of the list, but not the right one; one in 256 of those passes the checksum, and is nobody's
	// phrase.
	other := slices.Clone(words)
	for other[at] == words[at] {
		other[at] = words[s.rng.IntN(len(words))]
	}
	if _, err := phrase.Decode(strings.Join(other, " ")); err != nil {
		if err := s.refusedRestore(strings.Join(other, " "), fault.Invalid); err != nil {
			return err
		}
	}
	// The account did not notice.
	_, err = s.hear(bob, "hello")
	return err
}

func playOtherCluster(s *stage) error {
	bob, err := s.familyAndFriend()
	if err != nil {
		return err
	}
	if err := s.middle(); err != nil {
		return err
	}
	entropy, err := private.Draw(rand.Reader)
	if err != nil {
		return err
	}
	// A good phrase, but its account lives elsewhere.
	if err := s.refusedRestore(phrase.Encode(entropy), fault.NotFound); err != nil {
		return err
	}
	elsewhere := *s.cfg.Cluster
	elsewhere.ID[0] ^= 1
	d := s.devices[0]
	if err := d.stop(); err != nil {
		return err
	}
	cfg := d.cfg
	cfg.Cluster = &elsewhere
	c, err := client.Open(cfg)
	if err == nil {
		err = errors.Join(errors.New("opened"), c.Close())
	}
	if err := refused("open the profile for another cluster", err, fault.Denied); err != nil {
		return err
	}
	if err := d.start(); err != nil {
		return err
	}
	_, err = s.hear(bob, "hello")
	return err
}
