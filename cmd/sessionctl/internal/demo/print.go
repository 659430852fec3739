package demo

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/starling-swarm/starling/cmd/sessionctl/internal/render"
	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/sessionapi"
)

// title opens a chapter.
func (s *story) title(format string, args ...any) {
	if !s.out.JSON {
		fmt.Fprintf(s.out.Out, "\n%s\n", render.StyleFor(s.out.Out).Bold(fmt.Sprintf(format, args...)))
	}
}

// line prints what happened and how long it took (0: no time to show).
func (s *story) line(step string, took time.Duration, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if s.out.JSON {
		_ = cli.WriteJSON(s.out.Out, "demo.step",
			sessionapi.DemoStep{Step: step, Text: text, MS: sessionapi.Milliseconds(took)})
		return
	}
	st := render.StyleFor(s.out.Out)
	at := ""
	if took > 0 {
		at = render.Seconds(took)
	}
	pad := strings.Repeat(" ", max(1, 96-len([]rune(text))-len([]rune(at))))
	fmt.Fprintln(s.out.Out, strings.TrimRight("  "+text+pad+st.Cyan(at), " "))
}

// note explains something.
func (s *story) note(format string, args ...any) {
	if !s.out.JSON {
		fmt.Fprintf(s.out.Out, "  %s\n", render.StyleFor(s.out.Out).Dim(fmt.Sprintf(format, args...)))
	}
}

// figure remembers a time for the summary.
func (s *story) figure(name string, d time.Duration) {
	s.figures = append(s.figures, sessionapi.DemoFigure{Name: name, MS: sessionapi.Milliseconds(d)})
}

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

// finish prints what was measured, and fails if messages were lost or doubled.
func (s *story) finish() error {
	if err := s.summary(); err != nil {
		return err
	}
	if lost, doubled := s.lost, s.allDoubled(); lost+doubled > 0 {
		return cli.Fail("demo", fmt.Errorf("%d messages lost, %d doubled", lost, doubled), seeLog)
	}
	return nil
}

// summary prints what was measured.
func (s *story) summary() error {
	total := time.Since(s.started)
	if s.out.JSON {
		return cli.WriteJSON(s.out.Out, "demo", sessionapi.Demo{
			Lost: s.lost, Doubled: s.allDoubled(), TotalMS: sessionapi.Milliseconds(total),
			Figures: s.figures,
		})
	}
	w, st := s.out.Out, render.StyleFor(s.out.Out)
	s.title("Measured just now, on this machine")
	for _, f := range s.figures {
		fmt.Fprintf(w, "  %-34s %s\n", f.Name, st.Cyan(render.Milliseconds(f.MS)))
	}
	fmt.Fprintf(w, "  %-34s %s\n", "the whole demo", st.Cyan(render.Seconds(total)))
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

// typed is a command as this reader can type it: whoever runs this from the source tree has no binaries on
// the path.
func typed(command string) string {
	if exe, err := os.Executable(); err == nil && strings.Contains(exe, "go-build") {
		return "go run ./cmd/" + command
	}
	return command
}

func writeTry(w io.Writer, st render.Style, lines [][2]string) {
	for _, l := range lines {
		if l[1] == "" {
			fmt.Fprintf(w, "  %s\n", l[0])
			continue
		}
		fmt.Fprintf(w, "  %-55s %s\n", l[0], st.Dim("# "+l[1]))
	}
}
