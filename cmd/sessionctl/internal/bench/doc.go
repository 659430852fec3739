// Package bench measures a cluster with real clients: how long messages take, how many stores a second it
// acknowledges, what a group costs, and how long people wait while a node is killed. Each benchmark returns
// its document of package sessionapi; nothing is printed.
package bench
