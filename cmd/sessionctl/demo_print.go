package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/ident"
)

// title opens a chapter.
func (s *story) title(format string, args ...any) {
	if !s.app.flags.json {
		fmt.Fprintf(s.app.stdout, "\n%s\n", styleFor(s.app.stdout).bold(fmt.Sprintf(format, args...)))
	}
}

// line prints what happened and how long it took (0: no time to show).
func (s *story) line(step string, took time.Duration, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if s.app.flags.json {
		_ = cli.WriteJSON(s.app.stdout, "demo.step", stepDoc{step, text, ms(took)})
		return
	}
	st := styleFor(s.app.stdout)
	at := ""
	if took > 0 {
		at = seconds(took)
	}
	pad := strings.Repeat(" ", max(1, 96-len([]rune(text))-len([]rune(at))))
	fmt.Fprintln(s.app.stdout, strings.TrimRight("  "+text+pad+st.cyan(at), " "))
}

func (s *story) note(format string, args ...any) {
	if !s.app.flags.json {
		fmt.Fprintf(s.app.stdout, "  %s\n", styleFor(s.app.stdout).dim(fmt.Sprintf(format, args...)))
	}
}

func (s *story) figure(name string, d time.Duration) {
	s.figures = append(s.figures, figure{name, ms(d)})
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// path names the three relays: n2 → n5 → n1.
func (s *story) path(path [3]ident.NodeID) string {
	var names []string
	for _, id := range path {
		if i, ok := s.cluster.Index(id); ok {
			names = append(names, fmt.Sprintf("n%d", i+1))
		} else {
			names = append(names, id.Short())
		}
	}
	return strings.Join(names, " → ")
}

func (s *story) summary(lost, doubled int) error {
	total := time.Since(s.started)
	if s.app.flags.json {
		return cli.WriteJSON(s.app.stdout, "demo", demoDoc{lost, doubled, ms(total), s.figures})
	}
	w, st := s.app.stdout, styleFor(s.app.stdout)
	s.title("Measured just now, on this machine")
	for _, f := range s.figures {
		fmt.Fprintf(w, "  %-34s %s\n", f.Name, st.cyan(seconds(time.Duration(f.MS*float64(time.Millisecond)))))
	}
	fmt.Fprintf(w, "  %-34s %s\n", "the whole demo", st.cyan(seconds(total)))
	s.title("Try it yourself")
	writeTry(w, st, [][2]string{
		{typed("swarmd dev"), "a cluster of your own; leave it running"},
		{typed(`sessionctl -p alice init --name Alice`), "in a second terminal"},
		{typed(`sessionctl -p bob init --name Bob`), ""},
		{typed(`sessionctl -p alice send 05... "hello"`), "Bob's account ID"},
		{typed(`sessionctl -p bob receive`), ""},
		{typed(`sessionctl --help`), "the rest"},
	})
	return nil
}

// typed is a command as this reader can type it: whoever runs this from the source tree has no binaries on the path.
func typed(command string) string {
	if exe, err := os.Executable(); err == nil && strings.Contains(exe, "go-build") {
		return "go run ./cmd/" + command
	}
	return command
}

func writeTry(w io.Writer, st style, lines [][2]string) {
	for _, l := range lines {
		if l[1] == "" {
			fmt.Fprintf(w, "  %s\n", l[0])
			continue
		}
		fmt.Fprintf(w, "  %-55s %s\n", l[0], st.dim("# "+l[1]))
	}
}
