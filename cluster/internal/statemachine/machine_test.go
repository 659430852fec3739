package statemachine_test

import (
	"crypto/ed25519"
	"fmt"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"github.com/starling-swarm/starling/cluster/internal/mailstore/storetest"
	"github.com/starling-swarm/starling/cluster/internal/statemachine"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

var (
	node = ident.NodeID{1}
	tag  = [32]byte{2}
)

// TestRandomHistoriesMatchModel runs random histories through the state machine and through the naive model:
// every answer, every event and every clock must be equal, and the tables must agree with each other at the
// end.
func TestRandomHistoriesMatchModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := newHistory(t)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			if rapid.IntRange(0, 9).Draw(t, "kind") < 8 {
				h.request(t)
			} else {
				h.expire(t)
			}
			if err := h.real.Err(); err != nil {
				t.Fatalf("the state machine met damage: %v", err)
			}
		}
		if err := statemachine.Audit(h.real); err != nil {
			t.Fatalf("audit after the history: %v", err)
		}
	})
}

type history struct {
	real     *storetest.Memory
	model    *model
	now      int64
	accounts []*storetest.Account
}

func newHistory(t *rapid.T) *history {
	h := &history{real: new(storetest.Memory), now: storetest.Epoch}
	h.model = &model{quota: uint64(rapid.SampledFrom([]int{300, 1 << 20}).Draw(t, "quota"))}
	for i := range 2 {
		h.accounts = append(h.accounts, storetest.NewAccount(fmt.Sprintf("history %d", i)))
	}
	cfg := &statemachine.Config{Stamp: h.stamp(t), Number: 1, DirectoryVersion: 7, QuotaBytes: h.model.quota,
		Replicas: 3, Slots: statemachine.AllSlots()}
	h.real.Apply(statemachine.EncodeCommand(cfg))
	h.model.tick(cfg.Stamp)
	for _, a := range h.accounts {
		if rapid.IntRange(0, 4).Draw(t, "genesis") > 0 {
			h.compare(t, a.Genesis(), a.MailboxKey())
		}
	}
	return h
}

// stamp moves the leader's clock on, or back, by little or much.
func (h *history) stamp(t *rapid.T) statemachine.Stamp {
	h.now += int64(rapid.SampledFrom([]int{0, 0, 0, 1, 5_000, 20_000, -3_000, dayMS, 16 * dayMS,
		61 * dayMS}).Draw(t, "pause"))
	return statemachine.Stamp{Time: h.now, Allowance: rapid.SampledFrom([]uint32{1<<32 - 1, 1<<32 - 1,
		1<<32 - 1, 2000}).Draw(t, "allowance")}
}

func (h *history) expire(t *rapid.T) {
	if rapid.IntRange(0, 19).Draw(t, "long") == 0 {
		h.now += 401 * dayMS
	}
	e := &statemachine.Expire{Stamp: h.stamp(t), UpTo: h.now, Max: rapid.Uint32Range(0, 5).Draw(t, "max")}
	got := h.real.Apply(statemachine.EncodeCommand(e))
	h.model.tick(e.Stamp)
	n, more, events := h.model.expire(e.UpTo, int(e.Max))
	want := statemachine.Result{Expired: n, More: more, Events: events}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("expire up to %d:\n got %+v\nwant %+v", e.UpTo, got, want)
	}
}

func (h *history) request(t *rapid.T) {
	a := rapid.SampledFrom(h.accounts).Draw(t, "account")
	keys := []ed25519.PrivateKey{nil, nil, a.Authority(1), a.Authority(1), a.Authority(1), a.Authority(2),
		a.Authority(3), a.MailboxKey(), storetest.NewAccount("stranger").MailboxKey()}
	if b := h.model.find(a.Mailbox()); b != nil {
		for g := 1; g <= 3; g++ {
			if [32]byte(a.Authority(g).Public().(ed25519.PublicKey)) == b.authority {
				keys = append(keys, a.Authority(g), a.Authority(g), a.Authority(g), a.Authority(g))
			}
		}
	}
	key := rapid.SampledFrom(keys).Draw(t, "key")
	var r *envelope.Request
	switch rapid.IntRange(0, 9).Draw(t, "shape") {
	case 0:
		change := rapid.SampledFrom([]envelope.AuthorityChange{envelope.Genesis, envelope.Rotate,
			envelope.Recover}).Draw(t, "change")
		head := uint64(0)
		if b := h.model.find(a.Mailbox()); b != nil && rapid.IntRange(0, 3).Draw(t, "at head") > 0 {
			head = b.heads[envelope.Certs]
		}
		generation := rapid.IntRange(1, 3).Draw(t, "generation")
		r = a.Change(change, generation, head)
		if key = a.MailboxKey(); change == envelope.Rotate {
			key = a.Authority(generation - 1)
		}
	default:
		r = a.Request(key)
		r.Mode = rapid.SampledFrom([]envelope.Mode{envelope.All, envelope.Each}).Draw(t, "mode")
		for range rapid.SampledFrom([]int{1, 1, 1, 2, 4}).Draw(t, "ops") {
			r.Ops = append(r.Ops, h.op(t, a))
		}
	}
	if rapid.IntRange(0, 29).Draw(t, "forged") == 0 {
		key = nil
	}
	h.compare(t, r, key)
}

