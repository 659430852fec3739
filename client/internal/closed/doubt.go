package closed

import (
	"context"
	"math"
	"time"

	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/groups"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// What a member writes says which log of the group it knows. If that is not the log of this device, the nodes
// may show one of the two a log of its own, or keep commits back; or the member is at fault. So the log is
// read again, from several replicas: commits that were kept back are taken in, a log that differs makes a
// warning, and if the replicas agree with this device the user is told, once, that the member is at fault. A
// warning is looked into again until the replicas agree with this device.

const (
	logWitnesses  = 3 // replicas that are asked for the log
	errandDoubted = "doubted/"
)

var errOtherLog = fault.New(fault.Unavailable, "follow group",
	"the nodes show another log of the group than the one that this device knows")

// compareLog reads the log from several replicas, beginning with the newest commit that was taken in: each
// commit names the one before, so what precedes it is the same if it is. missing are commits after it that
// lie before a number. odd says that most replicas have another log.
func (w *worker) compareLog(ctx context.Context,
	before uint64) (missing []envelope.Envelope, odd, err error) {
	var p course
	var head, index uint64
	var sum [32]byte
	err = w.c.core.View(func(tx *store.Tx) error {
		g, err := w.c.get(tx, w.id)
		if err != nil || g.state == nil {
			return err
		}
		head = g.HeadSeq
		index, sum = g.state.Head()
		p, err = w.memberCourse(tx)
		return err
	})
	if err != nil {
		return nil, nil, core.Broken(err)
	}
	if len(p.namespaces) == 0 || head == 0 {
		return nil, nil, nil
	}
	p.cursor = head - 1
	differ := 0
	for asked := range logWitnesses {
		if asked > 0 {
			w.c.core.Net.Elsewhere(w.mailbox)
		}
		res, err := w.strict(ctx, p, memberNamespaces[:1], 0)
		if err != nil {
			return nil, nil, err
		}
		log := res.Envelopes
		if len(log) == 0 || envelope.CommitHash(log[0].Body) != sum {
			differ++
			continue
		}
		for _, e := range log[1:] {
			if c, err := envelope.DecodeCommit(e.Body); e.Seq < before && (err != nil || c.Index > index) {
				// none that was taken in is missing
				missing = append(missing, e)
			}
		}
		if len(missing) > 0 {
			return missing, nil, nil
		}
	}
	if 2*differ > logWitnesses {
		odd = errOtherLog
	}
	return nil, odd, nil
}

// noiseRest is how long no message without a sender is looked into after one that commits did not explain:
// members can store any number of them.
const noiseRest = time.Minute

// lookInto looks into a message whose sender has another log than this device, or a longer one. The message
// is let pass afterwards, unless commits came that explain it.
func (w *worker) lookInto(ctx context.Context, e envelope.Envelope,
	m *groups.Message) (explained bool, err error) {
	nobody := m.Sender == ident.AccountID{}
	if nobody && time.Since(w.noise) < noiseRest || w.doubted(m.Sender) {
		return false, nil
	}
	missing, odd, err := w.compareLog(ctx, e.Seq)
	if err != nil {
		return false, err
	}
	for _, c := range missing {
		w.c.core.Log.Debug("a node kept a commit back", "seq", c.Seq)
		if err := w.takeCommit(ctx, c); err != nil {
			return false, err
		}
	}
	switch {
	case len(missing) > 0:
		return true, nil
	case nobody:
		w.noise = time.Now()
		return false, nil
	case odd != nil:
		return false, w.note(func(tx *store.Tx, a *core.Batch, g *group) {
			w.c.warn(tx, a, g, "the nodes show this device another log of the group than "+w.c.people.Name(tx,
				m.Sender)+" has: changes of the group may be kept from one of you. "+
				"Ask other members what they see")
		})
	}
	return false, w.note(func(tx *store.Tx, a *core.Batch, g *group) {
		tx.SetGroupErrand(store.GroupErrand{Group: g.ID, Kind: errandDoubted + m.Sender.String(),
			Due: store.Held})
		w.c.tellOf(a, g, w.c.people.Name(tx, m.Sender)+
			" writes as if the group's log were another one, but what the nodes have is what this device "+
			"knows: "+
			"a device of that member is at fault, or lies. What else it says of the log is passed over")
	})
}

// doubted reports whether a member was found at fault.
func (w *worker) doubted(id ident.AccountID) (yes bool) {
	w.c.core.View(func(tx *store.Tx) error {
		_, yes = tx.GroupErrand(w.id, errandDoubted+id.String())
		return nil
	})
	return yes
}

// note runs f in a transaction, if the group is there.
func (w *worker) note(f func(*store.Tx, *core.Batch, *group)) error {
	err := w.c.core.Commit(func(tx *store.Tx, a *core.Batch) error {
		g, err := w.c.get(tx, w.id)
		if err == nil {
			f(tx, a, g)
		}
		return err
	})
	if err == nil {
	}
	return err
}

// warn keeps a warning with a group and tells it, unless there is one.
func (c *Groups) warn(tx *store.Tx, a *core.Batch, g *group, text string) {
	if g.Warning != "" {
		return
	}
	g.Warning = text
	c.save(tx, g)
	c.tellOf(a, g, text)
}

// tellOf tells something of a group once.
func (c *Groups) tellOf(a *core.Batch, g *group, text string) {
	a.Tell(core.Fact{Kind: core.FactNotice, Group: &g.ID, Text: "group " + g.Name + ": " + text})
	c.changed(a, g.ID)
}

// warned reports whether a group has a warning that may cease to hold by itself.
func (g *group) warned() bool {
	return g.Warning != "" && g.Warning != warnUnevenMail && g.state != nil && Status(g.Status) == Joined
}

// lookAgainIn returns how long it is until a warning is to be looked into again: first soon, then less and
// less often.
func (w *worker) lookAgainIn() time.Duration {
	if w.lookAgain.delay == 0 {
		w.lookLater()
	}
	return time.Until(w.lookAgain.until)
}

func (w *worker) lookLater() {
	delay := min(max(2*w.lookAgain.delay, 6*w.c.core.Pace.Turn), time.Hour)
	w.lookAgain = aside{time.Now().Add(delay), delay}
}

// lookIntoWarning takes the warning back if the replicas have the log of this device and nothing beyond.
func (w *worker) lookIntoWarning(ctx context.Context) error {
	w.lookLater()
	missing, odd, err := w.compareLog(ctx, math.MaxUint64)
	if err != nil || odd != nil || len(missing) > 0 {
		return err
	}
	w.lookAgain = aside{}
	return w.note(func(tx *store.Tx, a *core.Batch, g *group) { w.c.unwarn(tx, a, g) })
}

// unwarn takes a warning back.
func (c *Groups) unwarn(tx *store.Tx, a *core.Batch, g *group) {
	g.Warning = ""
	c.save(tx, g)
	c.changed(a, g.ID)
}
