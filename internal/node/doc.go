// Package node is the composition root of a node: it reads the configuration, opens the node's identity,
// joins cluster.Node with the onion relay and serves both to peers and clients, with an ops listener and an
// admin socket beside them.
//
// New validates and starts nothing; Run owns every goroutine and returns when they have ended. StartEmbedded
// runs a whole cluster in one process: swarmd dev, the demo, benchmarks and tests are made of it. Only this
// package knows both cluster and onionrouter.
package node
