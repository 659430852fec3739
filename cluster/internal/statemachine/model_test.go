package statemachine_test

import (
	"crypto/ed25519"
	"slices"

	"github.com/starling-swarm/starling/cluster/internal/statemachine"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// model is the state machine as one would write it on a blackboard: slices, linear searches, a copy of
// everything before each request. It shares no code with the real one beside the vocabulary and CheckOp.
type model struct {
	clock int64
	quota uint64
	boxes []*box
	born  int
}

type box struct {
	id                  ident.MailboxID
	born                int
	authority, replaced [32]byte
	past                [][32]byte
	seq                 uint64
	heads               map[envelope.Namespace]uint64
	mail                []item
	memory              []memory
	signedAt, idleAt    int64
	group               *groupModel // nil: none
}

type item struct {
	envelope.Envelope
	hash  envelope.Hash
	ttl   uint32
	taken uint32 // the generation whose commit took the slot in; 0: none
}

type memory struct {
	hash  envelope.Hash
	seq   uint64
	until int64 // 0: as long as the envelope lives
}

const dayMS = 24 * 3600 * 1000

func (b *box) copy() *box {
	c := *b
	c.group = b.group.copy()
	c.past, c.mail, c.memory = slices.Clone(b.past), slices.Clone(b.mail), slices.Clone(b.memory)
	c.heads = map[envelope.Namespace]uint64{}
	for k, v := range b.heads {
		c.heads[k] = v
	}
	return &c
}

func (m *model) find(id ident.MailboxID) *box {
	for _, b := range m.boxes {
		if b.id == id {
			return b
		}
	}
	return nil
}

func (m *model) tick(s statemachine.Stamp) {
	to := s.Time
	if m.clock != 0 {
		to = min(to, m.clock+int64(s.Allowance))
	}
	m.clock = max(m.clock, to)
}

func (m *model) dead(expiry int64) bool { return expiry != 0 && expiry <= m.clock }

func kindError(k fault.Kind) *fault.Error { return &fault.Error{Kind: k} }

func staleError(head uint64) *fault.Error { return &fault.Error{Kind: fault.Stale, Head: head} }

// request is what a client's request does. key is who signed it for real, nil for nobody.
func (m *model) request(r *envelope.Request,
	key ed25519.PublicKey) (*envelope.Response, []statemachine.Event) {
	live := m.find(r.Mailbox)
	answer := func(resp *envelope.Response, b *box) (*envelope.Response, []statemachine.Event) {
		resp.Clock = m.clock
		if b != nil {
			resp.CertsHead = b.certs()
		}
		return resp, nil
	}
	change, err := r.AuthorityChange()
	if err != nil {
		return answer(envelope.Refuse(kindError(fault.Invalid)), nil)
	}
	who, cap, ferr := m.who(r, live, key, change)
	if ferr != nil {
		return answer(envelope.Refuse(ferr), live)
	}
	x := &step{m: m, who: who, cap: cap, whole: r.Mode == envelope.All}
	switch {
	case live != nil:
		x.b = live.copy()
		if x.b.group != nil && change != nil && change.Change != envelope.Genesis {
			return answer(envelope.Refuse(kindError(fault.Denied)), live)
		}
		if change != nil {
			for _, op := range r.Ops {
				if st, ok := op.(envelope.Store); ok && (st.Namespace == envelope.Certs ||
					st.Namespace == envelope.GroupLog) &&
					x.remembered(envelope.HashOf(r.Mailbox, st.Namespace, st.Key, st.Body)) != nil {
					x.retry = true
				}
			}
		}
	case change != nil && change.Change != envelope.Genesis:
		return answer(envelope.Refuse(kindError(fault.NotFound)), nil)
	case change != nil && who != "mailbox":
		return answer(envelope.Refuse(kindError(fault.Unauthenticated)), nil)
	case change != nil:
		x.b = &box{id: r.Mailbox, heads: map[envelope.Namespace]uint64{}, signedAt: m.clock,
			idleAt: m.clock + 400*dayMS}
		x.fresh, x.born, x.genesisKey = true, true, change.Key
		if change.Flags != 0 {
			x.b.group = new(groupModel)
		}
	}
	resp := &envelope.Response{Failed: -1}
	for i, op := range r.Ops {
		var before *box
		if x.b != nil {
			before = x.b.copy()
		}
		res, err := x.op(op)
		if err != nil && r.Mode == envelope.All {
			return answer(&envelope.Response{Failed: i, Results: []envelope.Result{{Err: err}}}, live)
		}
		if err != nil {
			res, x.b = envelope.Result{Err: err}, before
		}
		resp.Results = append(resp.Results, res)
	}
	if x.changed && (who == "authority" || who == "mailbox") {
		x.b.signedAt = m.clock
	}
	b := x.b
	if x.changed {
		m.keep(x)
		if x.b.spent() {
			m.boxes = slices.DeleteFunc(m.boxes, func(o *box) bool { return o.id == b.id })
			x.events = append(x.events, statemachine.Event{Kind: statemachine.Dropped, Mailbox: b.id})
			b = nil
		}
	}
	resp, _ = answer(resp, b)
	return resp, x.events
}

func (m *model) keep(x *step) {
	for i := range m.boxes {
		if m.boxes[i].id == x.b.id {
			m.boxes[i] = x.b
			return
		}
	}
	m.born++
	x.b.born = m.born
	m.boxes = append(m.boxes, x.b)
}

func (b *box) spent() bool {
	return len(b.mail) == 0 && b.heads[envelope.Blobs] != 0 && b.heads[envelope.Certs] == 0
}

func (m *model) who(r *envelope.Request, b *box, key ed25519.PublicKey,
	change *envelope.SetAuthority) (string, *capModel, *fault.Error) {
	claim := r.Authority
	who := ""
	var cap *capModel
	switch {
	case claim == [32]byte{}:
		return "nobody", nil, nil
	case claim == r.Mailbox && (change == nil || change.Change == envelope.Rotate):
		return "", nil, kindError(fault.Denied)
	case claim == r.Mailbox:
		who = "mailbox"
	case b == nil:
		return "", nil, kindError(fault.NotFound)
	case claim == b.authority:
		who = "authority"
	case claim == b.replaced:
		who = "replaced"
	case slices.Contains(b.past, claim):
		who = "superseded"
	case b.group != nil:
		var err *fault.Error
		if who, cap, err = m.groupWho(b.group, claim); err != nil {
			return "", nil, err
		}
	default:
		return "", nil, kindError(fault.Denied)
	}
	if key == nil || claim != [32]byte(key) {
		return "", nil, kindError(fault.Unauthenticated)
	}
	return who, cap, nil
}

// step is one request under way.
type step struct {
	m       *model
	b       *box
	who     string
	cap     *capModel
	fresh   bool
	born    bool
	retry   bool
	changed bool
	whole   bool
	log     string // what the operation before did to a group's log: "", "again", "new"
	events  []statemachine.Event

	genesisKey [32]byte
}

func (x *step) remembered(h envelope.Hash) *memory {
	for i := range x.b.memory {
		if k := &x.b.memory[i]; k.hash == h && !x.m.dead(k.until) {
			return k
		}
	}
	return nil
}

func (x *step) item(h envelope.Hash) *item {
	for i := range x.b.mail {
		if x.b.mail[i].hash == h {
			return &x.b.mail[i]
		}
	}
	return nil
}

func (x *step) allowed(set envelope.Who) *fault.Error {
	switch {
	case set&envelope.Anyone != 0 && x.who != "mailbox",
		set&envelope.Authority != 0 && x.who == "authority",
		set&envelope.MailboxKey != 0 && x.who == "mailbox",
		set&envelope.AdminKey != 0 && x.who == "authority",
		set&envelope.ReadKey != 0 && (x.who == "reader" || x.who == "old reader"),
		set&envelope.NewestRead != 0 && x.who == "reader",
		set&envelope.WriteKey != 0 && x.who == "writer",
		set&envelope.Replaced != 0 && x.who == "replaced":
		return nil
	case x.who == "nobody":
		return kindError(fault.Unauthenticated)
	case x.who == "replaced" || x.who == "superseded" || x.who == "old reader":
		return staleError(x.b.certs())
	}
	return kindError(fault.Denied)
}

func (x *step) readable(ns envelope.Namespace) *fault.Error {
	if (x.b.group != nil) != (ns >= 16 && ns <= 21) {
		return kindError(fault.Denied)
	}
	if envelope.Public([]envelope.Namespace{ns}) || x.granted(envelope.MayRead, ns) {
		return nil
	}
	rules, _ := envelope.RulesOf(ns)
	return x.allowed(rules.Read)
}

func (x *step) op(op envelope.Op) (res envelope.Result, err *fault.Error) {
	log := x.log
	x.log = ""
	if envelope.CheckOp(op) != nil {
		return res, kindError(fault.Invalid)
	}
	if _, ok := op.(envelope.Info); ok {
		return x.info(), nil
	}
	if x.b == nil {
		return res, kindError(fault.NotFound)
	}
	switch op := op.(type) {
	case envelope.Store:
		return x.store(op)
	case envelope.Retrieve:
		return x.retrieve(op)
	case envelope.RetrieveKey:
		if err := x.readable(op.Namespace); err != nil {
			return res, err
		}
		for _, e := range x.b.mail {
			if e.Namespace == op.Namespace && e.Key == op.Key && !x.m.dead(e.Expiry) {
				return envelope.Result{Seq: e.Seq, Expiry: e.Expiry,
					Envelopes: []envelope.Envelope{e.Envelope}}, nil
			}
		}
		return res, kindError(fault.NotFound)
	case envelope.Delete:
		return x.delete(op)
	case envelope.DeleteBefore:
		return x.deleteBefore(op)
	case envelope.SetAuthority:
		return x.setAuthority(op)
	case envelope.Delegate:
		return x.delegate(op, log)
	case envelope.Revoke:
		return x.revoke(op)
	case envelope.RevokeKeys:
		return x.revokeKeys(op)
	}
	panic("unknown operation")
}

func (x *step) info() envelope.Result {
	i := &envelope.MailboxInfo{QuotaBytes: x.m.quota, Replicas: 3, DirectoryVersion: 7}
	if x.b != nil {
		i.Exists, i.NextSeq, i.Count = true, x.b.seq+1, uint64(len(x.b.mail))
		i.Bytes = size(x.b.mail, func(item) bool { return true })
	}
	res := envelope.Result{Info: i}
	if x.b != nil && x.b.group != nil && x.who != "nobody" {
		res.Running = x.b.group.running
	}
	return res
}

func size(mail []item, counts func(item) bool) (n uint64) {
	for _, e := range mail {
		if counts(e) {
			n += uint64(len(e.Body)) + 64
		}
	}
	return n
}

// expire takes what is due, the earliest first, then by age of the mailbox, then by sequence number.
func (m *model) expire(upTo int64, limit int) (n int, more bool, events []statemachine.Event) {
	upTo = min(upTo, m.clock)
	for limit = max(limit, 1); ; n++ {
		var at int64
		var b *box
		var seq uint64
		earlier := func(t int64, o *box, s uint64) bool {
			return t != 0 && t <= upTo && (b == nil || t < at || t == at && (o.born < b.born ||
				o == b && s < seq))
		}
		for _, o := range m.boxes {
			for _, k := range o.memory {
				if earlier(k.until, o, k.seq) {
					at, b, seq = k.until, o, k.seq
				}
			}
			if earlier(o.idleAt, o, 0) {
				at, b, seq = o.idleAt, o, 0
			}
		}
		if b == nil {
			return n, false, events
		}
		if n >= limit {
			return n, true, events
		}
		x := &step{m: m, b: b}
		drop := false
		if seq == 0 {
			if again := b.signedAt + 400*dayMS; again > upTo {
				b.idleAt = again
				continue
			}
			// A mailbox goes envelope by envelope, so that one command never takes long.
			slices.SortFunc(b.mail, func(a, c item) int {
				if a.Namespace != c.Namespace {
					return int(a.Namespace) - int(c.Namespace)
				}
				return int(a.Seq) - int(c.Seq)
			})
			for n+1 < limit && len(b.mail) > 0 {
				first := b.mail[0].hash
				x.remove(func(e item) bool { return e.hash == first })
				n++
			}
			slices.SortFunc(b.mail, func(a, c item) int { return int(a.Seq) - int(c.Seq) })
			drop = len(b.mail) == 0
		} else {
			for _, k := range b.memory {
				if k.seq == seq {
					x.forget(k.hash)
					break
				}
			}
			drop = b.spent()
		}
		if drop {
			m.boxes = slices.DeleteFunc(m.boxes, func(o *box) bool { return o == b })
			events = append(events, statemachine.Event{Kind: statemachine.Dropped, Mailbox: b.id})
		}
	}
}
