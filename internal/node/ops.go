package node

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

//go:embed status.html
var statusHTML string

var statusPage = template.Must(template.New("status").Parse(statusHTML))

// serveOps answers health, metrics and the status page until ctx ends.
func (p *parts) serveOps(ctx context.Context) error {
	if p.ops == nil {
		<-ctx.Done()
		return nil
	}
	return serveHTTP(ctx, p.ops, p.opsHandler())
}

func (p *parts) opsHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", p.readyz)
	mux.Handle("GET /metrics", promhttp.HandlerFor(p.metrics.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /status.json", p.statusJSON)
	mux.HandleFunc("GET /{$}", p.status)
	return mux
}

// readyz answers 200 while the node serves. With ?verbose it says what is missing, a check per line.
func (p *parts) readyz(w http.ResponseWriter, r *http.Request) {
	err := p.node.Ready()
	if err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	if !r.URL.Query().Has("verbose") {
		if err != nil {
			fmt.Fprintln(w, "not ready")
			return
		}
		fmt.Fprintln(w, "ok")
		return
	}
	p.node.mu.Lock()
	draining := p.node.draining
	p.node.mu.Unlock()
	mark := func(ok bool, name, why string) {
		if ok {
			fmt.Fprintf(w, "[+] %s ok\n", name)
			return
		}
		fmt.Fprintf(w, "[-] %s: %s\n", name, why)
	}
	d, _ := p.cluster.Directory()
	mark(!draining, "running", "the node is shutting down")
	mark(d != nil, "directory", "none with enough signatures yet")
	why := ""
	if err != nil {
		why = err.Error()
	}
	mark(err == nil, "cluster", why)
}

func (p *parts) statusJSON(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(p.node.Status(r.Context()))
}

func (p *parts) status(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	_ = statusPage.Execute(w, p.node.Status(r.Context()))
}

// serveHTTP serves h on l until ctx ends.
func serveHTTP(ctx context.Context, l net.Listener, h http.Handler) error {
	s := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, MaxHeaderBytes: 16 << 10}
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
