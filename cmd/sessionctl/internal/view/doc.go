// Package view is what messages, conversations, contacts, groups, devices and events look like to a person:
// the lines and tables that commands print and that a terminal messenger shows. It writes to the writer it is
// given and asks the client only for names.
//
// What scripts read is package sessionapi.
package view
