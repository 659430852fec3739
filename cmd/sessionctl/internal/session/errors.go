package session

import (
	"errors"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/refs"
	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/fault"
)

// NoProfile is the error of a profile without an account.
func (s *Session) NoProfile() error {
	e := cli.Fail("no profile "+s.Profile,
		fault.New(fault.NotFound, "open profile", "there is no account in it yet"))
	for _, n := range refs.Nearest(s.Profile, s.ProfileNames()) {
		e.Try = append(e.Try, "sessionctl -p "+n)
	}
	e.Try = append(e.Try, "sessionctl -p "+s.Profile+" init --name NAME")
	return e
}

// OpenError is the error of a profile that does not open.
func (s *Session) OpenError(err error) error {
	if client.IsBusy(err) {
		return &cli.Error{
			What: "profile " + s.Profile + " is in use", Cause: err, Code: "STO-101", Exit: cli.ExitBusy,
			Try: []string{"end the other sessionctl that uses this profile, or choose another one with -p"},
		}
	}
	return cli.Fail("open profile "+s.Profile, err)
}

// Unreachable gives errors of the network their "try" lines.
func (s *Session) Unreachable(what string, err error) error {
	var e *cli.Error
	if err == nil || errors.As(err, &e) {
		return err
	}
	if !errors.Is(err, fault.Unavailable) {
		if errors.Is(err, fault.Denied) {
			return cli.Fail(what, err, s.WhenRemoved()...)
		}
		return cli.Fail(what, err)
	}
	return cli.Fail(what, err, s.WhyUnreachable()...)
}

// WhenRemoved says what to type on a device that is no longer part of its account; nothing on any other.
func (s *Session) WhenRemoved() []string {
	if s.Client == nil {
		return nil
	}
	acc := s.Client.Account()
	me := s.Self() + " "
	switch {
	case acc.Replaced:
		return []string{me + "device contest   # somebody else has restored the account: tell your contacts",
			me + "device link      # it was you: make this device part of it again"}
	case acc.Revoked:
		return []string{me + "device link   # make this device part of the account again"}
	}
	return nil
}

// WhyUnreachable says what to type when no node answers. A profile belongs to one cluster for ever: a new one
// on the same machine, even under the same name, is another cluster.
func (s *Session) WhyUnreachable() []string {
	if s.Client != nil {
		acc := s.Client.Account()
		if now, err := readCluster(s.Home, ""); err == nil && now.ID != acc.Cluster {
			return []string{
				"sessionctl -p OTHER init --name NAME   # the current context is another cluster than this " +
					"profile's " +
					acc.Cluster.String()[:8],
				"sessionctl context list",
			}
		}
	}
	return []string{
		"swarmd status            # if the cluster runs on this machine",
		"sessionctl wait cluster  # until it answers",
	}
}
