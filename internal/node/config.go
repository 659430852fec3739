package node

import (
	"reflect"
	"time"
)

// Config is everything that one node is told. The yaml file, the environment (SWARMD_LISTEN_CLIENT) and flags
// (--listen.client) use the same names. Paths in a file are relative to that file.
type Config struct {
	Name            string        `koanf:"name" doc:"what logs and the status page call this node"`
	ClusterFile     string        `koanf:"cluster_file" doc:"path of the cluster file (cluster.json)"`
	DataDir         string        `koanf:"data_dir" doc:"directory of everything the node stores; created if missing"`
	IdentityFile    string        `koanf:"identity_file" doc:"path of the node's private key; made at first start if missing"`
	SecretFile      string        `koanf:"secret_file" doc:"path of the cluster secret, the same for all nodes"`
	BootstrapExpect int           `koanf:"bootstrap_expect" doc:"nodes that must have registered before the first swarms are made; the same for all nodes"`
	Incarnation     int           `koanf:"incarnation" doc:"raise it by one when the node lost its data directory but keeps its key; it then comes back as a new replica"`
	Join            []string      `koanf:"join" doc:"gossip addresses of other nodes, host:port; names are resolved at every try"`
	Roles           []string      `koanf:"roles" doc:"what the node does: directory, storage, relay; directory is for signers of the cluster file"`
	Zone            string        `koanf:"zone" doc:"failure zone; replicas of a swarm and hops of a path prefer distinct ones"`
	Operator        string        `koanf:"operator" doc:"who runs the node; hops of a path prefer distinct operators"`
	Weight          int           `koanf:"weight" doc:"capacity for placement and path choice, 1 to 10000; 100 is normal"`
	Listen          Listen        `koanf:"listen"`
	Advertise       Advertise     `koanf:"advertise"`
	AllowLoopback   bool          `koanf:"allow_loopback" doc:"let nodes advertise loopback addresses to each other (all on one machine)"`
	AdminSocket     string        `koanf:"admin_socket" doc:"path of the Unix socket for swarmd's own verbs; at most 100 bytes"`
	Swarms          int           `koanf:"swarms" doc:"swarms to make at bootstrap; 0 is the larger of 3 and bootstrap_expect"`
	Replication     int           `koanf:"replication" doc:"replicas of a swarm, 1 to 7; 0 is 3"`
	WALSegment      int           `koanf:"wal_segment" doc:"bytes of a Raft log segment, preallocated per swarm; 0 is 33554432"`
	Limits          Limits        `koanf:"limits"`
	Log             Log           `koanf:"log"`
	ShutdownGrace   time.Duration `koanf:"shutdown_grace" doc:"time for handing over leadership and flushing after SIGTERM"`
	TestFaults      bool          `koanf:"test_faults" doc:"serve the switch that cuts this node off from the others; for tests only"`
}

// Listen says where a node accepts connections; an empty host means all interfaces.
type Listen struct {
	Client string `koanf:"client" doc:"clients, host:port (TLS)"`
	Peer   string `koanf:"peer" doc:"other nodes, host:port (mutual TLS)"`
	Gossip string `koanf:"gossip" doc:"gossip, host:port (TCP and UDP)"`
	Ops    string `koanf:"ops" doc:"health, metrics and status page, host:port (plain HTTP, keep it local); empty: none"`
}

// Advertise says where others reach the node.
type Advertise struct {
	Client []string `koanf:"client" doc:"addresses for clients, host:port, all of which may be tried; empty: advertise.peer's host with the client port"`
	Peer   string   `koanf:"peer" doc:"address for other nodes, host:port; a name is resolved at every dial"`
	Gossip string   `koanf:"gossip" doc:"address for gossip, host:port; empty: advertise.peer's host with the gossip port"`
}

// Limits are parameters of the cluster that its directory publishes; they count at bootstrap.
type Limits struct {
	MailboxQuota    int `koanf:"mailbox_quota" doc:"bytes of one mailbox; 0 is the cluster's default"`
	StampDifficulty int `koanf:"stamp_difficulty" doc:"bits of the proof-of-work stamp on what carries no authority, 0 to 32"`
	ClientCircuits  int `koanf:"client_circuits" doc:"circuits of one client connection; 0 is 64"`
	MaxFile         int `koanf:"max_file" doc:"bytes of the largest file; 0 is 104857600"`
}

// Log says how the node logs; it always logs to stderr.
type Log struct {
	Level  string `koanf:"level" doc:"debug, info, warn or error"`
	Format string `koanf:"format" doc:"text or json"`
}

// Defaults returns the configuration of a node that is told nothing.
func Defaults() Config {
	return Config{
		ClusterFile:  "cluster.json",
		DataDir:      "data",
		IdentityFile: "node.key",
		SecretFile:   "cluster.secret",
		Roles:        []string{"directory", "storage", "relay"},
		Weight:       100,
		Listen:       Listen{Client: ":7700", Peer: ":7701", Gossip: ":7702", Ops: "127.0.0.1:7703"},
		AdminSocket:  "admin.sock",
		Log:          Log{Level: "info", Format: "text"},

		ShutdownGrace: 10 * time.Second,
	}
}

// Key is one value of the configuration.
type Key struct {
	Name    string // dotted, as in flags: "listen.client"
	Env     string // "SWARMD_LISTEN_CLIENT"
	Doc     string // one line
	Default any
	index   []int
}

// Keys returns every key in the order of Config.
func Keys() []Key {
	d := Defaults()
	var keys []Key
	var walk func(prefix string, index []int, v reflect.Value)
	walk = func(prefix string, index []int, v reflect.Value) {
		for i := range v.NumField() {
			f := v.Type().Field(i)
			name, at := prefix+f.Tag.Get("koanf"), append(index[:len(index):len(index)], i)
			if f.Type.Kind() == reflect.Struct {
				walk(name+".", at, v.Field(i))
				continue
			}
			keys = append(keys, Key{Name: name, Env: envName(name), Doc: f.Tag.Get("doc"),
				Default: v.Field(i).Interface(), index: at})
		}
	}
	walk("", nil, reflect.ValueOf(d))
	return keys
}
