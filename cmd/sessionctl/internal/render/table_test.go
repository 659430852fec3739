package render

import (
	"bytes"
	"testing"
)

func TestTableAlignsAndNeutralisesCells(t *testing.T) {
	tab := NewTable("NAME", "ID")
	tab.Row("ü\nx", "1")
	tab.Row("longer", "2")
	var out bytes.Buffer
	tab.Write(&out)
	if want := "NAME    ID\nü\ufffdx     1\nlonger  2\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}
