package dirstate

import (
	"bytes"
	"reflect"
	"slices"

	"github.com/starling-swarm/starling/internal/directory"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/private"
)

// keepVersions is how many versions may be waiting for signatures. While nodes register one after the other a
// version is overtaken before all have signed it; it may still be the newest that gets enough.
const keepVersions = 8

// State is the replicated directory. One caller at a time.
type State struct {
	cluster ident.ClusterID
	signers []directory.HexKey
	t       int

	founded     bool
	expect      uint16
	wantSwarms  uint16
	replication uint8
	params      directory.Params
	clock       int64 // the latest Now of a command
	nodes       []member
	swarms      []directory.Swarm
	slots       []directory.SlotRange
	recent      []version         // rising; the last is the current one
	signed      *directory.Signed // newest with enough signatures; nil: none
	signedNo    uint64
}

// member is a node as the directory holds it.
type member struct {
	node   directory.Node
	serial uint64
	proof  [32]byte
}

// version is a computed directory that collects signatures.
type version struct {
	number uint64
	body   []byte
	digest [32]byte
	sigs   []directory.Signature // rising signers
}

// Result is what a command did.
type Result struct {
	Version uint64       // the current version after it
	Changed bool         // it made that version
	Signed  bool         // a newer version than before has enough signatures
	Err     *fault.Error // refused: nothing changed
}

// New returns the state of a cluster before its first command.
func New(f *directory.ClusterFile) *State {
	return &State{cluster: f.ID, signers: f.Signers, t: f.T}
}

// Founded reports whether the first command was applied, and how many nodes found the cluster.
func (s *State) Founded() (expect int, ok bool) { return int(s.expect), s.founded }

// Version returns the current version; 0: none.
func (s *State) Version() uint64 {
	if len(s.recent) == 0 {
		return 0
	}
	return s.recent[len(s.recent)-1].number
}

// Signed returns the newest version with enough signatures; nil before the first.
func (s *State) Signed() *directory.Signed { return s.signed }

// Open reports whether nodes that only know the cluster secret may still register.
func (s *State) Open() bool { return !s.founded || len(s.swarms) == 0 }

// Node returns the entry of a node.
func (s *State) Node(id ident.NodeID) (*directory.Node, bool) {
	if i, ok := s.find(id); ok {
		return &s.nodes[i].node, true
	}
	return nil, false
}

// Proofs calls yield with the key and the proof of each node; a member of the directory looks at them before
// it signs.
func (s *State) Proofs(yield func(key, proof [32]byte) bool) {
	for i := range s.nodes {
		if !yield(s.nodes[i].node.Key, s.nodes[i].proof) {
			return
		}
	}
}

// Unsigned returns the current version if the signer has not signed it yet.
func (s *State) Unsigned(signer uint8) (number uint64, body []byte, ok bool) {
	if len(s.recent) == 0 {
		return 0, nil, false
	}
	v := &s.recent[len(s.recent)-1]
	for _, g := range v.sigs {
		if g.Signer == signer {
			return 0, nil, false
		}
	}
	return v.number, v.body, true
}

// IssuedAt returns when the current version was issued, Unix milliseconds.
func (s *State) IssuedAt() int64 { return s.clock }

func (s *State) find(id ident.NodeID) (int, bool) {
	return slices.BinarySearchFunc(s.nodes, id,
		func(m member, id ident.NodeID) int { return bytes.Compare(m.node.ID[:], id[:]) })
}

// Apply carries out one encoded command.
func (s *State) Apply(command []byte) Result {
	c, err := Decode(command)
	if err != nil {
		return s.refuse(err)
	}
	if _, founding := c.(*Found); !s.founded && !founding {
		return s.refuse(fault.New(fault.Unavailable, "apply directory command",
			"the cluster is not founded yet"))
	}
	switch c := c.(type) {
	case *Found:
		return s.found(c)
	case *Register:
		return s.register(c)
	case *Sign:
		return s.sign(c)
	case *Reissue:
		return s.commit(c.Now)
	case *SetParams:
		if c.Params == s.params {
			return s.unchanged()
		}
		s.params = c.Params
		return s.commit(c.Now)
	}
	return s.refuse(fault.New(fault.Internal, "apply directory command", "kind is not handled"))
}

func (s *State) unchanged() Result { return Result{Version: s.Version()} }

func (s *State) refuse(err error) Result {
	e, ok := err.(*fault.Error)
	if !ok {
		e = fault.Wrap(fault.KindOf(err), "apply directory command", err)
	}
	return Result{Version: s.Version(), Err: e}
}

func (s *State) found(c *Found) Result {
	switch {
	case s.founded:
		return s.unchanged()
	case c.Expect == 0 || c.Expect > directory.MaxNodes || c.Swarms == 0 || c.Swarms > directory.MaxSwarms ||
		c.Replication == 0 || c.Replication > directory.MaxReplicas:
		return s.refuse(fault.New(fault.Invalid, "found cluster",
			"%d nodes, %d swarms of %d replicas: out of range", c.Expect, c.Swarms, c.Replication))
	}
	s.founded, s.expect, s.wantSwarms, s.replication, s.params = true, c.Expect, c.Swarms,
		c.Replication, c.Params
	s.clock = max(s.clock, c.Now)
	return s.unchanged() // a version without a node would tell nobody anything
}

