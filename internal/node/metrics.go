package node

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/starling-swarm/starling/internal/cli"
)

// metricsEvery bounds how often scrapes make this node ask the others for their status.
const metricsEvery = 5 * time.Second

// metrics are what Prometheus reads. No label names a person, a mailbox or a client address.
type metrics struct {
	registry *prometheus.Registry
	parts    *parts

	mu   sync.Mutex
	at   time.Time
	last Status
}

var (
	descReady   = desc("ready", "1 while the node serves")
	descVersion = desc("directory_version", "version of the newest directory of this node")
	descValid   = desc("directory_valid_seconds", "time until the newest directory expires")
	descNodes   = desc("nodes", "nodes by state and whether they are reachable", "state", "reachable")
	descHosted  = desc("swarm_replicas", "replicas of a swarm that answered; swarm 0 is the directory",
		"swarm")
	descLeader  = desc("swarm_has_leader", "1 if a leader of the swarm is known", "swarm")
	descLeads   = desc("swarm_leader", "1 if this node leads the swarm", "swarm")
	descApplied = desc("swarm_applied_index", "log position that this node's replica has applied", "swarm")
	descLag     = desc("swarm_lag_entries", "log entries that this node's replica is behind the furthest",
		"swarm")
	descDisk      = desc("disk_bytes", "bytes of the data directory")
	descProblems  = desc("problems", "problems that swarmd status lists")
	descCircuits  = desc("circuits", "circuits through or ending at this node now")
	descCreates   = desc("creates_total", "create packets by result", "result")
	descBuildInfo = desc("build_info", "version of this binary", "version", "go")
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("swarmd_"+name, help, labels, nil)
}

func newMetrics(p *parts) *metrics {
	m := &metrics{registry: prometheus.NewRegistry(), parts: p}
	m.registry.MustRegister(m, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Describe says which metrics there are.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descReady, descVersion, descValid, descNodes, descHosted,
		descLeader, descLeads,
		descApplied, descLag, descDisk, descProblems, descCircuits, descCreates, descBuildInfo} {
		ch <- d
	}
}

// Collect gives their values.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	s := m.status()
	relay := m.parts.router.Stats()
	gauge(descCircuits, float64(relay.Circuits))
	for result, n := range map[string]uint64{"served": relay.Created, "refused": relay.Refused,
		"failed": relay.Failed} {
		ch <- prometheus.MustNewConstMetric(descCreates, prometheus.CounterValue, float64(n), result)
	}
	v := cli.ReadVersion()
	gauge(descBuildInfo, 1, v.Version, v.Go)
	gauge(descReady, oneIf(s.Ready))
	gauge(descVersion, float64(s.DirectoryVersion))
	gauge(descDisk, float64(s.DiskBytes))
	gauge(descProblems, float64(len(s.Problems)))
	if s.ValidUntil != 0 {
		gauge(descValid, time.Until(time.UnixMilli(s.ValidUntil)).Seconds())
	}
	type class struct{ state, reachable string }
	classes := make(map[class]int)
	for _, n := range s.Nodes {
		reachable := "no"
		if n.Reachable {
			reachable = "yes"
		}
		classes[class{n.State, reachable}]++
	}
	for c, count := range classes {
		gauge(descNodes, float64(count), c.state, c.reachable)
	}
	for _, sw := range s.Swarms {
		id := strconv.FormatUint(uint64(sw.ID), 10)
		known := 0
		for _, r := range sw.Replicas {
			if r.Known {
				known++
			}
			if r.Node == s.Node && r.Known {
				gauge(descLeads, oneIf(r.Leader), id)
				gauge(descApplied, float64(r.Applied), id)
				gauge(descLag, float64(r.Lag), id)
			}
		}
		gauge(descHosted, float64(known), id)
		gauge(descLeader, oneIf(sw.Leader != ""), id)
	}
}

// status returns a status that is at most metricsEvery old.
func (m *metrics) status() Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.at.IsZero() || time.Since(m.at) > metricsEvery {
		m.last, m.at = m.parts.node.Status(context.Background()), time.Now()
	}
	return m.last
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
