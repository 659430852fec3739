package main

import (
	"errors"
	"io"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/node"
)

func (a *app) runCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "run [--config FILE]",
		Short: "Run one node in the foreground",
		Long: `Runs one node until SIGTERM or Ctrl-C. Each value of its configuration comes from a flag, else from the
environment, else from the file, else it is a default; "swarmd config explain" shows which. Logs go to stderr; SIGHUP
reads log.level again.`,
		Example: `  swarmd run --config ./home/node-1/swarmd.yaml
  SWARMD_LOG_FORMAT=json swarmd run --config /etc/swarmd/swarmd.yaml --log.level debug`,
		Args: cobra.NoArgs,
	}
	configFlag(cmd, &file)
	typed := layerFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		loaded, err := a.load(file, typed())
		if err != nil {
			return err
		}
		cfg := loaded.Config
		level := new(slog.LevelVar)
		log := newLogger(cmd.ErrOrStderr(), cfg.Log.Format, level)
		setLevel(level, cfg.Log.Level)
		n, err := node.New(cfg, node.Options{Logger: log})
		if err != nil {
			return cli.Fail("start node "+cfg.Name, err)
		}
		stop := onHangup(func() {
			loaded, err := a.load(file, typed())
			if err != nil {
				log.Error("configuration not reloaded", "err", err)
				return
			}
			setLevel(level, loaded.Config.Log.Level)
			log.Info("configuration reloaded", "level", loaded.Config.Log.Level)
		})
		defer stop()
		return runError(cfg, n.Run(cmd.Context()))
	}
	return cmd
}

// runError gives what a node ended with its exit code.
func runError(cfg node.Config, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, node.ErrNewerData):
		return &cli.Error{What: "run node " + cfg.Name, Cause: err, Code: "STO-101", Exit: cli.ExitNewerData,
			Try: []string{"swarmd version"}}
	case errors.Is(err, fault.Exists):
		return &cli.Error{What: "run node " + cfg.Name, Cause: err, Code: "STO-102", Exit: cli.ExitFailed}
	}
	return &cli.Error{What: "run node " + cfg.Name, Cause: err}
}

func newLogger(w io.Writer, format string, level slog.Leveler) *slog.Logger {
	opts := &slog.HandlerOptions{Level: level}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

// setLevel sets a level that Validate has checked.
func setLevel(v *slog.LevelVar, name string) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(name)); err == nil {
		v.Set(l)
	}
}
