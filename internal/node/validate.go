package node

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/starling-swarm/starling/internal/directory"
)

// maxSocketPath is what fits the kernel's sockaddr_un with room to spare.
const maxSocketPath = 100

var roleNames = map[string]directory.Role{
	"directory": directory.RoleDirectory, "storage": directory.RoleStorage, "relay": directory.RoleRelay,
}

// fill sets what follows from other values when it is left empty.
func (c *Config) fill() {
	if c.Advertise.Peer == "" {
		return // Validate says so
	}
	host, _, err := net.SplitHostPort(c.Advertise.Peer)
	if err != nil {
		return
	}
	withPortOf := func(listen string) string {
		_, port, err := net.SplitHostPort(listen)
		if err != nil {
			return ""
		}
		return net.JoinHostPort(host, port)
	}
	if c.Advertise.Gossip == "" {
		c.Advertise.Gossip = withPortOf(c.Listen.Gossip)
	}
	if len(c.Advertise.Client) == 0 {
		if a := withPortOf(c.Listen.Client); a != "" {
			c.Advertise.Client = []string{a}
		}
	}
}

// Validate returns every problem of c; none means that the node can be started with it. It reads no file and
// resolves no name.
func (c *Config) Validate() Problems {
	var p Problems
	bad := func(key, format string, args ...any) { p = append(p, key+": "+fmt.Sprintf(format, args...)) }
	for _, f := range []struct{ key, v string }{
		{"cluster_file", c.ClusterFile}, {"data_dir", c.DataDir}, {"identity_file",
			c.IdentityFile}, {"secret_file", c.SecretFile},
	} {
		if f.v == "" {
			bad(f.key, "is empty, want a path")
		}
	}
	if len(c.AdminSocket) > maxSocketPath {
		bad("admin_socket", "path has %d bytes, want at most %d", len(c.AdminSocket), maxSocketPath)
	}
	if c.BootstrapExpect < 3 || c.BootstrapExpect > 1000 {
		bad("bootstrap_expect", "is %d, want 3 to 1000", c.BootstrapExpect)
	}
	if len(c.Roles) == 0 {
		bad("roles", "is empty, want some of directory, storage, relay")
	}
	for _, r := range c.Roles {
		if _, ok := roleNames[r]; !ok {
			bad("roles", "has %q, want directory, storage or relay", r)
		}
	}
	between := func(key string, v, lo, hi int) {
		if v < lo || v > hi {
			bad(key, "is %d, want %d to %d", v, lo, hi)
		}
	}
	between("incarnation", c.Incarnation, 0, 1<<31-1)
	between("weight", c.Weight, 1, 10_000)
	between("swarms", c.Swarms, 0, 64)
	between("replication", c.Replication, 0, 7)
	between("limits.stamp_difficulty", c.Limits.StampDifficulty, 0, 32)
	between("limits.client_circuits", c.Limits.ClientCircuits, 0, 65_535)
	between("limits.mailbox_quota", c.Limits.MailboxQuota, 0, 1<<40)
	between("limits.max_file", c.Limits.MaxFile, 0, 1<<40)
	if c.WALSegment != 0 {
		between("wal_segment", c.WALSegment, 1<<20, 1<<30)
	}
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, c.Log.Level) {
		bad("log.level", "is %q, want debug, info, warn or error", c.Log.Level)
	}
	if !slices.Contains([]string{"text", "json"}, c.Log.Format) {
		bad("log.format", "is %q, want text or json", c.Log.Format)
	}
	if c.ShutdownGrace < 0 {
		bad("shutdown_grace", "is %v, want 0 or more", c.ShutdownGrace)
	}
	return append(p, c.validateAddresses()...)
}

func (c *Config) validateAddresses() Problems {
	var p Problems
	bad := func(key, format string, args ...any) { p = append(p, key+": "+fmt.Sprintf(format, args...)) }
	for _, l := range []struct{ key, v string }{
		{"listen.client", c.Listen.Client}, {"listen.peer", c.Listen.Peer}, {"listen.gossip",
			c.Listen.Gossip}, {"listen.ops", c.Listen.Ops},
	} {
		if l.key == "listen.ops" && l.v == "" {
			continue
		}
		if _, err := splitAddr(l.v); err != nil {
			bad(l.key, "%v", err)
		}
	}
	reachable := func(key, addr string) {
		host, err := splitAddr(addr)
		switch {
		case err != nil:
			bad(key, "%v", err)
		case host == "":
			bad(key, "%q names no host, want an address that others can reach", addr)
		case unreachable(host, c.AllowLoopback):
			bad(key, "%q cannot be reached from other machines; set it to this machine's address, "+
				"or allow_loopback: true if all nodes run here", addr)
		}
	}
	if c.Advertise.Peer == "" {
		bad("advertise.peer", "is empty, want the host:port at which other nodes reach this one")
	} else {
		reachable("advertise.peer", c.Advertise.Peer)
		reachable("advertise.gossip", c.Advertise.Gossip)
	}
	for _, a := range c.Advertise.Client {
		if host, err := splitAddr(a); err != nil {
			bad("advertise.client", "%v", err)
		} else if host == "" {
			bad("advertise.client", "%q names no host", a)
		}
	}
	for _, a := range c.Join {
		if host, err := splitAddr(a); err != nil {
			bad("join", "%v", err)
		} else if host == "" {
			bad("join", "%q names no host", a)
		}
	}
	return p
}

func splitAddr(addr string) (host string, err error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", fmt.Errorf("%q is no host:port", addr)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", fmt.Errorf("%q has port %q, want 1 to 65535", addr, port)
	}
	return host, nil
}

// unreachable reports whether host is a wildcard, or a loopback address and those are not allowed.
func unreachable(host string, allowLoopback bool) bool {
	if strings.EqualFold(host, "localhost") {
		return !allowLoopback
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return false // a name: known only when it is dialled
	}
	return ip.IsUnspecified() || ip.IsLoopback() && !allowLoopback
}

func (c *Config) roles() (r directory.Role) {
	for _, name := range c.Roles {
		r |= roleNames[name]
	}
	return r
}
