// Package refs finds what people refer to: a peer by a name, an ID or a link, a group, one of its members, a
// device, a message; and says what things are called in return. What fits nothing, or several, is an error
// with the nearest names and with what to type.
//
// A Finder asks the open client of a profile; the rules of matching are functions of the names alone.
package refs
