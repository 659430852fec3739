// Package sessionapi is what sessionctl says in JSON: one type for each document, and the conversion from the
// client's types to it. Commands print these documents; a daemon answers with them and a schema describes
// them, so that a script meets the same fields wherever it asks.
//
// The fields are a contract with people's scripts: names are added, never changed or removed. A document is
// written as one line with "v" and "kind" in front of its fields (cli.WriteJSON); each type says its kind.
// Times are Unix milliseconds, null when there is none; fields that end in _ms and _s are durations. IDs are
// text as package ident prints them. Lists are never null. Errors and versions have documents of their own in
// package cli, which both commands share.
//
// The package prints nothing, asks nobody and imports no other part of the commands.
package sessionapi
