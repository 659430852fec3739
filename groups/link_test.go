package groups

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/private"
)

func TestLinkLeadsToItsInvitationOnly(t *testing.T) {
	b, alice := found(t, 1)
	in := b.invite(t, alice)
	l := in.Link()
	blob, err := l.Seal(rand.Reader, in)
	if err != nil || len(blob) != linkBlob {
		t.Fatalf("got %d bytes, %v, want %d", len(blob), err, linkBlob)
	}
	text := l.Text()
	if len(text) != linkChars || len(text) > 100 {
		t.Errorf("a link has %d characters, want %d", len(text), linkChars)
	}
	back, err := ParseLink("  " + text[:20] + "\n " + text[20:] + "\n")
	if err != nil {
		t.Fatal(err)
	}
	got, raw, err := back.Open(blob)
	if err != nil || !bytes.Equal(raw, in.Encode()) || got.Serial != in.Serial {
		t.Fatalf("got %+v, %v, want the invitation", got, err)
	}
	if back.Mailbox() != l.Mailbox() || !back.Authority().Equal(l.Authority()) ||
		NewLink(in.seed.key(), l.Pin()).Text() != text {
		t.Error("the link that was read is another")
	}
	// Whoever has the link can seal something else for its mailbox.
	other := *in
	other.Name = "not this one"
	replaced, err := other.Link().Seal(rand.Reader, &other)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := back.Open(replaced); !errors.Is(err, fault.Corrupt) {
		t.Errorf("a replaced invitation: got %v, want corrupt", err)
	}
	if _, err := l.Seal(rand.Reader, &other); !errors.Is(err, fault.Invalid) {
		t.Errorf("sealing another invitation: got %v, want invalid", err)
	}
	for _, i := range []int{0, 1, 24, 25, len(blob) - 1} {
		bad := bytes.Clone(blob)
		bad[i] ^= 1
		if _, _, err := back.Open(bad); !errors.Is(err, fault.Corrupt) {
			t.Errorf("byte %d flipped: got %v, want corrupt", i, err)
		}
	}
}

func TestLongestInvitationFitsItsBlob(t *testing.T) {
	in := frozenInvitation()
	in.Name = strings.Repeat("n", MaxName)
	blob, err := in.Link().Seal(rand.Reader, in)
	if err != nil || len(blob) != linkBlob || len(in.Encode()) > linkPlain-2 {
		t.Errorf("%d bytes sealed to %d, %v, want %d", len(in.Encode()), len(blob), err, linkBlob)
	}
}

func TestMalformedLinkSaysWhatToDo(t *testing.T) {
	l := NewLink(private.KeyOf([32]byte{1, 2, 3}), [16]byte{4, 5})
	text := l.Text()
	for name, c := range map[string]struct{ text, want string }{
		"empty":           {"", "does not begin with starling:group/"},
		"another prefix":  {"starling:account/" + text[15:], "does not begin with starling:group/"},
		"cut off":         {text[:70], "it has 70 characters, want 83: copy all of it"},
		"one short":       {text[:len(text)-1], "it has 82 characters, want 83"},
		"one more":        {text + "A", "it has 84 characters, want 83"},
		"doubled":         {text + text[15:], "it has 151 characters, want 83"},
		"a bad character": {text[:20] + "!" + text[21:], "character 21, '!', does not belong there"},
		"a dot after it":  {text + ".", "character 84, '.', does not belong there"},
		"not ASCII":       {text[:30] + "ä" + text[31:], "character 31, 'ä', does not belong there"},
		"newer":           {LinkPrefix + "Ag" + text[17:], "it is of version 2"},
	} {
		_, err := ParseLink(c.text)
		if !errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want invalid: %s", name, err, c.want)
		}
	}
	for i := len(LinkPrefix); i < len(text); i++ {
		c := byte('A')
		if text[i] == c {
			c = 'B'
		}
		if _, err := ParseLink(text[:i] + string(c) + text[i+1:]); !errors.Is(err, fault.Invalid) {
			t.Errorf("character %d mistyped: got %v, want invalid", i, err)
		}
	}
}

// frozenInvitation is always the same.
func frozenInvitation() *Invitation {
	intake := derive(make([]byte, 32), nil, labelIntake)
	in := &Invitation{
		Group: ident.GroupID{ident.GroupType, 1}, Generation: 2, HeadIndex: 3, HeadHash: [32]byte{4},
		Serial: 5, NotAfter: start.UnixMilli(), Name: "frozen",
		Inviter: accountOf(6), intake: intake.box().PublicKey().Bytes(),
	}
	in.read.b[0], in.seed.b[0] = 7, 8
	return in
}

// TestFrozenLink holds what must never change without another version.
func TestFrozenLink(t *testing.T) {
	in := frozenInvitation()
	l := in.Link()
	blob, err := l.Seal(bytes.NewReader(make([]byte, 24)), in)
	if err != nil {
		t.Fatal(err)
	}
	mailbox, authority, sum := l.Mailbox(), secretOf(l.Authority()), sha256.Sum256(blob)
	public, invite := authority.public(), secretOf(in.RequestSigner())
	for _, c := range []struct{ what, got, want string }{
		{"text", l.Text(), "starling:group/AQgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAbvjMcChIA4l7WxosOHMUom5t"},
		{"mailbox", hex.EncodeToString(mailbox[:]),
			"81d2d6a331e33c8602e314843af9c0c0d7f669e64084107d681edb3c6b8be626"},
		{"authority", hex.EncodeToString(public[:]),
			"f52d91e65f79a946f341ca0da612605e43305b51afcf5f4f1181ec5955d09868"},
		{"blob", hex.EncodeToString(sum[:]),
			"9449391e49d2c49ada16775d8dbb89268e163de4a32eda773414346b86441add"},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %s, want %s", c.what, c.got, c.want)
		}
	}
	keys := map[[32]byte]bool{in.seed.b: true, invite.b: true, l.MailboxKey().Reveal(): true,
		l.Authority().Reveal(): true}
	if len(keys) != 4 {
		t.Error("keys of an invitation and its link are the same")
	}
}

func FuzzLink(f *testing.F) {
	b, alice := found(f, 1)
	in := b.invite(f, alice)
	l := in.Link()
	blob, err := l.Seal(rand.Reader, in)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(blob)
	f.Add([]byte(l.Text()))
	f.Add(in.Encode())
	key := derive(l.seed.b[:], nil, labelLinkKey)
	f.Fuzz(func(t *testing.T, raw []byte) {
		if p, err := ParseLink(string(raw)); err == nil {
			if strings.Join(strings.Fields(string(raw)), "") != p.Text() {
				t.Error("a link has another text than it was read from")
			}
		}
		_, _, _ = l.Open(raw)
		// What somebody with the link can put there, with a link that is made for it.
		plain := make([]byte, linkPlain)
		copy(plain, raw)
		box, err := key.seal(rand.Reader, l.bound(), plain)
		if err != nil {
			t.Fatal(err)
		}
		box = append([]byte{formatVersion}, box...)
		_, _, _ = l.Open(box)
		n := min(int(plain[0])<<8|int(plain[1]), linkPlain-2)
		if got, body, err := NewLink(l.seed.key(), pinOf(plain[2:2+n])).Open(box); err == nil &&
			!bytes.Equal(got.Encode(), body) {
			t.Error("an invitation does not encode to what it was read from")
		}
	})
}
