package groups

// keptTaken is how many commits a Shared remembers.
const keptTaken = 64

// Shared lets the states of many accounts in one process share what all members have, and the work of
// computing it: a commit's hash stands for the whole log up to it, and what that leads to is the same for all
// who hold its keys. The zero Shared is ready; nil shares nothing.
type Shared struct {
	Locker interface {
		Lock()
		Unlock()
	} // for states that are used at once, a mutex; nil: they are not

	known map[[32]byte]*taken
	order [][32]byte // oldest first
}

func (sh *Shared) lock() (unlock func()) {
	if sh.Locker == nil {
		return func() {}
	}
	sh.Locker.Lock()
	return sh.Locker.Unlock
}

func (sh *Shared) find(sum [32]byte) *taken {
	if sh == nil {
		return nil
	}
	defer sh.lock()()
	return sh.known[sum]
}

func (sh *Shared) keep(sum [32]byte, t *taken) {
	if sh == nil {
		return
	}
	defer sh.lock()()
	if sh.known == nil {
		sh.known = map[[32]byte]*taken{}
	}
	if sh.known[sum] != nil {
		return
	}
	if len(sh.order) == keptTaken {
		delete(sh.known, sh.order[0])
		sh.order = sh.order[1:]
	}
	sh.known[sum], sh.order = t, append(sh.order, sum)
}

// take is place.take, done once for each commit. The caller has checked that c follows the log of c0 and that
// all is what the members of its generation hold.
func (sh *Shared) take(at *place, c0 *core, c *commit, all *secret, past []secret) (*taken, error) {
	if t := sh.find(c.hash); t != nil {
		return t, nil
	}
	t, err := at.take(c0, c, all, past)
	if err == nil {
		sh.keep(c.hash, t)
	}
	return t, err
}

// Share makes s share with the other states of sh.
func (s *State) Share(sh *Shared) { s.shared = sh }

// Unmarshal reads what Marshal wrote, and shares it with those who have the same head.
func (sh *Shared) Unmarshal(b []byte) (*State, error) {
	s, err := unmarshal(b, sh)
	if err == nil {
		s.shared = sh
	}
	return s, err
}
