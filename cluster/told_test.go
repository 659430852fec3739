package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"google.golang.org/grpc"

	"github.com/starling-swarm/starling/internal/fault"
	pb "github.com/starling-swarm/starling/proto/starling/v1"
)

// pushed keeps the last message of a Follow stream.
type pushed struct {
	grpc.BidiStreamingServer[pb.FollowRequest, pb.FollowResponse]
	last *pb.FollowResponse
}

func (p *pushed) Send(m *pb.FollowResponse) error { p.last = m; return nil }

// Wherever a node answers Internal for an error that it cannot classify, its text is in the log and not in
// the answer.
func TestUnclassifiedErrorsAreLoggedAndNotTold(t *testing.T) {
	var log bytes.Buffer
	c := prepareCluster(t, 1, 1,
		func(_ int, cfg *Config) { cfg.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	n, err := New(c.nodes[0].cfg)
	if err != nil {
		t.Fatal(err)
	}
	stream := new(pushed)
	places := map[string]func(error) string{
		"do": func(err error) string { return fmt.Sprintf("%+v", n.refusal(err).Err()) },
		"forward": func(err error) string {
			return fmt.Sprintf("%+v", n.refuseForwarded(1, err,
				false).Fault)
		},
		"subscribe": func(err error) string { return fmt.Sprintf("%+v", n.told("subscribe", err)) },
		"follow": func(err error) string {
			(&followed{n: n, stream: stream}).end(1, err)
			return stream.last.String()
		},
	}
	for method, answer := range places {
		log.Reset()
		if got := answer(errors.New("disk 7 is on fire")); strings.Contains(got, "on fire") ||
			!strings.Contains(got, "internal error") {
			t.Errorf("%s: the answer is %s, want an internal error without text", method, got)
		}
		if got := log.String(); !strings.Contains(got, "method="+method+` err="disk 7 is on fire"`) {
			t.Errorf("%s: the log has %q, want the method and the error", method, got)
		}
		log.Reset()
		if got := answer(fault.New(fault.Denied, "", "not yours")); !strings.Contains(got, "not yours") ||
			log.Len() != 0 {
			t.Errorf("%s: a classified error: the answer is %s, the log has %q", method, got, &log)
		}
		if got := answer(context.Canceled); !strings.Contains(got, "gave up waiting") || log.Len() != 0 {
			t.Errorf("%s: an ended context: the answer is %s, the log has %q", method, got, &log)
		}
	}
}
