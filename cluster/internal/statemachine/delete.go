package statemachine

import (
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
)

// kept reports whether nobody, not even the authority, deletes from ns.
func kept(ns envelope.Namespace) bool {
	return ns == envelope.Certs || ns == envelope.Contest || ns == envelope.GroupLog
}

// mayDelete answers nil if the party may delete from ns: the authority everywhere, moderators messages,
// delegates where they have the right.
func (x *run) mayDelete(ns envelope.Namespace) *fault.Error {
	if x.who == moderator && ns == envelope.GroupMail ||
		x.who == delegate && x.cap.grants(envelope.MayDelete, ns) {
		return nil
	}
	return may(x.party, envelope.Authority, x.box)
}

func keptError(ns envelope.Namespace) *fault.Error {
	rules, _ := envelope.RulesOf(ns)
	return fault.New(fault.Denied, "delete envelopes", "nobody deletes from %s", rules.Name)
}

// delete removes envelopes by hash. It checks all of them before it removes the first.
func (x *run) delete(op envelope.Delete) (envelope.Result, *fault.Error) {
	if err := x.mayDelete(op.Namespace); err != nil {
		return envelope.Result{}, err
	}
	var found []dup
	for _, h := range op.Hashes {
		d, ok := x.dup(x.box.owner, short(h))
		if ok {
			var e mail
			e, ok = x.mail(x.box.owner, d.ns, d.seq)
			ok = ok && !x.expired(e.expiry) && (op.Namespace == 0 || op.Namespace == d.ns)
		}
		switch {
		case ok && kept(d.ns):
			return envelope.Result{}, keptError(d.ns)
		case ok:
			found = append(found, d)
		case op.Required:
			return envelope.Result{}, fault.New(fault.NotFound, "delete envelopes", "there is no envelope %x",
				h[:4])
		}
	}
	var res envelope.Result
	for _, d := range found {
		// A hash that was named twice is gone by its second turn.
		if e, ok := x.mail(x.box.owner, d.ns, d.seq); ok {
			x.m.remove(x.box, d.ns, d.seq, &e)
			res.Deleted++
			x.dirty = true
		}
	}
	return res, nil
}

// deleteBefore removes what was stored before an instant. What has expired is left to Expire.
func (x *run) deleteBefore(op envelope.DeleteBefore) (envelope.Result, *fault.Error) {
	if err := may(x.party, envelope.Authority, x.box); err != nil {
		return envelope.Result{}, err
	}
	if kept(op.Namespace) {
		return envelope.Result{}, keptError(op.Namespace)
	}
	var res envelope.Result
	for from := mailKey(x.box.owner, op.Namespace, 0); ; {
		k, p := x.r.Next(TableMail, from)
		o, ns, seq, ok := splitMailKey(k)
		if !ok || o != x.box.owner || op.Namespace != 0 && ns != op.Namespace {
			return res, nil
		}
		from = mailKey(o, ns, seq+1)
		if kept(ns) {
			from = mailKey(o, ns+1, 0)
			continue
		}
		e, ok := decodeMail(p)
		if !ok {
			x.r.Fail(damaged("envelope", k))
			return res, nil
		}
		if e.storedAt < op.Before && !x.expired(e.expiry) {
			x.m.remove(x.box, ns, seq, &e)
			res.Deleted++
			x.dirty = true
		}
	}
}
