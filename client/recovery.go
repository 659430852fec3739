package client

import (
	"errors"

	"github.com/starling-swarm/starling/devicesync/phrase"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/private"
)

// CheckPhrase reports whether words are this account's recovery phrase. Errors: Invalid (mistyped; see
// package phrase), Denied (the phrase of another account).
func (c *Client) CheckPhrase(words string) error {
	root, err := c.rootOf(words)
	if err != nil {
		return err
	}
	root.Wipe()
	return nil
}

// KeepPhrase keeps the recovery phrase in the profile, which no device does unless it is asked to. Errors are
// those of CheckPhrase.
func (c *Client) KeepPhrase(words string) error {
	if err := c.CheckPhrase(words); err != nil {
		return err
	}
	entropy, err := phrase.Decode(words)
	if err != nil {
		return err
	}
	defer entropy.Wipe()
	b := entropy.Reveal()
	return c.core.Profile.File("phrase").Replace(b[:])
}

// KeptPhrase returns the recovery phrase that KeepPhrase kept. NotFound: it is not on this device.
func (c *Client) KeptPhrase() (string, error) {
	b, err := c.core.Profile.File("phrase").Load()
	if errors.Is(err, fault.NotFound) {
		return "", fault.New(fault.NotFound, "show recovery phrase", "it is not kept on this device")
	}
	if err != nil {
		return "", err
	}
	defer clear(b)
	if len(b) != 32 {
		return "", fault.New(fault.Corrupt, "show recovery phrase", "has %d bytes, want 32", len(b))
	}
	return phrase.Encode(private.KeyOf([32]byte(b))), nil
}

// ForgetPhrase destroys what KeepPhrase kept, and reports whether there was anything.
func (c *Client) ForgetPhrase() (had bool, err error) {
	f := c.core.Profile.File("phrase")
	if _, err := f.Load(); errors.Is(err, fault.NotFound) {
		return false, f.Remove()
	}
	return true, f.Remove()
}
