package terminal

import (
	"bytes"
	"strings"
	"testing"

	"github.com/starling-swarm/starling/cmd/sessionctl/internal/render"
)

func TestPhraseSurvivesPrintingAndReading(t *testing.T) {
	words := strings.TrimSpace(strings.Repeat("abandon ", 23)) + " art"
	var printed bytes.Buffer
	WritePhrase(&printed, render.Style{}, words)
	if n := strings.Count(printed.String(), "\n"); n != 6 {
		t.Errorf("got %d lines, want 6 of four words:\n%s", n, printed.String())
	}
	got, err := readWords(&printed)
	if err != nil || got != words {
		t.Errorf("read back: got %q (%v), want %q", got, err, words)
	}
}

func TestReadWordsRefusesWhatIsNoPhrase(t *testing.T) {
	if _, err := readWords(strings.NewReader(strings.Repeat("x", MaxPhraseBytes+1))); err == nil {
		t.Error("a file of more than 4 KiB was read as a phrase")
	}
}
