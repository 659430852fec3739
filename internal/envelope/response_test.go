package envelope_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
)

func fullResponse() *envelope.Response {
	return &envelope.Response{
		Clock: 1, CertsHead: 2, Failed: -1,
		Results: []envelope.Result{
			{Seq: 3, Expiry: 4, Existed: true},
			{Deleted: 5},
			{Seq: 6, More: true, Envelopes: []envelope.Envelope{{Seq: 7, Namespace: 8, Key: [16]byte{9},
				StoredAt: 10, Expiry: 11, Body: []byte("body")}}},
			{Info: &envelope.MailboxInfo{Exists: true, NextSeq: 12, Bytes: 13, Count: 14, QuotaBytes: 15,
				StampDifficulty: 16, Replicas: 17, DirectoryVersion: 18}},
			{Err: &fault.Error{Kind: fault.Stale, Detail: "lost", Head: 19, Version: 20,
				RetryAfter: 21 * time.Millisecond}},
		},
	}
}

func TestResponseRoundTrip(t *testing.T) {
	for name, r := range map[string]*envelope.Response{
		"full":    fullResponse(),
		"refused": envelope.Refuse(fault.New(fault.Limited, "", "full")),
		"failed": {Failed: envelope.MaxOps - 1,
			Results: []envelope.Result{{Err: &fault.Error{Kind: fault.Denied}}}},
	} {
		p := r.Encode()
		got, err := envelope.DecodeResponse(p)
		if err != nil || !reflect.DeepEqual(got, r) {
			t.Errorf("%s: got %+v (%v), want %+v", name, got, err, r)
		}
		for n := range p {
			if _, err := envelope.DecodeResponse(p[:n]); !errors.Is(err, fault.Invalid) {
				t.Errorf("%s cut to %d bytes: got %v, want invalid", name, n, err)
			}
		}
		if _, err := envelope.DecodeResponse(append(p, 0)); !errors.Is(err, fault.Invalid) {
			t.Errorf("%s with a byte more: got %v, want invalid", name, err)
		}
	}
}

func TestResponseVector(t *testing.T) {
	zeros := func(n int) string { return strings.Repeat("00", n) }
	want := "01" + "0000000000000001" + "0000000000000002" + "00" + "05" +
		"00" + "01" + "0000000000000003" + "0000000000000004" + "00000000" + "0000" +
		"00" + "00" + zeros(16) + "00000005" + "0000" +
		"00" + "02" + "0000000000000006" + zeros(8) + "00000000" + "0001" +
		"0000000000000007" + "0008" + "09" + zeros(15) + "000000000000000a" + "000000000000000b" +
		"000004" + "626f6479" +
		"00" + "04" + zeros(16) + "00000000" + "0000" + "01" + "000000000000000c" + "000000000000000d" +
		"000000000000000e" + "000000000000000f" + "10" + "11" + "0000000000000012" +
		"06" + "00000015" + "0000000000000013" + "0000000000000014" + "04" + "6c6f7374"
	if got := hex.EncodeToString(fullResponse().Encode()); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestMalformedResponsesAreInvalid(t *testing.T) {
	good := fullResponse().Encode()
	for name, at := range map[string]struct {
		pos int
		b   byte
	}{
		"version 2": {0, 2}, "failed at 24": {17, envelope.MaxOps + 1}, "25 results": {18,
			envelope.MaxOps + 1},
		"unknown kind": {19, 12}, "unknown flag": {20, 8}, "envelopes that are not there": {20 + 1 + 16 + 4,
			0xff},
	} {
		p := bytes.Clone(good)
		p[at.pos] = at.b
		if _, err := envelope.DecodeResponse(p); !errors.Is(err, fault.Invalid) {
			t.Errorf("%s: got %v, want invalid", name, err)
		}
	}
}

func TestErrorsTravelWithoutTheirCause(t *testing.T) {
	e := &fault.Error{Kind: fault.Internal, Op: "open /var/lib/secret", Detail: strings.Repeat("x", 300),
		Cause: errors.New("secret"), RetryAfter: -time.Second}
	got, err := envelope.DecodeFault(envelope.EncodeFault(e))
	if err != nil {
		t.Fatal(err)
	}
	if got.Kind != fault.Internal || got.Detail != strings.Repeat("x", envelope.MaxDetail) ||
		got.Cause != nil || got.Op != "" || got.RetryAfter != 0 {
		t.Errorf("got %+v, want kind and a detail of %d bytes only", got, envelope.MaxDetail)
	}
	for _, p := range [][]byte{nil, {0}, {99}, envelope.EncodeFault(e)[:10],
		append(envelope.EncodeFault(e), 0)} {
		if _, err := envelope.DecodeFault(p); !errors.Is(err, fault.Invalid) {
			t.Errorf("fault %x: got %v, want invalid", p, err)
		}
	}
}

func TestEncodedSizeIsWhatEncodeGives(t *testing.T) {
	e := fullResponse().Results[2].Envelopes[0]
	if got, want := e.EncodedSize(), len(e.Encode()); got != want {
		t.Errorf("got %d, want %d", got, want)
	}
}

func FuzzDecodeResponse(f *testing.F) {
	f.Add(fullResponse().Encode())
	f.Fuzz(func(t *testing.T, p []byte) {
		r, err := envelope.DecodeResponse(p)
		if err == nil && !bytes.Equal(r.Encode(), p) {
			t.Errorf("response %x decodes but does not encode to itself", p)
		}
	})
}

func FuzzDecodeEnvelope(f *testing.F) {
	f.Add(fullResponse().Results[2].Envelopes[0].Encode())
	f.Fuzz(func(t *testing.T, p []byte) {
		e, err := envelope.DecodeEnvelope(p)
		if err == nil && !bytes.Equal(e.Encode(), p) {
			t.Errorf("envelope %x decodes but does not encode to itself", p)
		}
	})
}

func FuzzDecodeFault(f *testing.F) {
	f.Add(envelope.EncodeFault(fault.New(fault.Denied, "", "no")))
	f.Fuzz(func(t *testing.T, p []byte) {
		e, err := envelope.DecodeFault(p)
		if err == nil && !bytes.Equal(envelope.EncodeFault(e), p) {
			t.Errorf("fault %x decodes but does not encode to itself", p)
		}
	})
}
