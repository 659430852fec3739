package storetest

import (
	"bytes"
	"sort"

	"github.com/starling-swarm/starling/cluster/internal/statemachine"
	"github.com/starling-swarm/starling/internal/envelope"
)

// Memory is the state machine's tables in sorted slices: small, slow, and obviously right.
type Memory struct {
	tables [statemachine.TableCount][]memoryRow
	err    error
}

type memoryRow struct{ key, value []byte }

var _ statemachine.Tx = (*Memory)(nil)

func (m *Memory) find(t statemachine.Table, key []byte) (int, bool) {
	rows := m.tables[t]
	i := sort.Search(len(rows), func(i int) bool { return bytes.Compare(rows[i].key, key) >= 0 })
	return i, i < len(rows) && bytes.Equal(rows[i].key, key)
}

// Get implements statemachine.Reader.
func (m *Memory) Get(t statemachine.Table, key []byte) []byte {
	if i, ok := m.find(t, key); ok {
		return m.tables[t][i].value
	}
	return nil
}

// Next implements statemachine.Reader.
func (m *Memory) Next(t statemachine.Table, from []byte) (key, value []byte) {
	if i, _ := m.find(t, from); i < len(m.tables[t]) {
		return m.tables[t][i].key, m.tables[t][i].value
	}
	return nil, nil
}

// Fail implements statemachine.Reader.
func (m *Memory) Fail(err error) {
	if m.err == nil {
		m.err = err
	}
}

// Put implements statemachine.Tx.
func (m *Memory) Put(t statemachine.Table, key, value []byte) {
	i, ok := m.find(t, key)
	if !ok {
		m.tables[t] = append(m.tables[t], memoryRow{})
		copy(m.tables[t][i+1:], m.tables[t][i:])
	}
	m.tables[t][i] = memoryRow{bytes.Clone(key), append([]byte{}, value...)}
}

// Delete implements statemachine.Tx.
func (m *Memory) Delete(t statemachine.Table, key []byte) {
	if i, ok := m.find(t, key); ok {
		m.tables[t] = append(m.tables[t][:i], m.tables[t][i+1:]...)
	}
}

// Err returns the damage that the state machine met; nil in a sound program.
func (m *Memory) Err() error { return m.err }

// Rows returns every row as table | key | value, in order: what two equal states agree on.
func (m *Memory) Rows() [][]byte {
	var out [][]byte
	for t, rows := range m.tables {
		for _, r := range rows {
			out = append(out, bytes.Join([][]byte{{byte(t), byte(len(r.key))}, r.key, r.value}, nil))
		}
	}
	return out
}

// Apply implements Core.
func (m *Memory) Apply(command []byte) statemachine.Result {
	return statemachine.New(m).Apply(command)
}

// Read implements Core.
func (m *Memory) Read(in statemachine.Ingress, r *envelope.Request) (*envelope.Response, bool) {
	return statemachine.NewView(m).Read(&in, r)
}
