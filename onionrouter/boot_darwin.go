package onionrouter

import "syscall"

// bootID names the run of the operating system; empty where it has no name, which counts as a new one each
// time.
func bootID() string {
	id, err := syscall.Sysctl("kern.bootsessionuuid")
	if err != nil {
		return ""
	}
	return id
}
