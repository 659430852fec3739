//go:build !linux && !darwin

package onionrouter

// bootID names the run of the operating system. This one gives it no name, so that every start counts as a
// new one: a node refuses create packets for up to five minutes after a restart.
func bootID() string { return "" }