func (h *history) op(t *rapid.T, a *storetest.Account) envelope.Op {
	spaces := []envelope.Namespace{envelope.Inbox, envelope.Inbox, envelope.Certs, envelope.Days,
		envelope.Devices, envelope.Vault, envelope.Sync, envelope.Contest, envelope.Blobs,
		envelope.Application + 1, 99}
	ns := rapid.SampledFrom(spaces).Draw(t, "namespace")
	rules, _ := envelope.RulesOf(ns)
	draw := func() envelope.Store {
		st := envelope.Store{Namespace: ns,
			Body: []byte(rapid.SampledFrom([]string{"a", "b", "c", "longer"}).Draw(t, "body"))}
		if rules.Keyed {
			st.Key = storetest.Key(rapid.SampledFrom([]string{"x", "y"}).Draw(t, "key"))
		}
		st.TTL = rapid.SampledFrom([]uint32{0, uint32(rules.MinTTL.Seconds()), uint32(rules.MaxTTL.Seconds()),
			1 << 31}).Draw(t, "ttl")
		if rapid.Bool().Draw(t, "right ttl") {
			if st.TTL = uint32(rules.MinTTL.Seconds()); rules.TTLOnly0 {
				st.TTL = 0
			}
		}
		if rules.Conditional || rapid.IntRange(0, 4).Draw(t, "conditional") == 0 {
			st.IfHead = new(rapid.Uint64Range(0, 4).Draw(t, "if head"))
		}
		if rapid.IntRange(0, 6).Draw(t, "if certs set") == 0 {
			st.IfCerts = new(rapid.Uint64Range(0, 2).Draw(t, "if certs"))
		}
		return st
	}
	switch rapid.IntRange(0, 9).Draw(t, "op") {
	case 0:
		return envelope.Retrieve{Namespaces: []envelope.Namespace{ns}, After: rapid.Uint64Range(0, 9).Draw(t,
			"after"), MaxCount: rapid.Uint16Range(0, 2).Draw(t, "count"),
			MaxBytes: rapid.SampledFrom([]uint32{0, 1, 100}).Draw(t, "bytes")}
	case 1:
		return envelope.Retrieve{Namespaces: []envelope.Namespace{envelope.Certs, envelope.Inbox,
			envelope.Devices, envelope.Sync}[rapid.IntRange(0, 3).Draw(t, "first"):]}
	case 2:
		st := draw()
		return envelope.RetrieveKey{Namespace: ns, Key: st.Key}
	case 3:
		d := envelope.Delete{Required: rapid.Bool().Draw(t, "required"),
			Namespace: rapid.SampledFrom([]envelope.Namespace{0, ns}).Draw(t, "where")}
		for range rapid.IntRange(1, 2).Draw(t, "hashes") {
			if b := h.model.find(a.Mailbox()); b != nil && len(b.mail) > 0 &&
				rapid.IntRange(0, 3).Draw(t, "known") > 0 {
				d.Hashes = append(d.Hashes, rapid.SampledFrom(b.mail).Draw(t, "victim").hash)
				continue
			}
			st := draw()
			d.Hashes = append(d.Hashes, envelope.HashOf(a.Mailbox(), ns, st.Key, st.Body))
		}
		return d
	case 4:
		return envelope.DeleteBefore{Namespace: rapid.SampledFrom([]envelope.Namespace{0, ns}).Draw(t,
			"where"), Before: rapid.SampledFrom([]int64{0, h.now, 1<<63 - 1}).Draw(t, "before")}
	case 5:
		return envelope.Info{}
	}
	return draw()
}

// compare runs one request through both and compares the answers but for the texts of errors.
func (h *history) compare(t *rapid.T, r *envelope.Request, key ed25519.PrivateKey) {
	stamp := h.stamp(t)
	raw := r.Encode()
	in := statemachine.Ingress{Node: node, Tag: tag, Signed: storetest.Signer(envelope.LabelRequest,
		key)(node, tag, h.now, raw)}
	if key != nil && r.Authority == [32]byte{} {
		key = nil
	}
	h.model.tick(stamp)
	in.Signed.TimeMS = max(h.now, h.model.clock)
	if key != nil {
		in.Signed = storetest.Signer(envelope.LabelRequest, key)(node, tag, in.Signed.TimeMS, raw)
	}
	got := h.real.Apply(statemachine.EncodeCommand(&statemachine.Request{Stamp: stamp, Ingress: in}))
	var signer ed25519.PublicKey
	if key != nil {
		signer = key.Public().(ed25519.PublicKey)
	}
	resp, events := h.model.request(r, signer)
	want := statemachine.Result{Response: resp, Events: events}
	strip(got.Response)
	strip(want.Response)
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("request %+v:\n got %+v\n     %+v\nwant %+v\n     %+v", r, got.Response, got.Events,
			want.Response, want.Events)
	}
	if r.ReadOnly() {
		read, _ := h.real.Read(in, r)
		if strip(read); !reflect.DeepEqual(read, resp) {
			t.Fatalf("read %+v:\n got %+v\nwant %+v", r, read, resp)
		}
	}
}

func strip(r *envelope.Response) {
	for i := range r.Results {
		if e := r.Results[i].Err; e != nil {
			r.Results[i].Err = &fault.Error{Kind: e.Kind, Head: e.Head}
		}
	}
}
