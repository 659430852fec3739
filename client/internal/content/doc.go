// Package content is what the body of a message may say: decoding with every length checked, limits,
// mentions, excerpts.
//
// The package is pure. Layouts: proto/starling/body/v1.
package content
