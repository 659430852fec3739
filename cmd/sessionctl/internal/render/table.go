package render

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Table is rows of aligned columns under a heading, two spaces apart.
type Table struct {
	head []string
	rows [][]string
}

// NewTable returns a table with a heading and no rows.
func NewTable(head ...string) *Table { return &Table{head: head} }

// Row adds a row of at most as many cells as the heading has. Text in it is made printable.
func (t *Table) Row(cells ...string) {
	for i, c := range cells {
		cells[i] = Printable(c)
	}
	t.rows = append(t.rows, cells)
}

// Write prints the table.
func (t *Table) Write(w io.Writer) {
	width := make([]int, len(t.head))
	for _, r := range append([][]string{t.head}, t.rows...) {
		for i, c := range r {
			width[i] = max(width[i], utf8.RuneCountInString(c))
		}
	}
	st := StyleFor(w)
	line := func(cells []string, paint func(string) string) {
		var b strings.Builder
		for i, c := range cells {
			b.WriteString(paint(c))
			if i < len(cells)-1 {
				b.WriteString(strings.Repeat(" ", width[i]-utf8.RuneCountInString(c)+2))
			}
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
	line(t.head, st.Dim)
	for _, r := range t.rows {
		line(r, func(c string) string { return c })
	}
}
