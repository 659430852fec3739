package scenario

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// stage is where a scenario is played: the account whose devices are watched, and the people it talks to.
type stage struct {
	ctx context.Context
	cfg Config
	dir string
	rng *rand.Rand

	devices []*device  // of the account
	all     []*device  // everybody's
	words   string     // the account's recovery phrase
	target  ident.Peer // whose mailbox is disturbed; nil: that of the account
	made    int

	disturbed bool
	repair    func(context.Context) error
	repaired  chan error // of the repair under way

	mu    sync.Mutex
	times []time.Duration
	note  string
}

func newStage(ctx context.Context, cfg Config, dir string) *stage {
	return &stage{ctx: ctx, cfg: cfg, dir: dir, rng: rand.New(rand.NewPCG(cfg.Seed, 0))}
}

// end takes everything down; the scenario may have stopped anywhere.
func (s *stage) end() error {
	err := s.mend()
	for _, d := range s.all {
		err = errors.Join(err, d.stop())
	}
	return err
}

// device is a client that may run.
type device struct {
	*client.Client // nil: not even open
	stage          *stage
	cfg            client.Config
	cancel         context.CancelFunc // nil: does not run
	ended          chan error
}

func (s *stage) config(label string) client.Config {
	s.made++
	return client.Config{Dir: filepath.Join(s.dir, fmt.Sprintf("%d-%s", s.made, label)),
		Cluster: s.cfg.Cluster, Label: label, Logger: s.cfg.Logger}
}

// enter runs an opened client.
func (s *stage) enter(c *client.Client, cfg client.Config) *device {
	d := &device{Client: c, stage: s, cfg: cfg}
	s.all = append(s.all, d)
	d.run()
	return d
}

func (d *device) run() {
	ctx, cancel := context.WithCancel(d.stage.ctx)
	d.cancel, d.ended = cancel, make(chan error, 1)
	go func() { d.ended <- d.Client.Run(ctx) }()
}

// stop ends a device at once, whatever it is doing: nothing is sent or written any more. It may be stopped
// already.
func (d *device) stop() (err error) {
	if d.cancel != nil {
		d.cancel()
		if err = <-d.ended; err != nil {
			err = fmt.Errorf("run %s: %w", d.cfg.Label, err)
		}
		d.cancel = nil
	}
	if d.Client != nil {
		err = errors.Join(err, d.Client.Close())
		d.Client = nil
	}
	return err
}

// open opens a stopped device without the network.
func (d *device) open() (err error) {
	d.Client, err = client.Open(d.cfg)
	return err
}

// start opens a stopped device and runs it.
func (d *device) start() error {
	if err := d.open(); err != nil {
		return err
	}
	d.run()
	return d.WaitOnline(d.stage.ctx)
}

func (d *device) id() ident.AccountID { return d.Account().ID }

// person makes an account with one device.
func (s *stage) person(name string) (*device, string, error) {
	cfg := s.config(name)
	c, words, err := client.Create(s.ctx, cfg, name)
	if err != nil {
		return nil, "", fmt.Errorf("make account of %s: %w", name, err)
	}
	return s.enter(c, cfg), words, nil
}

// family makes the account with as many devices as the play has.
func (s *stage) family() error { return s.familyOf(s.cfg.Devices) }

func (s *stage) familyOf(n int) error {
	d, words, err := s.person("alice-1")
	if err != nil {
		return err
	}
	d.KeepHistory(true)
	s.devices, s.words = []*device{d}, words
	for len(s.devices) < n {
		d, _, err := s.join(s.devices[0], fmt.Sprintf("alice-%d", len(s.devices)+1))
		if err != nil {
			return err
		}
		s.devices = append(s.devices, d)
	}
	return s.settle()
}

// join links a new device to the account of by, which reads its invitation; it returns when that was done.
func (s *stage) join(by *device, label string) (*device, time.Time, error) {
	return s.joinAt(by, s.config(label))
}

