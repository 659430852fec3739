package private

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"

	"github.com/starling-swarm/starling/internal/fault"
)

// seed has bytes that no number, address or hex text beside it shows by chance.
var seed = [Size]byte([]byte("thirty-two bytes of pure secrecy"))

// holder is what a package makes that keeps keys out of sight of others.
type holder struct {
	Redacted
	key  Key
	sign SigningKey
}

func TestSecretsPrintNothing(t *testing.T) {
	k := KeyOf(seed)
	type open struct {
		Key  Key
		Sign SigningKey
		Ptr  *Key
	}
	for name, v := range map[string]any{
		"key": k, "pointer": &k, "signing key": k.Signing(), "in exported fields": open{k, k.Signing(), &k},
		"holder": holder{key: k, sign: k.Signing()}, "in a slice": []Key{k},
		"in a map": map[string]Key{"k": k},
	} {
		var log bytes.Buffer
		slog.New(slog.NewTextHandler(&log, nil)).Info("text", "key", v)
		slog.New(slog.NewJSONHandler(&log, nil)).Info("json", "key", v)
		doc, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{
			fmt.Sprint(v), fmt.Sprintf("%v %+v %#v %s %q %x %X %d", v, v, v, v, v, v, v,
				v), log.String(), string(doc),
			fault.New(fault.Invalid, "test", "got %v", v).Error(),
		} {
			for _, leak := range []string{string(seed[:8]), fmt.Sprintf("%x", seed[:4]),
				fmt.Sprintf("%X", seed[:4]), "116 104 105"} {
				if strings.Contains(text, leak) {
					t.Errorf("%s shows its bytes: %s", name, text)
				}
			}
		}
	}
}

func TestSecretsAreComparedInConstantTimeOnly(t *testing.T) {
	for _, v := range []any{Key{}, SigningKey{}, holder{}} {
		if reflect.TypeOf(v).Comparable() {
			t.Errorf("%T can be compared with ==", v)
		}
	}
	a, b := KeyOf(seed), KeyOf([Size]byte{1})
	if !a.Equal(KeyOf(seed)) || a.Equal(b) || a.IsZero() || !(Key{}).IsZero() {
		t.Error("keys: equal, different and zero ones are confused")
	}
	if !a.Signing().Equal(KeyOf(seed).Signing()) || a.Signing().Equal(b.Signing()) ||
		a.Signing().Equal(SigningKey{}) {
		t.Error("signing keys: equal and different ones are confused")
	}
	if a.Signing().IsZero() || !(SigningKey{}).IsZero() {
		t.Error("signing keys: zero and others are confused")
	}
	a.Wipe()
	if !a.IsZero() {
		t.Error("a wiped key is not zero")
	}
}

func TestBytesComeBackUnchanged(t *testing.T) {
	k, err := Draw(bytes.NewReader(seed[:]))
	if err != nil || k.Reveal() != seed {
		t.Errorf("draw: got %x, %v", k.Reveal(), err)
	}
	if _, err := Draw(bytes.NewReader(seed[1:])); !errors.Is(err, fault.Internal) {
		t.Errorf("too few random bytes: got %v, want internal", err)
	}
	plain := ed25519.NewKeyFromSeed(seed[:])
	s, err := SigningKeyOf(plain)
	if err != nil || !s.Equal(k.Signing()) || !s.Reveal().Equal(plain) || !s.Seed().Equal(k) {
		t.Errorf("signing key: does not survive, %v", err)
	}
	pub, sig := s.Public(), s.Sign([]byte("text"))
	if !ed25519.Verify(pub[:], []byte("text"), sig[:]) {
		t.Error("the signature does not verify")
	}
	if _, err := SigningKeyOf(plain[1:]); !errors.Is(err, fault.Invalid) {
		t.Errorf("short key: got %v, want invalid", err)
	}
}
