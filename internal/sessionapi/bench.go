package sessionapi

import "time"

// BenchDeliver is how long messages took from Send to the event of an online recipient; kind bench.deliver.
type BenchDeliver struct {
	Cluster string  `json:"cluster"`
	N       int     `json:"n"`
	Size    int     `json:"size"`
	Hops    int     `json:"hops"`
	P50     float64 `json:"p50_ms"`
	P90     float64 `json:"p90_ms"`
	P99     float64 `json:"p99_ms"`
	Max     float64 `json:"max_ms"`
	Mean    float64 `json:"mean_ms"`
}

// BenchStore is how many stores a second a majority of replicas had on disk; kind bench.store.
type BenchStore struct {
	Cluster string          `json:"cluster"`
	Size    int             `json:"size"`
	Via     string          `json:"via"`
	Results []BenchStoreRun `json:"results"`
}

// BenchStoreRun is a run with so many clients at a time.
type BenchStoreRun struct {
	Clients   int     `json:"clients"`
	Stores    int     `json:"stores"`
	Seconds   float64 `json:"seconds"`
	PerSecond float64 `json:"per_second"`
	P50       float64 `json:"p50_ms"`
	P99       float64 `json:"p99_ms"`
}

// BenchFailover is how long people waited while a node was killed; kind bench.failover.
type BenchFailover struct {
	Nodes   int                 `json:"nodes"`
	Rounds  int                 `json:"rounds"`
	Results []BenchFailoverRole `json:"results"`
}

// BenchFailoverRole is over the rounds in which the node with one role was killed.
type BenchFailoverRole struct {
	Role   string            `json:"role"`
	Leads  int               `json:"leads"` // rounds in which the dead node led a swarm of the two
	Stored BenchFailoverWait `json:"stored"`
	Pushed BenchFailoverWait `json:"pushed"`
}

// BenchFailoverWait is over the longest wait of each round.
type BenchFailoverWait struct {
	Median float64 `json:"median_ms"`
	Max    float64 `json:"max_ms"`
}

// BenchGroup is how long messages to a group took, and what a removal cost; kind bench.group.
type BenchGroup struct {
	Cluster  string      `json:"cluster"`
	Form     string      `json:"form"`
	Members  int         `json:"members"`
	Messages int         `json:"messages"`
	Size     int         `json:"size"`
	Hops     int         `json:"hops"`
	Circuits float64     `json:"circuits_s"`
	Fill     float64     `json:"fill_s"`
	Enter    float64     `json:"enter_s"`
	Push     BenchSpread `json:"push"` // each message at each member
	All      BenchSpread `json:"all"`  // each message at the last member
	// one text to the members' inboxes one by one, computed from some
	Pairwise BenchPairwise `json:"pairwise"`
	Removal  BenchRemoval  `json:"removal"`
}

// BenchSpread summarises how long things took.
type BenchSpread struct {
	P50 float64 `json:"p50_ms"`
	P99 float64 `json:"p99_ms"`
	Max float64 `json:"max_ms"`
}

// BenchPairwise is the yardstick of a group: the same text to single inboxes, one after the other.
type BenchPairwise struct {
	Measured int     `json:"measured"` // inboxes
	Each     float64 `json:"mean_ms"`
	All      float64 `json:"all_ms"`   // for as many as there are members
	Ratio    float64 `json:"to_group"` // of all_ms to the median of the group's all
}

// BenchRemoval is what the removal of one member cost.
type BenchRemoval struct {
	Make        float64     `json:"make_ms"`
	Store       float64     `json:"store_ms"`
	AdminBytes  int         `json:"admin_bytes"`
	CommitBytes int         `json:"commit_bytes"` // for every member
	SlotBytes   int         `json:"slot_bytes"`   // for each member
	Renewed     BenchSpread `json:"renewed"`      // members have the new keys
}

// Milliseconds is a duration in JSON, to the microsecond.
func Milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
