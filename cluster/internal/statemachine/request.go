package statemachine

import (
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// SignedFor is how long after its signature a request may still be applied, milliseconds of the swarm's
// clock. The ingress replica is stricter (60 s of its wall clock); this bound is what a replica that replays
// old requests meets.
const SignedFor = 10 * 60_000

// signer says whose signature a request carries.
type signer uint8

const (
	nobody     signer = iota // unsigned
	authority                // the key that the mailbox obeys now
	mailboxKey               // the blinded root key, in a request with genesis or recover
	replaced                 // superseded by the last recover, which it may contest
	superseded               // an authority, or another key of a group, of the past
	reader                   // a group's current read key
	oldReader                // a group's read key of an earlier generation
	writer                   // a group's current write key
	moderator                // a group's current mod key
	delegate                 // a key with a capability
)

// party is who signed a request, and for a delegate what it may do.
type party struct {
	who signer
	cap capability
}

// authenticate tells who signed. changes says that the request holds a genesis or a recover.
func (v *View) authenticate(id ident.MailboxID, box *mailbox, in *Ingress, label string, key [32]byte,
	changes bool) (party, *fault.Error) {
	if key == [32]byte{} {
		return party{}, nil
	}
	p, err := v.identify(id, box, key, changes)
	if err != nil {
		return party{}, err
	}
	refuse := func(format string, args ...any) (party, *fault.Error) {
		return party{}, fault.New(fault.Unauthenticated, "authenticate request", format, args...)
	}
	if label == envelope.LabelRequest && in.Signed.TimeMS < v.clock-SignedFor {
		// a subscription lives as long as its circuit
		return refuse("signed %d s before the swarm's clock, want at most %d",
			(v.clock-in.Signed.TimeMS)/1000, SignedFor/1000)
	}
	if !in.Signed.Verify(label, key, in.Node, in.Tag) {
		return refuse("the signature does not verify")
	}
	return p, nil
}

// identify tells whose key is, without any proof.
func (v *View) identify(id ident.MailboxID, box *mailbox, key [32]byte, changes bool) (party, *fault.Error) {
	refuse := func(format string, args ...any) (party, *fault.Error) {
		return party{}, fault.New(fault.Denied, "authenticate request", format, args...)
	}
	switch {
	case ident.MailboxID(key) == id && !changes:
		return refuse("the mailbox key signs genesis and recover, nothing else")
	case ident.MailboxID(key) == id:
		return party{who: mailboxKey}, nil
	case box == nil:
		return party{}, noMailbox()
	case key == box.authority:
		return party{who: authority}, nil
	case key == box.replaced:
		return party{who: replaced}, nil
	case v.r.Get(TablePast, pastKey(box.owner, key)) != nil:
		return party{who: superseded}, nil
	case box.group == nil:
		return refuse("the key is no authority of this mailbox")
	}
	k, ok := v.groupKey(box.owner, key)
	switch g := box.group; {
	case !ok:
		return refuse("the key is none of this group")
	case k.use == useRead && key == g.read:
		return party{who: reader}, nil
	case k.use == useRead:
		return party{who: oldReader}, nil
	case k.use == useWrite && key == g.write:
		return party{who: writer}, nil
	case k.use == useMod && key == g.mod:
		return party{who: moderator}, nil
	case k.use == useDelegate && !k.cap.dead(g) && k.cap.over(v.clock):
		return refuse("the capability is over")
	case k.use == useDelegate && !k.cap.dead(g):
		return party{who: delegate, cap: k.cap}, nil
	}
	return party{who: superseded}, nil
}

func noMailbox() *fault.Error {
	return fault.New(fault.NotFound, "open mailbox", "there is no such mailbox")
}

// may answers nil if the party is in the set allowed. What a delegate may do is for its capability to say.
func may(p party, allowed envelope.Who, box *mailbox) *fault.Error {
	ok := false
	switch p.who {
	case nobody, superseded, replaced:
		ok = allowed&envelope.Anyone != 0 || p.who == replaced && allowed&envelope.Replaced != 0
	case authority:
		ok = allowed&(envelope.Anyone|envelope.Authority|envelope.AdminKey) != 0
	case mailboxKey:
		ok = allowed&envelope.MailboxKey != 0
	case reader:
		ok = allowed&(envelope.ReadKey|envelope.NewestRead) != 0
	case oldReader:
		ok = allowed&envelope.ReadKey != 0
	case writer:
		ok = allowed&envelope.WriteKey != 0
	}
	switch {
	case ok:
		return nil
	case p.who == nobody:
		return fault.New(fault.Unauthenticated, "authorize operation", "a signature is wanted")
	case p.who == superseded || p.who == replaced || p.who == oldReader:
		return stale(box.certsHead(), "the key is superseded")
	}
	return fault.New(fault.Denied, "authorize operation", "this key may not do that here")
}

// mayIn answers nil if the party is in the set allowed for ns, or has a capability for it. A mailbox of
// another kind has no such namespace.
func mayIn(p party, ns envelope.Namespace, allowed envelope.Who, right envelope.Rights,
	box *mailbox) *fault.Error {
	if !box.serves(ns) {
		return fault.New(fault.Denied, "authorize operation", "a mailbox of this kind has no namespace %d",
			ns)
	}
	if p.who == delegate && p.cap.grants(right, ns) {
		return nil
	}
	return may(p, allowed, box)
}

func stale(head uint64, format string, args ...any) *fault.Error {
	e := fault.New(fault.Stale, "check condition", format, args...)
	e.Head = head
	return e
}

// run is one request under way.
type run struct {
	*View
	m          *Machine // nil: a read outside of the log
	id         ident.MailboxID
	box        *mailbox // nil: no such mailbox
	party               // who signed
	fresh      bool     // box was made by this request, and has no authority yet
	born       bool     // box was made by this request
	genesisKey [32]byte // born: the authority that the genesis names
	certsSeen  bool     // the request's certificate is in the log already: this is a retry
	whole      bool     // mode all
	appended   appended // what the operation before this one did to the log
	dirty      bool     // box changed
	space      int      // bytes of envelopes that the answer may still hold
	events     []Event
}

// appended tells what a store did to a group's log.
type appended uint8

const (
	nothing  appended = iota
	repeated          // the commit was there
	added
)

// request applies a client's request: as a whole for mode all, each operation by itself for mode each.
func (m *Machine) request(c *Request) Result {
	r, err := envelope.DecodeRequest(c.Signed.Bytes)
	if err != nil {
		return m.refuse(nil, err.(*fault.Error))
	}
	change, err := r.AuthorityChange()
	if err != nil {
		return m.refuse(nil, err.(*fault.Error))
	}
	if err := m.owns(r.Mailbox); err != nil {
		return m.refuse(nil, err)
	}
	box := m.mailbox(r.Mailbox)
	p, ferr := m.authenticate(r.Mailbox, box, &c.Ingress, envelope.LabelRequest, r.Authority, change != nil &&
		change.Change != envelope.Rotate)
	if ferr != nil {
		return m.refuse(box, ferr)
	}
	x := &run{View: &m.View, m: m, id: r.Mailbox, box: box, party: p, space: envelope.MaxPage}
	// One operation checks everything before it writes; several, or a genesis, may have to be undone.
	m.tx.keep = len(r.Ops) > 1 || change != nil
	defer func() { m.tx.keep, m.tx.undo = false, m.tx.undo[:0] }()
	if ferr := x.prepare(r, change); ferr != nil {
		return m.refuse(box, ferr)
	}
	resp, ok := x.perform(r)
	if !ok {
		m.tx.rollback(0)
		return Result{Response: m.finish(resp, m.mailbox(r.Mailbox))}
	}
	x.end()
	return Result{Response: m.finish(resp, x.box), Events: x.events}
}

// prepare makes the mailbox that a genesis asks for, and learns whether a change of authority is a retry.
func (x *run) prepare(r *envelope.Request, change *envelope.SetAuthority) *fault.Error {
	if change == nil {
		return nil
	}
	if x.box == nil {
		if change.Change != envelope.Genesis {
			return noMailbox()
		}
		if x.who != mailboxKey {
			return fault.New(fault.Unauthenticated, "authorize operation",
				"genesis is signed by the mailbox key")
		}
		if err := x.admitGenesis(r); err != nil {
			return err
		}
		x.create(change)
		return nil
	}
	if x.box.group != nil && change.Change != envelope.Genesis {
		return fault.New(fault.Denied, "authorize operation",
			"commits change the authority of a group, nothing else")
	}
	for _, op := range r.Ops {
		if st, ok := op.(envelope.Store); ok && (st.Namespace == envelope.Certs ||
			st.Namespace == envelope.GroupLog) {
			d, ok := x.dup(x.box.owner, short(envelope.HashOf(x.id, st.Namespace, st.Key, st.Body)))
			x.certsSeen = x.certsSeen || ok && !x.expired(d.until)
		}
	}
	return nil
}

// perform runs the operations; false: nothing of them may stay.
func (x *run) perform(r *envelope.Request) (*envelope.Response, bool) {
	x.whole = r.Mode == envelope.All
	resp := &envelope.Response{Failed: -1}
	for i, op := range r.Ops {
		var saved mailbox
		var mark int
		separate := r.Mode == envelope.Each && len(r.Ops) > 1 && x.m != nil
		if separate && x.box != nil {
			saved, mark = x.box.clone(), len(x.m.tx.undo)
		}
		res, err := x.op(op)
		if err != nil && r.Mode == envelope.All {
			return &envelope.Response{Failed: i, Results: []envelope.Result{{Err: err}}}, false
		}
		if err != nil {
			res = envelope.Result{Err: err}
			if separate && x.box != nil {
				x.m.tx.rollback(mark)
				*x.box = saved
			}
		}
		resp.Results = append(resp.Results, res)
	}
	return resp, true
}

func (x *run) op(op envelope.Op) (envelope.Result, *fault.Error) {
	before := x.appended
	x.appended = nothing
	if err := envelope.CheckOp(op); err != nil {
		return envelope.Result{}, err
	}
	if _, ok := op.(envelope.Info); !ok && x.box == nil {
		return envelope.Result{}, noMailbox()
	}
	switch op := op.(type) {
	case envelope.Retrieve:
		return x.retrieve(op)
	case envelope.RetrieveKey:
		return x.retrieveKey(op)
	case envelope.Info:
		return x.info(), nil
	}
	if x.m == nil {
		return envelope.Result{}, fault.New(fault.Invalid, "read mailbox", "operation %T changes the mailbox",
			op)
	}
	switch op := op.(type) {
	case envelope.Store:
		return x.store(op)
	case envelope.Delete:
		return x.delete(op)
	case envelope.DeleteBefore:
		return x.deleteBefore(op)
	case envelope.SetAuthority:
		return x.setAuthority(op)
	case envelope.Delegate:
		return x.delegate(op, before)
	case envelope.Revoke:
		return x.revoke(op)
	case envelope.RevokeKeys:
		return x.revokeKeys(op)
	}
	return envelope.Result{}, fault.New(fault.Internal, "apply operation", "%T has no code", op)
}

// end writes the mailbox row back, and drops a one-time mailbox whose last envelope went.
func (x *run) end() {
	if !x.dirty {
		return
	}
	if x.who == authority || x.who == mailboxKey {
		x.box.signedAt = x.clock
	}
	x.m.save(x.box)
	if x.m.spent(x.box) {
		x.events = append(x.events, x.m.drop(x.box))
		x.box = nil
	}
}

func (v *View) refuse(box *mailbox, err *fault.Error) Result {
	return Result{Response: v.finish(envelope.Refuse(err), box)}
}

func (v *View) finish(resp *envelope.Response, box *mailbox) *envelope.Response {
	resp.Clock = v.clock
	if box != nil {
		resp.CertsHead = box.certsHead()
	}
	return resp
}
