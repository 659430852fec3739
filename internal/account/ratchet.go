package account

import (
	"encoding/binary"
	"io"
	"slices"
	"time"

	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/private"
)

// DayVersion names a day key. They are ordered by generation, then by day.
type DayVersion struct{ G, Day uint32 }

// Less reports whether v is older than w.
func (v DayVersion) Less(w DayVersion) bool {
	return v.G < w.G || v.G == w.G && v.Day < w.Day
}

// Day returns the day number of t: Unix seconds / 86,400.
func Day(t time.Time) uint32 { return uint32(t.Unix() / 86_400) }

// Life of a day key, in milliseconds. leadMS makes a record valid a little before its day, so that a sender
// whose clock is behind the publisher's finds a key at once, also on the first day of an account.
const (
	leadMS      = 15 * 60_000
	lifeMS      = 2 * dayMS
	graceMS     = 60 * 60_000
	hardLimitMS = 15 * dayMS
)

func validFrom(day uint32) int64 { return int64(day)*dayMS - leadMS }
func validTo(day uint32) int64   { return validFrom(day) + lifeMS }

// MayErase is the rule of erasure: seed_{g,d} may go at t (Unix milliseconds) once every active device has
// fetched up to acked past its validity, and goes anyway 15 days after it.
func MayErase(day uint32, t, acked int64) bool {
	end := validTo(day)
	return t > end+hardLimitMS || t > end+graceMS && acked > end+graceMS
}

// generation holds the keys that GS_g expands to.
type generation struct {
	private.Redacted
	g    uint32
	ask  certKey
	sx   dhKey
	auth AuthorityKey
	raw  [3]secret // private forms of the above, for Marshal
	ck   chainKey
}

// chainKey is the ratchet of one generation: the key of its day and all later ones.
type chainKey struct {
	private.Redacted
	day uint32
	key secret
}

func expand(gs [32]byte, id ident.AccountID, g, firstDay uint32) generation {
	context := binary.BigEndian.AppendUint32(id[:], g)
	x := generation{g: g}
	x.raw[0].b = derive(gs[:], labelAsk, context...)
	x.raw[1].b = derive(gs[:], labelSx, context...)
	x.raw[2].b = derive(gs[:], labelAuth, context...)
	x.ck = chainKey{day: firstDay, key: secret{b: derive(gs[:], labelChain, context...)}}
	x.complete()
	return x
}

func (x *generation) complete() {
	x.ask = certKey{newSignKey(x.raw[0].b)}
	x.sx = newDHKey(x.raw[1].b)
	x.auth = AuthorityKey{newSignKey(x.raw[2].b)}
}

// matches reports whether the keys are those that the certificate names.
func (x *generation) matches(c *Cert) bool {
	return x.g == c.G && x.ask.public() == c.Ask && x.sx.public() == c.Sx && x.auth.Public() == c.Auth
}

func (c *chainKey) seed() secret { return secret{b: derive(c.key.b[:], labelEpochSeed)} }

// step moves the chain one day on; the key of the day before is gone.
func (c *chainKey) step() {
	c.key.b = derive(c.key.b[:], labelNext)
	c.day++
}

// maxStride bounds how far a chain is ever moved: a clock in the far future must not spin.
const maxStride = 3_650

// seedOf derives the seed of a day that the chain has not passed, leaving the chain where it is.
func (c chainKey) seedOf(day uint32) (s secret, ok bool) {
	if day < c.day || day-c.day > maxStride {
		return s, false
	}
	for c.day < day {
		c.step()
	}
	return c.seed(), true
}

// daySeed is a seed that stands alone: its chain has passed it.
type daySeed struct {
	version DayVersion
	seed    secret
}

// dayKeys are the keys of one day.
type dayKeys struct {
	private.Redacted
	kem  boxKey
	ax   dhKey
	sync secret
}

func expandDay(seed secret) *dayKeys {
	return &dayKeys{
		kem:  newBoxKey(derive(seed.b[:], labelKem)),
		ax:   newDHKey(derive(seed.b[:], labelAx)),
		sync: secret{b: derive(seed.b[:], labelSync)},
	}
}

// Advance moves the ratchet to now: past days' seeds stand alone afterwards and can be erased.
func (s *State) Advance(now time.Time) {
	if s.gen == nil {
		return
	}
	s.advanceTo(Day(now))
}

// advanceTo leaves the chain at the day after the given one.
func (s *State) advanceTo(day uint32) {
	for ck := &s.gen.ck; ck.day <= day && day-ck.day <= maxStride; ck.step() {
		s.seeds = append(s.seeds, daySeed{version: DayVersion{s.gen.g, ck.day}, seed: ck.seed()})
	}
}

// Erase drops the seeds that may go at t and returns which they were. The caller has checked t against its
// own clock and two nodes (t is the least of them) and has fetched everything before. acked is the instant up
// to which every active device has fetched; zero if that is unknown: only the 15-day limit applies then.
func (s *State) Erase(t, acked time.Time) (erased []DayVersion) {
	ackedMS := int64(0)
	if !acked.IsZero() {
		ackedMS = acked.UnixMilli()
	}
	s.Advance(t)
	kept := s.seeds[:0]
	for _, d := range s.seeds {
		if MayErase(d.version.Day, t.UnixMilli(), ackedMS) {
			erased = append(erased, d.version)
			delete(s.days, d.version)
			continue
		}
		kept = append(kept, d)
	}
	clear(s.seeds[len(kept):])
	s.seeds = kept
	return erased
}

// dayKeys returns the keys of a day of the current generation or of a retained seed.
func (s *State) dayKeys(v DayVersion) (*dayKeys, bool) {
	if k, ok := s.days[v]; ok {
		return k, true
	}
	seed, ok := s.seedOf(v)
	if !ok {
		return nil, false
	}
	k := expandDay(seed)
	if s.days == nil || len(s.days) >= maxCachedDays {
		s.days = make(map[DayVersion]*dayKeys)
	}
	s.days[v] = k
	return k, true
}

// maxCachedDays bounds the cache of expanded keys (about 0.1 ms each to make).
const maxCachedDays = 64

func (s *State) seedOf(v DayVersion) (secret, bool) {
	i := slices.IndexFunc(s.seeds, func(d daySeed) bool { return d.version == v })
	if i >= 0 {
		return s.seeds[i].seed, true
	}
	if s.gen == nil || s.gen.g != v.G {
		return secret{}, false
	}
	return s.gen.ck.seedOf(v.Day)
}

// Retained returns the day keys that stand alone (their chain has passed them), oldest first.
func (s *State) Retained() []DayVersion {
	var out []DayVersion
	for _, d := range s.seeds {
		out = append(out, d.version)
	}
	slices.SortFunc(out, func(a, b DayVersion) int {
		if a.Less(b) {
			return -1
		}
		return 1
	})
	return out
}

func readRandom(rng io.Reader, b []byte) error {
	_, err := io.ReadFull(rng, b)
	return err
}