func (s *State) register(c *Register) Result {
	d, err := c.Open()
	if err != nil {
		return s.refuse(err)
	}
	op := "register node " + d.Node.ID.Short()
	if d.Cluster != s.cluster {
		return s.refuse(fault.New(fault.Denied, op, "descriptor is for cluster %s, want %s",
			d.Cluster, s.cluster))
	}
	i, listed := s.find(d.Node.ID)
	if !listed {
		if !s.Open() {
			return s.refuse(fault.New(fault.Denied, op,
				"the %d nodes that found the cluster have registered: it is closed to others", s.expect))
		}
		s.nodes = slices.Insert(s.nodes, i, member{node: d.Node, serial: d.Serial, proof: c.Proof})
		if len(s.nodes) >= int(s.expect) {
			s.makeSwarms()
		}
		return s.commit(c.Now)
	}
	m := &s.nodes[i]
	switch {
	case m.node.State == directory.Removed:
		return s.refuse(fault.New(fault.Denied, op, "the node was removed"))
	case d.Serial == m.serial:
		return s.unchanged()
	case d.Serial < m.serial:
		e := fault.New(fault.Stale, op, "serial %d, have %d", d.Serial, m.serial)
		e.Head = m.serial
		return s.refuse(e)
	case d.Node.Incarnation < m.node.Incarnation:
		return s.refuse(fault.New(fault.Denied, op, "incarnation %d, have %d", d.Node.Incarnation,
			m.node.Incarnation))
	}
	m.serial = d.Serial
	d.Node.State = m.node.State
	if reflect.DeepEqual(d.Node, m.node) {
		return s.unchanged()
	}
	m.node = d.Node
	return s.commit(c.Now)
}

func (s *State) sign(c *Sign) Result {
	i := slices.IndexFunc(s.recent, func(v version) bool { return v.number == c.Version })
	if i < 0 {
		return s.unchanged() // overtaken
	}
	v := &s.recent[i]
	op := "sign directory"
	switch {
	case int(c.Signer) >= len(s.signers):
		return s.refuse(fault.New(fault.Invalid, op, "signer %d of %d", c.Signer, len(s.signers)))
	case v.digest != c.Digest:
		return s.refuse(fault.New(fault.Corrupt, op,
			"version %d: signer %d computed digest %x, this member %x", c.Version, c.Signer,
			c.Digest[:4], v.digest[:4]))
	case !directory.VerifySignature(s.signers[c.Signer], v.body, c.Sig):
		return s.refuse(fault.New(fault.Unauthenticated, op, "version %d: signature of signer %d is wrong",
			c.Version, c.Signer))
	}
	at, have := slices.BinarySearchFunc(v.sigs, c.Signer, func(g directory.Signature,
		n uint8) int {
		return int(g.Signer) - int(n)
	})
	if have {
		return s.unchanged()
	}
	v.sigs = slices.Insert(v.sigs, at, directory.Signature{Signer: c.Signer, Sig: c.Sig})
	if len(v.sigs) < s.t || v.number < s.signedNo {
		return s.unchanged()
	}
	newer := v.number > s.signedNo
	s.signed, s.signedNo = &directory.Signed{Body: v.body, Signatures: slices.Clone(v.sigs)}, v.number
	return Result{Version: s.Version(), Signed: newer}
}

// makeSwarms lays out the first swarms over all nodes that store and deals the slots out in equal ranges.
func (s *State) makeSwarms() {
	var nodes []directory.Node
	for _, m := range s.nodes {
		nodes = append(nodes, m.node)
	}
	n := int(s.wantSwarms)
	for i, replicas := range place(n, int(s.replication), nodes) {
		id := ident.SwarmID(i + 1)
		s.swarms = append(s.swarms, directory.Swarm{ID: id, Config: 1, Replicas: replicas})
		s.slots = append(s.slots, directory.SlotRange{
			First: ident.Slot(i * ident.SlotCount / n), Last: ident.Slot((i+1)*ident.SlotCount/n - 1),
			Swarm: id, Config: 1,
		})
	}
}

// commit makes the next version out of the state.
func (s *State) commit(now int64) Result {
	s.clock = max(s.clock, now)
	d := directory.Directory{
		Cluster: s.cluster, Version: s.Version() + 1, IssuedAt: s.clock,
		ValidUntil: s.clock + directory.Validity.Milliseconds(),
		Params:     s.params, Swarms: s.swarms, Slots: s.slots,
	}
	if len(s.recent) > 0 {
		d.Previous = s.recent[len(s.recent)-1].digest
	}
	for i := range s.nodes {
		d.Nodes = append(d.Nodes, s.nodes[i].node)
	}
	body, err := d.Encode()
	if err != nil { // cannot happen while the limits of commands are within those of a directory
		return s.refuse(fault.Wrap(fault.Internal, "make directory version", err))
	}
	if len(s.recent) == keepVersions {
		s.recent = slices.Delete(s.recent, 0, 1)
	}
	s.recent = append(s.recent, version{number: d.Version, body: body, digest: directory.Digest(body)})
	return Result{Version: d.Version, Changed: true}
}

// SignCurrent returns the Sign command of a member for the current version.
func SignCurrent(key private.SigningKey, signer uint8, number uint64, body []byte) *Sign {
	return &Sign{Version: number, Digest: directory.Digest(body), Signer: signer,
		Sig: directory.Sign(key, body)}
}
