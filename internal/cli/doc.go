// Package cli is what swarmd and sessionctl share about talking to people and to scripts: exit codes, the one
// form of errors, JSON documents with a version and a kind, and the way a cobra tree is run.
//
// A command returns any error; Main turns it into an Error with a code, a "try" line and an exit code, and
// prints it on stderr, as text or (with --json) as one document of kind "error". Answers go to stdout through
// WriteJSON or the command's own text. The package reads no environment and never exits: main does
// os.Exit(cli.Main(...)).
package cli
