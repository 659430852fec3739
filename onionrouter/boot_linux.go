package onionrouter

import (
	"os"
	"strings"
)

// bootID names the run of the operating system; empty where it has no name, which counts as a new one each
// time.
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
