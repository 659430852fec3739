package sessionapi

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/ident"
)

func TestListsAreNeverNull(t *testing.T) {
	for name, tc := range map[string]struct {
		doc  any
		want string
	}{
		"devices": {DevicesOf(client.Devices{}), `{"devices":[],"pending":[],"events":[]}`},
		"net": {NetStatusOf(client.NetStatus{}),
			`{"nodes":0,"swarms":0,"version":0,"circuits":[],"clock_skew_ms":0,"notes":[]}`},
		"sync": {SyncStatusOf(client.SyncStatus{Devices: []client.DeviceStatus{{}}}),
			`{"documents":[],"devices":[{"id":"` + ident.DeviceID{}.String() + `","behind":null}]}`},
		"notice": {noticeOf(&client.Notice{Kind: "left"}), `{"kind":"left","members":[]}`},
	} {
		b, err := json.Marshal(tc.doc)
		if err != nil || string(b) != tc.want {
			t.Errorf("%s: got %s (%v), want %s", name, b, err, tc.want)
		}
	}
}

func TestTimersAreSaidAsTheyAreTyped(t *testing.T) {
	for want, timer := range map[string]client.Timer{
		"off": {}, "1h0m0s": {After: time.Hour}, "1h0m0s:read": {After: time.Hour, AfterRead: true},
	} {
		if got := FormatTimer(timer); got != want {
			t.Errorf("%+v: got %q, want %q", timer, got, want)
		}
	}
}

func TestWhatPendingThingsWaitFor(t *testing.T) {
	for _, tc := range []struct {
		kind string
		held bool
		want string
	}{
		{"join", true, WaitsForAdmin}, {"join", false, WaitsForCluster}, {"remove", false, WaitsForCluster},
		{"request", false, WaitsForDevice}, {"request", true, WaitsForApproval}, {"return", true,
			WaitsForApproval},
	} {
		if got := WaitsFor(client.GroupPending{Kind: tc.kind, Held: tc.held}); got != tc.want {
			t.Errorf("%s, held %t: got %s, want %s", tc.kind, tc.held, got, tc.want)
		}
	}
}
