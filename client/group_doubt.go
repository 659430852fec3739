package client

import (
	"context"
	"math"
	"time"

	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/groups"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// What a member writes says which log of the group it knows. If that is not the log of this device, the nodes may show one of
// the two a log of its own, or keep commits back; or the member is at fault. So the log is read again, from several replicas:
// commits that were kept back are taken in, a log that differs makes a warning, and if the replicas agree with this device the
// user is told, once, that the member is at fault. A warning is looked into again until the replicas agree with this device.

const (
	logWitnesses  = 3 // replicas that are asked for the log
	errandDoubted = "doubted/"
)

var errOtherLog = fault.New(fault.Unavailable, "follow group", "the nodes show another log of the group than the one that this device knows")

// compareLog reads the log from several replicas, beginning with the newest commit that was taken in: each commit names the
// one before, so what precedes it is the same if it is. missing are commits after it that lie before a number. odd says that
// most replicas have another log.
func (w *groupWorker) compareLog(ctx context.Context, before uint64) (missing []envelope.Envelope, odd, err error) {
	var p course
	var head, index uint64
	var sum [32]byte
	err = w.c.p.db.View(func(tx *store.Tx) error {
		g, err := w.c.group(tx, w.id)
		if err != nil || g.state == nil {
			return err
		}
		head = g.HeadSeq
		index, sum = g.state.Head()
		p, err = w.memberCourse(tx)
		return err
	})
	if err != nil {
		return nil, nil, &storeError{err}
	}
	if len(p.namespaces) == 0 || head == 0 {
		return nil, nil, nil
	}
	p.cursor = head - 1
	differ := 0
	for asked := range logWitnesses {
		if asked > 0 {
			w.c.net.Elsewhere(w.mailbox)
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
			if c, err := envelope.DecodeCommit(e.Body); e.Seq < before && (err != nil || c.Index > index) { // none that was taken in is missing
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

// noiseRest is how long no message without a sender is looked into after one that commits did not explain: members can store
// any number of them.
const noiseRest = time.Minute

// lookInto looks into a message whose sender has another log than this device, or a longer one. The message is let pass
// afterwards, unless commits came that explain it.
func (w *groupWorker) lookInto(ctx context.Context, e envelope.Envelope, m *groups.Message) (explained bool, err error) {
	nobody := m.Sender == ident.AccountID{}
	if nobody && time.Since(w.noise) < noiseRest || w.doubted(m.Sender) {
		return false, nil
	}
	missing, odd, err := w.compareLog(ctx, e.Seq)
	if err != nil {
		return false, err
	}
	for _, c := range missing {
		w.c.log.Debug("a node kept a commit back", "seq", c.Seq)
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
		return false, w.note(func(tx *store.Tx, a *applied, g *group) {
			a.warn(tx, g, "the nodes show this device another log of the group than "+a.c.nameOf(tx, m.Sender)+" has: changes of the group may be kept from one of you. "+
				"Ask other members what they see")
		})
	}
	return false, w.note(func(tx *store.Tx, a *applied, g *group) {
		tx.SetGroupErrand(store.GroupErrand{Group: g.ID, Kind: errandDoubted + m.Sender.String(), Due: store.Held})
		a.tell(g, a.c.nameOf(tx, m.Sender)+" writes as if the group's log were another one, but what the nodes have is what this device knows: "+
			"a device of that member is at fault, or lies. What else it says of the log is passed over")
	})
}

// doubted reports whether a member was found at fault.
func (w *groupWorker) doubted(id ident.AccountID) (yes bool) {
	w.c.p.db.View(func(tx *store.Tx) error {
		_, yes = tx.GroupErrand(w.id, errandDoubted+id.String())
		return nil
	})
	return yes
}

// note runs f in a transaction, if the group is there.
func (w *groupWorker) note(f func(*store.Tx, *applied, *group)) error {
	a := w.c.newApplied()
	err := w.c.commit(func(tx *store.Tx) error {
		g, err := w.c.group(tx, w.id)
		if err == nil {
			f(tx, a, g)
		}
		return err
	})
	if err == nil {
		a.publish()
	}
	return err
}

// warn keeps a warning with a group and tells it, unless there is one.
func (a *applied) warn(tx *store.Tx, g *group, text string) {
	if g.Warning != "" {
		return
	}
	g.Warning = text
	a.c.saveGroup(tx, g)
	a.tell(g, text)
}

func (a *applied) tell(g *group, text string) {
	a.events = append(a.events, Event{Kind: EventNotice, At: a.now, Group: &g.ID, Text: "group " + g.Name + ": " + text})
	a.groupChanged(g.ID)
}

// warned reports whether a group has a warning that may cease to hold by itself.
func (g *group) warned() bool {
	return g.Warning != "" && g.Warning != warnUnevenMail && g.state != nil && GroupStatus(g.Status) == GroupJoined
}

// lookAgainIn returns how long it is until a warning is to be looked into again: first soon, then less and less often.
func (w *groupWorker) lookAgainIn() time.Duration {
	if w.lookAgain.delay == 0 {
		w.lookLater()
	}
	return time.Until(w.lookAgain.until)
}

func (w *groupWorker) lookLater() {
	delay := min(max(2*w.lookAgain.delay, 6*w.c.pace.turn), time.Hour)
	w.lookAgain = aside{time.Now().Add(delay), delay}
}

// lookIntoWarning takes the warning back if the replicas have the log of this device and nothing beyond.
func (w *groupWorker) lookIntoWarning(ctx context.Context) error {
	w.lookLater()
	missing, odd, err := w.compareLog(ctx, math.MaxUint64)
	if err != nil || odd != nil || len(missing) > 0 {
		return err
	}
	w.lookAgain = aside{}
	return w.note(func(tx *store.Tx, a *applied, g *group) { a.unwarn(tx, g) })
}

// unwarn takes a warning back.
func (a *applied) unwarn(tx *store.Tx, g *group) {
	g.Warning = ""
	a.c.saveGroup(tx, g)
	a.groupChanged(g.ID)
}
