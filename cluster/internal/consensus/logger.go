package consensus

import (
	"context"
	"io"
	"log"
	"log/slog"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// repeatAfter is how long the same line of raft is not logged again: a dead peer fails a call every few
// hundred milliseconds in every group.
const repeatAfter = 30 * time.Second

// logger passes raft's warnings and errors to slog. Raft calls much of what is part of any node's death an
// error, so nothing of it is logged above warning.
type logger struct {
	to   *slog.Logger
	name string
	args []any

	seen *seenLines
}

type seenLines struct {
	mu   sync.Mutex
	last map[string]time.Time
}

func newLogger(to *slog.Logger) hclog.Logger {
	return &logger{to: to, seen: &seenLines{last: make(map[string]time.Time)}}
}

func (l *logger) Log(level hclog.Level, msg string, args ...any) {
	if level < hclog.Warn || !l.to.Enabled(context.Background(), slog.LevelWarn) {
		return
	}
	now := time.Now()
	l.seen.mu.Lock()
	last, ok := l.seen.last[msg]
	repeat := ok && now.Sub(last) < repeatAfter
	if !repeat {
		l.seen.last[msg] = now // messages are constants of raft: few
	}
	l.seen.mu.Unlock()
	if repeat {
		return
	}
	attrs := append([]any{"event", msg}, l.args...)
	l.to.Warn("raft", append(attrs, args...)...)
}

func (l *logger) Trace(string, ...any)             {}
func (l *logger) Debug(string, ...any)             {}
func (l *logger) Info(string, ...any)              {}
func (l *logger) Warn(msg string, args ...any)     { l.Log(hclog.Warn, msg, args...) }
func (l *logger) Error(msg string, args ...any)    { l.Log(hclog.Error, msg, args...) }
func (l *logger) IsTrace() bool                    { return false }
func (l *logger) IsDebug() bool                    { return false }
func (l *logger) IsInfo() bool                     { return false }
func (l *logger) IsWarn() bool                     { return true }
func (l *logger) IsError() bool                    { return true }
func (l *logger) ImpliedArgs() []any               { return l.args }
func (l *logger) Name() string                     { return l.name }
func (l *logger) SetLevel(hclog.Level)             {}
func (l *logger) GetLevel() hclog.Level            { return hclog.Warn }
func (l *logger) ResetNamed(n string) hclog.Logger { return l.Named(n) }

func (l *logger) With(args ...any) hclog.Logger {
	c := *l
	c.args = append(append([]any(nil), l.args...), args...)
	return &c
}

func (l *logger) Named(name string) hclog.Logger {
	c := *l
	c.name = name
	return &c
}

func (l *logger) StandardLogger(*hclog.StandardLoggerOptions) *log.Logger {
	return log.New(io.Discard, "", 0)
}

func (l *logger) StandardWriter(*hclog.StandardLoggerOptions) io.Writer { return io.Discard }
