package node

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/starling-swarm/starling/internal/fault"
)

// lowestPort is where embedded clusters look for ports from.
const lowestPort = 12_000

// taken are the ports of this process's embedded clusters. Nobody listens on those of a node that crashed, or
// has yet to start, and still a cluster that starts meanwhile must not have them.
var taken = struct {
	sync.Mutex
	ports map[int]bool
}{ports: map[int]bool{}}

// takePorts returns the first of n consecutive ports that are free on loopback for TCP and UDP. They lie
// below the ports that the system gives to outgoing connections: from there a peer that keeps dialling a
// crashed node could take the node's port, or even connect to itself. They are for one cluster of this
// process until returnPorts.
func takePorts(n int) (int, error) {
	taken.Lock()
	defer taken.Unlock()
	top := ephemeralFirst()
	if top < lowestPort+n {
		top = 65_536
	}
	for range 200 {
		base := lowestPort + rand.IntN(top-lowestPort-n)
		free := true
		for p := base; p < base+n && free; p++ {
			free = !taken.ports[p] && portFree(p)
		}
		if free {
			for p := base; p < base+n; p++ {
				taken.ports[p] = true
			}
			return base, nil
		}
	}
	return 0, fault.New(fault.Unavailable, "pick ports", "no %d consecutive free ports between %d and %d", n,
		lowestPort, top)
}

func returnPorts(base, n int) {
	taken.Lock()
	defer taken.Unlock()
	for p := base; p < base+n; p++ {
		delete(taken.ports, p)
	}
}

func portFree(p int) bool {
	addr := fmt.Sprintf("127.0.0.1:%d", p)
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return false
	}
	_ = l.Close()
	u, err := net.ListenPacket("udp", addr)
	if err != nil {
		return false
	}
	_ = u.Close()
	return true
}

// ephemeralFirst returns the first port that Linux gives to outgoing connections, or its default elsewhere.
func ephemeralFirst() int {
	body, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err == nil {
		if f := strings.Fields(string(body)); len(f) == 2 {
			if n, err := strconv.Atoi(f[0]); err == nil {
				return n
			}
		}
	}
	return 32_768
}
