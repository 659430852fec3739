package node

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/starling-swarm/starling/internal/fault"
)

// maxAdminBody bounds requests and answers on the admin socket.
const maxAdminBody = 16 << 20

// Fault is a state of the test switch of a node.
type Fault struct {
	Cut     bool    `json:"cut"`      // isolated from the other nodes
	DelayMS int64   `json:"delay_ms"` // added to what it sends to them
	Loss    float64 `json:"loss"`     // share of packets lost, 0 to 1
}

// serveAdmin answers swarmd's own verbs on the Unix socket, HTTP with JSON, until ctx ends. Who can open the
// socket is the operator: its mode is 0600.
func (p *parts) serveAdmin(ctx context.Context) error {
	if p.admin == nil {
		<-ctx.Done()
		return nil
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", p.statusJSON)
	mux.HandleFunc("GET /v1/ready", p.readyz)
	mux.HandleFunc("POST /v1/fault", p.setFault)
	return serveHTTP(ctx, p.admin, mux)
}

// setFault sets the test switch. Without test_faults in the configuration there is none.
func (p *parts) setFault(w http.ResponseWriter, r *http.Request) {
	if !p.node.cfg.TestFaults {
		http.Error(w, "test_faults is not set in this node's configuration", http.StatusForbidden)
		return
	}
	var f Fault
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4096))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil || f.DelayMS < 0 || f.Loss < 0 || f.Loss > 1 {
		http.Error(w, "want {cut, delay_ms, loss}", http.StatusBadRequest)
		return
	}
	p.node.faults.SetDelay(time.Duration(f.DelayMS)*time.Millisecond, f.Loss)
	p.node.faults.Cut(f.Cut)
	p.node.log.Warn("test switch set", "cut", f.Cut, "delay_ms", f.DelayMS, "loss", f.Loss)
	w.WriteHeader(http.StatusNoContent)
}

// Admin speaks to a node over its admin socket, or read-only over its ops listener.
type Admin struct {
	base string
	http *http.Client
}

// DialAdmin returns a client of the admin socket at path. It connects at the first call.
func DialAdmin(path string) *Admin {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}
	return &Admin{base: "http://admin/v1/", http: &http.Client{Transport: &http.Transport{DialContext: dial,
		DisableKeepAlives: true}}}
}

// DialOps returns a client of the ops listener at addr, which knows Status and Health only.
func DialOps(addr string) *Admin {
	return &Admin{base: "http://" + addr + "/",
		http: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}
}

// Status returns what the node knows of its cluster. Errors: Unavailable when no node answers there.
func (a *Admin) Status(ctx context.Context) (*Status, error) {
	path := "status"
	if a.base != "http://admin/v1/" {
		path = "status.json"
	}
	body, err := a.call(ctx, http.MethodGet, path, nil)
	if err != nil {
		return nil, err
	}
	s := new(Status)
	if err := json.Unmarshal(body, s); err != nil {
		return nil, fault.Wrap(fault.Corrupt, "read status", err)
	}
	return s, nil
}

// SetFault sets the node's test switch. Errors: Denied without test_faults in its configuration.
func (a *Admin) SetFault(ctx context.Context, f Fault) error {
	body, err := json.Marshal(f)
	if err != nil {
		return err
	}
	_, err = a.call(ctx, http.MethodPost, "fault", body)
	return err
}

// Live and Ready ask an ops listener; they return its answer, and an error when it is no.
func (a *Admin) Live(ctx context.Context) (string, error)  { return a.health(ctx, "livez") }
func (a *Admin) Ready(ctx context.Context) (string, error) { return a.health(ctx, "readyz?verbose") }

func (a *Admin) health(ctx context.Context, path string) (string, error) {
	body, err := a.call(ctx, http.MethodGet, path, nil)
	return string(body), err
}

func (a *Admin) call(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	op := "ask node"
	req, err := http.NewRequestWithContext(ctx, method, a.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, op, err)
	}
	res, err := a.http.Do(req)
	if err != nil {
		return nil, fault.Wrap(fault.Unavailable, op, err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAdminBody))
	if err != nil {
		return nil, fault.Wrap(fault.Unavailable, op, err)
	}
	kind := fault.Kind(0)
	switch res.StatusCode {
	case http.StatusOK, http.StatusNoContent:
		return answer, nil
	case http.StatusForbidden:
		kind = fault.Denied
	case http.StatusServiceUnavailable:
		return answer, fault.New(fault.Unavailable, op, "it is not ready")
	default:
		kind = fault.Invalid
	}
	return nil, fault.New(kind, op, "%s", bytes.TrimSpace(answer[:min(len(answer), 300)]))
}
