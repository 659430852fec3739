//go:build race

package swarmtest

// slowed is whether the race detector makes every computation several times as long.
const slowed = true
