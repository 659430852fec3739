//go:build unix

package main

import (
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

// onHangup calls f at every SIGHUP until stop is called.
func onHangup(f func()) (stop func()) {
	ch, done, ended := make(chan os.Signal, 1), make(chan struct{}), make(chan struct{})
	signal.Notify(ch, syscall.SIGHUP)
	go func() {
		defer close(ended)
		for {
			select {
			case <-ch:
				f()
			case <-done:
				return
			}
		}
	}()
	return func() {
		signal.Stop(ch)
		close(done)
		<-ended
	}
}

// ownLikeParent gives path to the owner of its directory. Only root can, and only root needs to.
func ownLikeParent(path string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return os.Lchown(path, int(st.Uid), int(st.Gid))
	}
	return nil
}
