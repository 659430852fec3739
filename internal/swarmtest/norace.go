//go:build !race

package swarmtest

const slowed = false
