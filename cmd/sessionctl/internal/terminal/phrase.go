package terminal

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/starling-swarm/starling/cmd/sessionctl/internal/render"
	"github.com/starling-swarm/starling/devicesync/phrase"
	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/fault"
)

// WritePhrase prints a recovery phrase for people: numbered, four words a line, so that a pen can follow it.
func WritePhrase(w io.Writer, st render.Style, text string) {
	words := strings.Fields(text)
	for i := 0; i < len(words); i += 4 {
		var b strings.Builder
		for j := i; j < min(i+4, len(words)); j++ {
			fmt.Fprintf(&b, "  %s %-10s", st.Dim(fmt.Sprintf("%2d.", j+1)), words[j])
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
}

// ReadPhrase reads a recovery phrase from a file, from stdin with "-", or from a prompt when file is empty.
// Numbers and line breaks between the words are ignored, so that what init printed can be pasted back.
// Errors: wrong usage if nobody can be asked, Invalid for a file that cannot be read or is too long.
func (t *Terminal) ReadPhrase(file string) (string, error) {
	switch {
	case file == "-":
		return readWords(t.In)
	case file != "":
		f, err := os.Open(file)
		if err != nil {
			return "", fault.Wrap(fault.Invalid, "read recovery phrase", err)
		}
		defer f.Close()
		return readWords(f)
	case t.NoInput || !render.IsTerminal(t.In):
		e := cli.Usage("the recovery phrase is needed: --words-file FILE, or --words-file - for stdin")
		e.Try = []string{"the same with --words-file phrase.txt"}
		return "", e
	}
	fmt.Fprintln(t.Err, "Type the 24 words of the recovery phrase, in order; an empty line ends it.")
	var words []string
	lines := bufio.NewScanner(t.In)
	for len(words) < 24 {
		fmt.Fprintf(t.Err, "%2d> ", len(words)+1)
		if !lines.Scan() || strings.TrimSpace(lines.Text()) == "" {
			break
		}
		words = append(words, wordsOf(lines.Text())...)
	}
	if err := lines.Err(); err != nil {
		return "", err
	}
	return strings.Join(words, " "), nil
}

// MaxPhraseBytes bounds what is read: 24 words of at most 8 letters with numbers and spaces are far below it.
const MaxPhraseBytes = 4096

func readWords(r io.Reader) (string, error) {
	b, err := io.ReadAll(io.LimitReader(r, MaxPhraseBytes+1))
	if err != nil {
		return "", fault.Wrap(fault.Invalid, "read recovery phrase", err)
	}
	if len(b) > MaxPhraseBytes {
		return "", fault.New(fault.Invalid, "read recovery phrase", "longer than %d bytes: this is no phrase",
			MaxPhraseBytes)
	}
	return strings.Join(wordsOf(string(b)), " "), nil
}

// wordsOf splits a line into lower-case words and drops numbering such as "3." or "12)".
func wordsOf(line string) []string {
	var out []string
	for _, w := range strings.Fields(strings.ToLower(line)) {
		if w = strings.TrimLeft(w, "0123456789.):"); w != "" {
			out = append(out, w)
		}
	}
	return out
}

// CheckPhrase says exactly what is wrong with a phrase, and what was probably meant. The words themselves
// never reach an error's text, except the one that is no word of the list.
func CheckPhrase(words string) error {
	_, err := phrase.Decode(words)
	if err == nil {
		return nil
	}
	e := cli.Fail("recovery phrase", err)
	e.Code = "KEY-102"
	var word *phrase.WordError
	var sum *phrase.ChecksumError
	switch {
	case errors.As(err, &word):
		for _, n := range word.Nearest {
			e.Try = append(e.Try, fmt.Sprintf("%s as word %d", n, word.Position))
		}
	case errors.As(err, &sum):
		for _, f := range sum.Fixes {
			e.Try = append(e.Try, fmt.Sprintf("%s as word %d", f.Word, f.Position))
		}
	}
	return e
}
