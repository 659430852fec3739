// Package session opens a profile and connects it: which directory and which cluster, how long to wait, what
// to finish before the profile is closed, and what to type when it does not work.
//
// A Session serves one profile at a time. It prints nothing: a Reporter is told what is waited for, and
// OnEvent sees what the client says. Its methods are for one caller at a time.
package session
