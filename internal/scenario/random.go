package scenario

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// randomActions is how many actions the random scenario plays.
const randomActions = 100

// shrinkPlays bounds how often a failed run is played again to find a shorter one.
const shrinkPlays = 8

// action is one step of the random scenario. Its number is drawn beforehand, so that an action does the same
// whatever was left out before it.
type action struct {
	device int
	kind   int
	draw   uint64
}

// verbs are what random actions do. An action that makes no sense where it is (a message that is not there)
// does nothing.
var verbs = []struct {
	name string
	do   func(s *stage, d, bob *device, draw uint64) error
}{
	{"petname", func(s *stage, d, bob *device, n uint64) error {
		return d.Contact(bob.id()).SetNick(s.ctx, fmt.Sprintf("bob %d", n%10))
	}},
	{"pin", func(s *stage, d, bob *device, n uint64) error { return pinMark.on(d, bob.id(), n%2 == 0) }},
	{"archive", func(s *stage, d, bob *device, n uint64) error {
		return archiveMark.on(d, bob.id(), n%2 == 0)
	}},
	{"mark-unread", func(s *stage, d, bob *device, n uint64) error {
		return unreadMark.on(d,
			bob.id(), n%2 == 0)
	}},
	{"mute", func(s *stage, d, bob *device, n uint64) error {
		return d.Conversation(bob.id()).Mute(s.ctx, time.UnixMilli(4_000_000_000_000+int64(n%10)))
	}},
	{"setting", func(s *stage, d, _ *device, n uint64) error {
		names := client.SettingNames()
		return d.Set(s.ctx, names[n%uint64(len(names))], n%2 == 0)
	}},
	{"rename", func(s *stage, d, _ *device, n uint64) error {
		return d.Rename(s.ctx,
			fmt.Sprintf("Alice %d", n%10))
	}},
	{"read", func(s *stage, d, bob *device, _ uint64) error {
		_, err := d.Conversation(bob.id()).MarkRead(s.ctx)
		return err
	}},
	{"hide", func(s *stage, d, bob *device, n uint64) error { return hiddenMark.on(d, bob.id(), n%2 == 0) }},
	{"friend writes", func(s *stage, _, bob *device, n uint64) error {
		_, err := bob.Send(s.ctx, s.devices[0].id(),
			client.Outgoing{Text: fmt.Sprintf("message %d", n%1_000_000)})
		return err
	}},
	{"react", func(s *stage, d, bob *device, n uint64) error {
		return onSome(d, bob.id(), n, func(m client.Message) error {
			return react(d, m.Ref(), []string{"👍", "👎"}[n%2], n%3 != 0)
		})
	}},
	{"delete for me", func(s *stage, d, bob *device, n uint64) error {
		return onSome(d, bob.id(), n, func(m client.Message) error {
			_,
				err := d.Message(m.Ref()).Delete(s.ctx)
			return err
		})
	}},
	{"go offline", func(s *stage, d, _ *device, _ uint64) error {
		if d.cancel == nil {
			return nil
		}
		return d.crash()
	}},
	{"come back", func(s *stage, d, _ *device, _ uint64) error {
		if d.cancel == nil {
			d.run()
		}
		return nil
	}},
}

// onSome does something with one of the messages of a conversation.
func onSome(d *device, peer ident.AccountID, draw uint64, do func(client.Message) error) error {
	all, err := d.Messages(d.stage.ctx, client.Filter{Conversation: peer.String()})
	if err != nil || len(all) == 0 {
		return err
	}
	m := all[draw%uint64(len(all))]
	if m.Deleted {
		return nil
	}
	return do(m)
}

func drawActions(rng *rand.Rand, n, devices int) (out []action) {
	for range n {
		out = append(out, action{rng.IntN(devices), rng.IntN(len(verbs)), rng.Uint64()})
	}
	return out
}

func playRandom(s *stage) error {
	s.note = fmt.Sprintf("seed %d", s.cfg.Seed)
	actions := drawActions(s.rng, randomActions, s.cfg.Devices)
	err := s.playActions(actions)
	if err == nil || s.ctx.Err() != nil {
		return err
	}
	actions = s.shrink(actions)
	var text strings.Builder
	for _, a := range actions {
		fmt.Fprintf(&text, "\n  device %d: %s (%d)", a.device+1, verbs[a.kind].name, a.draw)
	}
	return fmt.Errorf("seed %d: %w; %d actions do it:%s", s.cfg.Seed, err, len(actions), text.String())
}

// shrink looks for fewer actions that fail too: it leaves out halves, then smaller parts, on fresh accounts.
func (s *stage) shrink(actions []action) []action {
	plays := 0
	for part := len(actions) / 2; part > 0; part /= 2 {
		for from := 0; from < len(actions); {
			if plays++; plays > shrinkPlays || s.ctx.Err() != nil {
				return actions
			}
			less := append(append([]action(nil), actions[:from]...),
				actions[min(from+part, len(actions)):]...)
			if len(less) > 0 && s.fails(less) {
				actions = less
			} else {
				from += part
			}
		}
	}
	return actions
}

func (s *stage) fails(actions []action) bool {
	dir, err := os.MkdirTemp(s.dir, "shrink-")
	if err != nil {
		return false
	}
	defer os.RemoveAll(dir)
	again := newStage(s.ctx, Config{Cluster: s.cfg.Cluster, Devices: s.cfg.Devices, Seed: s.cfg.Seed,
		Logger: s.cfg.Logger}, dir)
	err = again.playActions(actions)
	_ = again.end()
	return err != nil
}

func (s *stage) playActions(actions []action) error {
	bob, err := s.familyAndFriend()
	if err != nil {
		return err
	}
	for i, a := range actions {
		if i == len(actions)/2 {
			if err := s.middle(); err != nil {
				return err
			}
		}
		d := s.devices[a.device]
		err := verbs[a.kind].do(s, d, bob, a.draw)
		if err != nil && !errors.Is(err, fault.NotFound) {
			return fmt.Errorf("action %d, %s on %s: %w", i+1, verbs[a.kind].name, d.cfg.Label, err)
		}
	}
	at := time.Now()
	if err := bob.Idle(s.ctx); err != nil {
		return err
	}
	for _, d := range s.devices {
		if d.cancel == nil {
			d.run()
		}
	}
	for _, d := range s.devices {
		if err := d.Idle(s.ctx); err != nil {
			return err
		}
	}
	if err := s.startRepair(); err != nil {
		return err
	}
	if err := s.same(); err != nil {
		return err
	}
	s.took(time.Since(at))
	return s.sameMessages()
}

// fingerprint is everything of messages that all devices of an account agree about.
func fingerprint(all []client.Message) string {
	lines := make([]string, 0, len(all))
	for _, m := range all {
		var reactions []string
		for _, r := range m.Reactions {
			reactions = append(reactions, r.Emoji+" "+r.From.String()[:8])
		}
		slices.Sort(reactions)
		lines = append(lines, fmt.Sprintf("%s from %s: %q edited %t deleted %t %v", m.ID.Short(),
			m.From.String()[:8], m.Text, m.Edited, m.Deleted, reactions))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
