package refs

import (
	"testing"
)

func TestCodesReadAloudAreUnderstood(t *testing.T) {
	const code = "01AB7K2M"
	if got := PlainCode(SplitCode(code)); got != code {
		t.Errorf("grouped and back: got %q, want %q", got, code)
	}
	if got := PlainCode("olab 7k2m"); got != code {
		t.Errorf("lower case with look-alikes: got %q, want %q", got, code)
	}
}
