// Package testuser runs clients inside this process, for the demo and the benchmarks, and remembers when
// which message reached them.
package testuser
