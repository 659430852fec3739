package bench

import (
	"log/slog"
	"path/filepath"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/directory"
)

// hops is how many relays every message goes through.
const hops = 3

// Run is where benchmarks measure. Set all fields before the first call. Errors of its methods are those of
// the clients, and that of ctx.
type Run struct {
	Cluster *directory.ClusterFile
	Where   string // the cluster in words, for the documents
	Dir     string // for the stores of clients; the caller removes it
	Logger  *slog.Logger
	Waiting func(what string) (stop func()) // is told what is under way
}

// config is the configuration of a client whose store is called name.
func (r *Run) config(name string) client.Config {
	return client.Config{Dir: filepath.Join(r.Dir, name), Cluster: r.Cluster, Label: "bench",
		Logger: r.Logger}
}
