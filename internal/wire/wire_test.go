package wire

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	pb "github.com/starling-swarm/starling/proto/starling/v1"
)

func TestMessagesRoundTrip(t *testing.T) {
	request := &Request{ID: 1, Swarm: 2, Tag: [32]byte{3}, Signed: []byte("signed"), Timeout: 4 * time.Second}
	check(t, request, func() (*Request, error) { return ReadRequest(RequestProto(request)) })
	for _, a := range []*Answer{
		{ID: 1, Response: []byte("r")},
		{ID: 2, Fault: &fault.Error{Kind: fault.Limited, Detail: "full", RetryAfter: time.Second, Head: 3,
			Version: 4}, NotLeader: true},
	} {
		check(t, a, func() (*Answer, error) { return ReadAnswer(AnswerProto(a)) })
	}
	for _, f := range []*Follow{
		{ID: 1, Open: &Subscription{Swarm: 2, Tag: [32]byte{3}, Signed: []byte("s"), Cursor: 4}}, {ID: 2,
			Credit: 5}, {ID: 3, Close: true},
	} {
		check(t, f, func() (*Follow, error) { return ReadFollow(FollowProto(f)) })
	}
	for _, p := range []*Push{{ID: 1, Envelope: []byte("e")},
		{ID: 2, End: &fault.Error{Kind: fault.Stale, Head: 9}}} {
		check(t, p, func() (*Push, error) { return ReadPush(PushProto(p)) })
	}
	status := &NodeStatus{
		DirectoryVersion: 1, DiskBytes: 2, Now: time.UnixMilli(3), Problems: []string{"p"},
		Groups: []GroupStatus{{Group: 1, Leads: true, Leader: ident.NodeID{1}, Applied: 2, Committed: 3},
			{Group: 2}},
	}
	check(t, status, func() (*NodeStatus, error) { return ReadStatus(StatusProto(status)) })
}

func check[T any](t *testing.T, want *T, read func() (*T, error)) {
	t.Helper()
	got, err := read()
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
}

func TestReadersRefuseWhatACorrectPeerNeverSends(t *testing.T) {
	long := make([]byte, maxSigned+1)
	tag := make([]byte, 32)
	_, tagErr := ReadRequest(&pb.ForwardRequest{Tag: tag[:31]})
	_, bodyErr := ReadRequest(&pb.ForwardRequest{Tag: tag, Signed: long})
	_, answerErr := ReadAnswer(&pb.ForwardResponse{})
	_, actionErr := ReadFollow(&pb.FollowRequest{})
	_, openErr := ReadFollow(&pb.FollowRequest{Action: &pb.FollowRequest_Open{Open: &pb.FollowOpen{Tag: tag,
		Signed: long}}})
	_, nilErr := ReadFollow(&pb.FollowRequest{Action: &pb.FollowRequest_Open{}})
	_, eventErr := ReadPush(&pb.FollowResponse{})
	_, leaderErr := ReadStatus(&pb.StatusResponse{Groups: []*pb.GroupStatus{{LeaderNode: tag[:5]}}})
	_, groupsErr := ReadStatus(&pb.StatusResponse{Groups: make([]*pb.GroupStatus, maxGroups+1)})
	for name, err := range map[string]error{
		"short tag": tagErr, "long request": bodyErr, "answer without outcome": answerErr,
		"follow without action": actionErr,
		"long subscription":     openErr, "subscription without fields": nilErr,
		"push without event":       eventErr,
		"leader of the wrong size": leaderErr, "too many groups": groupsErr,
	} {
		if !errors.Is(err, fault.Invalid) {
			t.Errorf("%s: got %v, want invalid", name, err)
		}
	}
	if e := Fault(&pb.Fault{Kind: 300}); e.Kind != fault.Internal {
		t.Errorf("unknown kind: got %v, want internal", e.Kind)
	}
	if p := FaultProto(&fault.Error{Kind: fault.Invalid, Detail: string(long),
		RetryAfter: -1}); len(p.GetDetail()) > 255 || p.GetRetryAfterMs() != 0 {
		t.Errorf("got %d bytes of detail and retry after %d, want at most 255 and 0", len(p.GetDetail()),
			p.GetRetryAfterMs())
	}
}

func FuzzReaders(f *testing.F) {
	seed, _ := proto.Marshal(FollowProto(&Follow{ID: 1, Open: &Subscription{Signed: []byte("s")}}))
	f.Add(seed)
	seed, _ = proto.Marshal(AnswerProto(&Answer{ID: 1, Fault: &fault.Error{Kind: fault.Stale}}))
	f.Add(seed)
	f.Fuzz(func(t *testing.T, b []byte) {
		var request pb.ForwardRequest
		if proto.Unmarshal(b, &request) == nil {
			_, _ = ReadRequest(&request)
		}
		var answer pb.ForwardResponse
		if proto.Unmarshal(b, &answer) == nil {
			if a, err := ReadAnswer(&answer); err == nil && a.Fault != nil && !a.Fault.Kind.Valid() {
				t.Errorf("got kind %d", a.Fault.Kind)
			}
		}
		var follow pb.FollowRequest
		if proto.Unmarshal(b, &follow) == nil {
			_, _ = ReadFollow(&follow)
		}
		var push pb.FollowResponse
		if proto.Unmarshal(b, &push) == nil {
			_, _ = ReadPush(&push)
		}
		var status pb.StatusResponse
		if proto.Unmarshal(b, &status) == nil {
			_, _ = ReadStatus(&status)
		}
	})
}
