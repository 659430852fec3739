//go:build !unix

package main

// ownLikeParent does nothing where files have no numeric owner.
func ownLikeParent(string) error { return nil }

// onHangup does nothing where there is no SIGHUP.
func onHangup(func()) (stop func()) { return func() {} }
