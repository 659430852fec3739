package client

import (
	"errors"

	"github.com/starling-swarm/starling/client/internal/core"
)

// IsBusy reports whether err says that another process holds the profile.
func IsBusy(err error) bool { return errors.Is(err, core.ErrBusy) }
