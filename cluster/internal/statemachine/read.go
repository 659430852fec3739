package statemachine

import (
	"bytes"

	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// Read answers a read-only request outside of the log, on any replica. behind: the replica has not applied
// r.MinSeq of the mailbox yet, and the answer is Unavailable. Envelope bodies alias what the reader returned.
func (v *View) Read(in *Ingress, r *envelope.Request) (resp *envelope.Response, behind bool) {
	if err := v.owns(r.Mailbox); err != nil {
		return v.refuse(nil, err).Response, false
	}
	box := v.mailbox(r.Mailbox)
	if r.MinSeq > 0 && (box == nil || box.next <= r.MinSeq) {
		return v.refuse(box, fault.New(fault.Unavailable, "read mailbox",
			"this replica lags behind sequence number %d", r.MinSeq)).Response, true
	}
	p, err := v.authenticate(r.Mailbox, box, in, envelope.LabelRequest, r.Authority, false)
	if err != nil {
		return v.refuse(box, err).Response, false
	}
	x := &run{View: v, id: r.Mailbox, box: box, party: p, space: envelope.MaxPage}
	resp, _ = x.perform(r)
	return v.finish(resp, box), false
}

// VerifySubscribe checks that the subscription may be served now.
func (v *View) VerifySubscribe(in *Ingress, s *envelope.Subscribe) *fault.Error {
	if err := envelope.CheckNamespaces(s.Namespaces); err != nil {
		return err
	}
	if err := v.owns(s.Mailbox); err != nil {
		return err
	}
	box := v.mailbox(s.Mailbox)
	p, err := v.authenticate(s.Mailbox, box, in, envelope.LabelSubscribe, s.Authority, false)
	if err != nil {
		return err
	}
	if box == nil {
		return noMailbox()
	}
	for _, ns := range s.Namespaces {
		if err := mayRead(p, ns, box); err != nil {
			return err
		}
	}
	return nil
}

// StillAllowed reports why a subscription that VerifySubscribe passed must end: its key lost its rights.
func (v *View) StillAllowed(s *envelope.Subscribe) *fault.Error {
	if s.Authority == [32]byte{} {
		return nil
	}
	box := v.mailbox(s.Mailbox)
	switch {
	case box == nil:
		return noMailbox()
	case box.group == nil && box.authority != s.Authority:
		return stale(box.certsHead(), "the mailbox's authority changed")
	case box.group == nil:
		return nil
	}
	p, err := v.identify(s.Mailbox, box, s.Authority, false)
	for _, ns := range s.Namespaces {
		if err == nil {
			err = mayRead(p, ns, box)
		}
	}
	return err
}

// ReadAfter returns live envelopes above after in order, without any check of rights. maxCount and maxBytes
// 0: the limits of one page.
func (v *View) ReadAfter(m ident.MailboxID, namespaces []envelope.Namespace, after uint64, maxCount,
	maxBytes int) (Page, *fault.Error) {
	box := v.mailbox(m)
	if box == nil {
		return Page{}, noMailbox()
	}
	return v.page(box, namespaces, after, limit(maxCount, envelope.MaxPageCount),
		limit(maxBytes, envelope.MaxPage), envelope.MaxPage), nil
}

func limit(n, most int) int {
	if n <= 0 || n > most {
		return most
	}
	return n
}

// page merges the namespaces in the order of sequence numbers: up to maxCount envelopes of maxBytes together,
// but at least one if it has at most room bytes, so that a reader with a small maxBytes gets on.
func (v *View) page(box *mailbox, namespaces []envelope.Namespace, after uint64, maxCount, maxBytes,
	room int) Page {
	page := Page{Seq: max(after, box.next-1)}
	if after >= box.next {
		return page
	}
	next := make([]envelope.Envelope, len(namespaces)) // the next of each namespace; Seq 0: none
	for i, ns := range namespaces {
		next[i] = v.following(box.owner, ns, after)
	}
	last, size := after, 0
	for {
		least := -1
		for i := range next {
			if next[i].Seq != 0 && (least < 0 || next[i].Seq < next[least].Seq) {
				least = i
			}
		}
		if least < 0 {
			return page
		}
		e := next[least]
		size += e.EncodedSize()
		if len(page.Envelopes) == maxCount || size > room || len(page.Envelopes) > 0 && size > maxBytes {
			page.More, page.Seq = true, last
			return page
		}
		page.Envelopes = append(page.Envelopes, e)
		last = e.Seq
		next[least] = v.following(box.owner, e.Namespace, e.Seq)
	}
}

// following returns the first live envelope of ns above after; Seq 0: there is none.
func (v *View) following(o owner, ns envelope.Namespace, after uint64) envelope.Envelope {
	prefix := mailKey(o, ns, 0)[:ownerSize+2]
	for from := mailKey(o, ns, after+1); ; {
		k, p := v.r.Next(TableMail, from)
		_, _, seq, ok := splitMailKey(k)
		if !ok || !bytes.HasPrefix(k, prefix) {
			return envelope.Envelope{}
		}
		e, ok := decodeMail(p)
		if !ok {
			v.r.Fail(damaged("envelope", k))
			return envelope.Envelope{}
		}
		if !v.expired(e.expiry) {
			return e.envelope(ns, seq)
		}
		from = mailKey(o, ns, seq+1)
	}
}

// mayRead answers nil if the party may read ns.
func mayRead(p party, ns envelope.Namespace, box *mailbox) *fault.Error {
	rules, _ := envelope.RulesOf(ns)
	if rules.Read&envelope.Anyone != 0 && box.group == nil {
		return nil
	}
	return mayIn(p, ns, rules.Read, envelope.MayRead, box)
}

func (x *run) retrieve(op envelope.Retrieve) (envelope.Result, *fault.Error) {
	for _, ns := range op.Namespaces {
		if err := mayRead(x.party, ns, x.box); err != nil {
			return envelope.Result{}, err
		}
	}
	p := x.View.page(x.box, op.Namespaces, op.After, limit(int(op.MaxCount), envelope.MaxPageCount),
		limit(int(op.MaxBytes), envelope.MaxPage), x.space)
	for i := range p.Envelopes {
		x.space -= p.Envelopes[i].EncodedSize()
	}
	res := envelope.Result{Seq: p.Seq, More: p.More, Envelopes: p.Envelopes}
	if x.box.group != nil && p.Seq == x.box.next-1 {
		res.Running = x.box.group.running
	}
	return res, nil
}

func (x *run) retrieveKey(op envelope.RetrieveKey) (envelope.Result, *fault.Error) {
	if err := mayRead(x.party, op.Namespace, x.box); err != nil {
		return envelope.Result{}, err
	}
	seq := x.keyed(x.box.owner, op.Namespace, op.Key)
	e, ok := x.mail(x.box.owner, op.Namespace, seq)
	if !ok || x.expired(e.expiry) {
		return envelope.Result{}, fault.New(fault.NotFound, "retrieve by key",
			"there is no envelope under key %x", op.Key)
	}
	env := e.envelope(op.Namespace, seq)
	if x.space -= env.EncodedSize(); x.space < 0 {
		return envelope.Result{}, fault.New(fault.Limited, "retrieve by key",
			"the answer is full, ask in a request of its own")
	}
	return envelope.Result{Seq: seq, Expiry: e.expiry, Envelopes: []envelope.Envelope{env}}, nil
}

// info answers for a mailbox that does not exist too: the limits are the replica's. Bytes and Count hold what
// has expired until Expire took it.
func (x *run) info() envelope.Result {
	i := &envelope.MailboxInfo{
		QuotaBytes: x.config.QuotaBytes, StampDifficulty: x.config.StampDifficulty,
		Replicas: x.config.Replicas, DirectoryVersion: x.config.DirectoryVersion,
	}
	if x.box != nil {
		i.Exists, i.NextSeq, i.Bytes, i.Count = true, x.box.next, x.box.bytes, x.box.count
	}
	res := envelope.Result{Info: i}
	if x.box != nil && x.box.group != nil && x.who != nobody {
		res.Running = x.box.group.running
	}
	return res
}
