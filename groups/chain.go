package groups

import (
	"encoding/binary"
	"time"

	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/private"
)

// maxAhead bounds how far a chain is run for one message: further than any client that is still a member
// lags.
const maxAhead = 400

// maxDay is the last day that a slot may name.
const maxDay = maxTimeMS / 86_400_000

// Day returns the day number of t: Unix seconds / 86,400.
func Day(t time.Time) uint32 { return uint32(t.Unix() / 86_400) }

// near reports whether a day is within maxAhead of a time, Unix milliseconds.
func near(day uint32, at int64) bool {
	d := int64(day) - at/86_400_000
	return -maxAhead <= d && d <= maxAhead
}

// chain opens the messages of one generation: by its chain key, or by the day keys that were left when it was
// superseded.
type chain struct {
	private.Redacted
	g, day uint32 // day of ck, or of days[0]
	live   bool
	ck     secret
	days   []secret
}

func (c *chain) at(day uint32) (ck secret, err error) {
	if day < c.day || day-c.day > maxAhead {
		return ck, fault.New(fault.Denied, "find day key",
			"day %d of generation %d is erased or too far ahead, have %d", day, c.g, c.day)
	}
	ck = c.ck
	for range day - c.day {
		ck = derive(ck.b[:], nil, labelNext)
	}
	return ck, nil
}

func (c *chain) key(day uint32) (secret, error) {
	if !c.live {
		if day < c.day || int(day-c.day) >= len(c.days) {
			return secret{}, fault.New(fault.Denied, "find day key", "generation %d has no key of day %d",
				c.g, day)
		}
		return c.days[day-c.day], nil
	}
	ck, err := c.at(day)
	if err != nil {
		return secret{}, err
	}
	return derive(ck.b[:], nil, labelDay), nil
}

// retire keeps the days through the one after day and erases the chain key: who takes a state afterwards
// cannot open what is sealed later under this generation.
func (c *chain) retire(day uint32) {
	if !c.live {
		return
	}
	ck := c.ck
	day = max(day, c.day) // an author's clock may be behind
	for d := c.day; d <= day+1 && len(c.days) <= maxAhead; d++ {
		c.days = append(c.days, derive(ck.b[:], nil, labelDay))
		ck = derive(ck.b[:], nil, labelNext)
	}
	c.ck.wipe()
	c.live = false
}

// begin moves the first day of a live chain, where ck is its key on another day: the one leads to the other,
// within maxAhead days, or else the chain stays as it is.
func (c *chain) begin(day uint32, ck *secret) {
	o := chain{g: c.g, day: day, live: true, ck: *ck}
	early, late := c, &o
	if o.day < c.day {
		early, late = late, early
	}
	if k, err := early.at(late.day); err == nil && k.b == late.ck.b {
		c.day, c.ck = day, *ck
	}
}

// erase forgets the days before day.
func (c *chain) erase(day uint32) {
	if c.live {
		for ; c.day < day; c.day++ {
			c.ck = derive(c.ck.b[:], nil, labelNext)
		}
		return
	}
	for len(c.days) > 0 && c.day < day {
		c.days[0].wipe()
		c.days = c.days[1:]
		c.day++
	}
}

// Since returns the first day whose messages the state may open.
func (s *State) Since() uint32 {
	day := uint32(0)
	for i := range s.chains {
		if i == 0 || s.chains[i].day < day {
			day = s.chains[i].day
		}
	}
	return day
}

// Erase forgets the keys of all days before day; messages of those days do not open any more. Leaf keys go 16
// days after they were superseded.
func (s *State) Erase(day uint32, now time.Time) {
	kept := s.chains[:0]
	for i := range s.chains {
		s.chains[i].erase(day)
		if s.chains[i].live || len(s.chains[i].days) > 0 {
			kept = append(kept, s.chains[i])
		}
	}
	clear(s.chains[len(kept):])
	s.chains = kept
	leaves := s.leaves[:0]
	for _, l := range s.leaves {
		if l.until == 0 || now.UnixMilli() <= l.until {
			leaves = append(leaves, l)
		}
	}
	clear(s.leaves[len(leaves):])
	s.leaves = leaves
}

func dayContext(group ident.GroupID, g, day uint32) []byte {
	return binary.BigEndian.AppendUint32(context(group, g), day)
}