// joinAt is join for a profile that may have been part of the account.
func (s *stage) joinAt(by *device, cfg client.Config) (*device, time.Time, error) {
	shown := make(chan string, 1)
	var c *client.Client
	var at time.Time
	g, ctx := errgroup.WithContext(s.ctx)
	g.Go(func() (err error) {
		c, err = client.Join(ctx, cfg, client.JoinOptions{OnInvite: func(text string,
			_ ident.DeviceID) {
			shown <- text
		}})
		return err
	})
	g.Go(func() error {
		select {
		case text := <-shown:
			_, err := by.LinkDevice(ctx, text)
			at = time.Now()
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	if err := g.Wait(); err != nil {
		if c != nil {
			err = errors.Join(err, c.Close())
		}
		return nil, at, fmt.Errorf("link %s: %w", cfg.Label, err)
	}
	return s.enter(c, cfg), at, nil
}

// friend makes another account; both know each other.
func (s *stage) friend(name string) (*device, error) {
	f, _, err := s.person(name)
	if err != nil {
		return nil, err
	}
	if _, err := s.devices[0].AddContact(s.ctx, f.id(), ""); err != nil {
		return nil, fmt.Errorf("add %s: %w", name, err)
	}
	if _, err := f.AddContact(s.ctx, s.devices[0].id(), ""); err != nil {
		return nil, fmt.Errorf("%s adds the account: %w", name, err)
	}
	return f, s.settle()
}

// familyAndFriend is how most scenarios begin.
func (s *stage) familyAndFriend() (*device, error) {
	if err := s.family(); err != nil {
		return nil, err
	}
	return s.friend("bob")
}

// settle returns once every running device of the account has sent and taken in everything.
func (s *stage) settle() error {
	for _, step := range []func(*device) error{
		func(d *device) error { return d.Push(s.ctx) },
		func(d *device) error { return d.SyncToHeads(s.ctx) },
	} {
		g := new(errgroup.Group)
		for _, d := range s.devices {
			if d.cancel != nil {
				g.Go(func() error { return step(d) })
			}
		}
		if err := g.Wait(); err != nil {
			return fmt.Errorf("settle: %w", err)
		}
	}
	return nil
}

// shows says whether a device shows a change to its user.
type shows func(*device) (bool, error)

// change does something on the n-th device and waits until all others of the account show it.
func (s *stage) change(what string, n int, do func(*device) error, want shows) error {
	by := s.devices[n]
	var others []*device
	for _, d := range s.devices {
		if d != by && d.cancel != nil {
			others = append(others, d)
		}
	}
	return s.watch(what, func() error { return do(by) }, want, others...)
}

// watch does something and waits until each of on shows it. That none shows it before proves that the change
// did it.
func (s *stage) watch(what string, do func() error, want shows, on ...*device) error {
	if err := s.middle(); err != nil {
		return err
	}
	subs := make([]*client.Subscription, len(on))
	for i, d := range on {
		subs[i] = d.Events()
		defer subs[i].Close()
		if ok, err := want(d); err != nil || ok {
			return fmt.Errorf("%s: %s shows it before (%t), %w", what, d.cfg.Label, ok, orNone(err))
		}
	}
	s.pause()
	if err := do(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	at := time.Now()
	g, ctx := errgroup.WithContext(s.ctx)
	for i, d := range on {
		g.Go(func() error {
			if err := d.until(ctx, subs[i], want); err != nil {
				return fmt.Errorf("%s: not on %s: %w", what, d.cfg.Label, err)
			}
			s.took(time.Since(at))
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return s.startRepair()
}

// pause lets what was done before be over.
func (s *stage) pause() {
	if s.cfg.Pause <= 0 {
		return
	}
	t := time.NewTimer(s.cfg.Pause)
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.ctx.Done():
	}
}

var errNone = errors.New("no error")

func orNone(err error) error {
	if err == nil {
		return errNone
	}
	return err
}

func (s *stage) took(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.times = append(s.times, d)
}

// until waits for an event after which want holds.
func (d *device) until(ctx context.Context, sub *client.Subscription, want shows) error {
	for {
		ok, err := want(d)
		if ok || err != nil {
			return err
		}
		if _, err := sub.Next(ctx); err != nil && !errors.Is(err, fault.Limited) {
			return err
		}
	}
}

// middle breaks what the play is to survive, once.
func (s *stage) middle() (err error) {
	if s.cfg.Disturb == nil || s.disturbed || len(s.devices) == 0 {
		return nil
	}
	s.disturbed = true
	target := s.target
	if target == nil {
		target = s.devices[0].id()
	}
	s.repair, err = s.cfg.Disturb(s.ctx, target)
	if err != nil {
		return fmt.Errorf("disturb: %w", err)
	}
	return nil
}

// startRepair repairs what was broken while the scenario goes on.
func (s *stage) startRepair() error {
	if s.repair == nil {
		return nil
	}
	repair := s.repair
	s.repair, s.repaired = nil, make(chan error, 1)
	go func() { s.repaired <- repair(s.ctx) }()
	return nil
}

// mend returns once what was broken is repaired.
func (s *stage) mend() error {
	_ = s.startRepair()
	if s.repaired == nil {
		return nil
	}
	err := <-s.repaired
	s.repaired = nil
	if err != nil {
		return fmt.Errorf("repair: %w", err)
	}
	return nil
}

// refused checks that err says no for the right reason.
func refused(what string, err error, kind fault.Kind) error {
	if !errors.Is(err, kind) {
		return fmt.Errorf("%s: got %v, want: %v", what, err, kind)
	}
	return nil
}

// check is for what must hold at the end.
func check(ok bool, format string, args ...any) error {
	if ok {
		return nil
	}
	return fmt.Errorf(format, args...)
}
