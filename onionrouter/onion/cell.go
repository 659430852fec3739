package onion

// Flags that open a layer.
const (
	flagOnward = 0
	flagMine   = 1
)

// Hop is the key state of a circuit at one node. Forward belongs to one goroutine; Backward and SealOwn to
// another, or under one lock: their order must be the order on the link.
type Hop struct {
	hop      int
	share    []byte // E_j, for SealCreated
	fwd, bwd *chain
}

// Number returns the hop's place on the path, 1 to Hops.
func (h *Hop) Number() int { return h.hop }

// Forward opens the hop's layer of a cell that came from the client's side, in place. If the cell is for this
// hop, mine holds the payload, which aliases cell; otherwise cell is ready for the next link. After an error
// the circuit must end.
func (h *Hop) Forward(cell []byte) (mine []byte, err error) {
	const op = "open cell"
	if len(cell) != CellSize {
		return nil, invalid(op, "has %d bytes, want %d", len(cell), CellSize)
	}
	size := layerSize(CellSize, h.hop)
	if !allZero(cell[size:]) {
		return nil, invalid(op, "has bytes behind its end")
	}
	plain, ok := h.fwd.open(cell[:size], nil)
	if !ok {
		return nil, invalid(op, "does not open")
	}
	switch {
	case plain[0] == flagMine:
		return plain[1:], nil
	case plain[0] == flagOnward && h.hop < Hops:
		copy(cell, plain[1:])
		clear(cell[size-layerOverhead:]) // what was left here would be a channel for marks
		return nil, nil
	}
	return nil, invalid(op, "flag %d at hop %d", plain[0], h.hop)
}

// Backward puts the hop's layer around a cell that came from the storage node's side, in place.
func (h *Hop) Backward(cell []byte) error {
	const op = "seal cell"
	if len(cell) != CellSize || h.hop == Hops {
		return invalid(op, "has %d bytes at hop %d, want %d and a relay", len(cell), h.hop, CellSize)
	}
	inner := layerSize(CellSize, h.hop+1)
	if !allZero(cell[inner:]) {
		return invalid(op, "has bytes behind its end")
	}
	copy(cell[1:], cell[:inner])
	cell[0] = flagOnward
	h.bwd.seal(cell, 1+inner, nil)
	return nil
}

// Own returns the part of a cell into which a hop writes a payload of its own for SealOwn.
func (h *Hop) Own(cell []byte) []byte { return cell[1 : layerSize(CellSize, h.hop)-gcmTag] }

// SealOwn seals the payload in Own(cell) for the client.
func (h *Hop) SealOwn(cell []byte) {
	size := layerSize(CellSize, h.hop)
	clear(cell[size:])
	cell[0] = flagMine
	h.bwd.seal(cell, size-gcmTag, nil)
}

// Circuit is the client's end of a circuit: Seal and Open are independent of each other, each with one
// caller.
type Circuit struct {
	Tag  [TagSize]byte // what requests are signed over
	hops [Hops]circuitHop
}

type circuitHop struct{ fwd, bwd *chain }

// Payload returns the part of a cell into which a payload for the given hop is written before Seal.
func (c *Circuit) Payload(cell []byte, hop int) []byte {
	return cell[hop : hop+layerSize(CellSize, hop)-layerOverhead]
}

// Seal seals the payload in Payload(cell, hop) for that hop. Layers nest towards the front of the cell, so
// nothing moves.
func (c *Circuit) Seal(cell []byte, hop int) {
	for j := hop; j >= 1; j-- {
		b := cell[j-1:]
		b[0] = flagOnward
		if j == hop {
			b[0] = flagMine
		}
		c.hops[j-1].fwd.seal(b, layerSize(CellSize, j)-gcmTag, nil)
	}
}

// Open opens a cell that came back, in place, and returns the hop that speaks and its payload, which aliases
// cell. After an error the circuit must end; hop then is the one whose layer did not open.
func (c *Circuit) Open(cell []byte) (hop int, payload []byte, err error) {
	const op = "open cell"
	if len(cell) != CellSize {
		return 0, nil, invalid(op, "has %d bytes, want %d", len(cell), CellSize)
	}
	layer := cell
	for j := 1; j <= Hops; j++ {
		plain, ok := c.hops[j-1].bwd.open(layer, nil)
		switch {
		case !ok:
			return j, nil, invalid(op, "layer %d does not open", j)
		case plain[0] == flagMine:
			return j, plain[1:], nil
		case plain[0] != flagOnward || j == Hops:
			return j, nil, invalid(op, "layer %d has flag %d", j, plain[0])
		}
		layer = plain[1:]
	}
	panic("unreachable")
}
