// Package render is how text, tables, times and colours look on a terminal.
//
// Whatever other people wrote goes through Printable or PrintableText before it is printed, tables do that by
// themselves: a name must not move the cursor, recolour what follows or hide what a line says. Colour is
// never the only sign of something, and a Style whose writer is no terminal adds none.
//
// The package knows nothing of Starling: it takes strings, numbers and times, and gives back text.
package render
