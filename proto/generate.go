// Package proto holds the .proto files of Starling and the code generated from them, which is committed. buf
// and the plugins are pinned in tools/go.mod; regenerate with `go generate ./proto`.
package proto

//go:generate go tool -modfile=tools/go.mod buf lint
//go:generate go tool -modfile=tools/go.mod buf generate
