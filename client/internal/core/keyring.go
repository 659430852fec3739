package core

import (
	"sync"

	"github.com/starling-swarm/starling/client/internal/secrets"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// Keyring guards the device's secret state. It may be entered inside a transaction of the store, never the
// other way round.
type Keyring struct {
	mu    sync.Mutex
	state *account.State
	file  *secrets.File
}

// LoadKeyring reads the secrets of a device. Errors: NotFound (there are none), Corrupt.
func LoadKeyring(f *secrets.File) (*Keyring, error) {
	b, err := f.Load()
	if err != nil {
		return nil, err
	}
	s, err := account.UnmarshalState(b)
	if err != nil {
		return nil, err
	}
	return &Keyring{state: s, file: f}, nil
}

// Read runs f, which must not change the state.
func (k *Keyring) Read(f func(*account.State)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f(k.state)
}

// Change runs f and writes the state to disk before it returns, also when f fails: what f did in memory must
// never be ahead of the disk.
func (k *Keyring) Change(f func(*account.State) error) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	err := f(k.state)
	if werr := k.file.Replace(k.state.Marshal()); werr != nil {
		return werr
	}
	return err
}

// Account returns whose device this is.
func (k *Keyring) Account() (id ident.AccountID) {
	k.Read(func(s *account.State) { id = s.Account() })
	return id
}

// Mailbox returns the account's mailbox.
func (k *Keyring) Mailbox() (id ident.MailboxID) {
	k.Read(func(s *account.State) { id = s.Mailbox() })
	return id
}

// Device returns which device this is.
func (k *Keyring) Device() (id ident.DeviceID) {
	k.Read(func(s *account.State) { id = s.Device() })
	return id
}

// Summary returns the device's label, the generation that it takes part in (0: none yet), and whether it
// was revoked.
func (k *Keyring) Summary() (label string, g uint32, revoked bool) {
	k.Read(func(s *account.State) { label, g, revoked = s.Label(), s.G(), s.Revoked() })
	return label, g, revoked
}

// ManyDevices reports whether the account has other devices to tell.
func (k *Keyring) ManyDevices() (many bool) {
	k.Read(func(s *account.State) { many = len(s.Devices()) > 1 })
	return many
}

// Authority returns the signer of the generation that this device takes part in. Denied: this device was
// revoked.
func (k *Keyring) Authority() (a Authority, err error) {
	k.Read(func(s *account.State) {
		key, ok := s.Authority()
		switch {
		case s.Revoked():
			err = ErrRevoked("sign request")
		case !ok:
			err = fault.New(fault.Denied, "sign request", "this device is not part of the account")
		default:
			a = Authority{k: k, public: key.Public()}
		}
	})
	return a, err
}

// AuthorityOf returns the signer of a key that the state holds, also if the device was revoked.
func (k *Keyring) AuthorityOf(key account.Signer) Authority {
	return Authority{k: k, public: key.Public()}
}

// Authority signs for one generation, under the keyring's lock: adopting the next one erases the key at any
// moment.
type Authority struct {
	k      *Keyring
	public [32]byte
}

// Public returns the public key.
func (a Authority) Public() [32]byte { return a.public }

// Sign signs msg; once the generation is over the signature is zero, which every node refuses.
func (a Authority) Sign(msg []byte) (sig [64]byte) {
	a.k.Read(func(s *account.State) {
		if key, ok := s.Authority(); ok && key.Public() == a.public {
			sig = key.Sign(msg)
		}
	})
	return sig
}

// ErrRevoked is the error of what a revoked device cannot do any more: Denied.
func ErrRevoked(op string) error {
	return fault.New(fault.Denied, op, "this device was revoked: the account went on without it")
}

// SignWith returns the SignFunc of a key.
func SignWith(key account.Signer) SignFunc {
	return func(node ident.NodeID, tag [32]byte, timeMS int64, label string, b []byte) envelope.Signed {
		return account.SignRequest(key, label, node, tag, timeMS, b)
	}
}

// Unsigned sends requests that carry no authority.
func Unsigned(_ ident.NodeID, _ [32]byte, timeMS int64, _ string, b []byte) envelope.Signed {
	return envelope.Signed{TimeMS: timeMS, Bytes: b}
}

// SetHook calls f around each step of writing the secrets, for tests of crashes: see secrets.File.SetHook.
func (k *Keyring) SetHook(f func(step string) error) { k.file.SetHook(f) }

// FindDevice returns an active device of the account.
func FindDevice(s *account.State, id ident.DeviceID) (account.Device, bool) {
	for _, d := range s.Devices() {
		if d.ID == id {
			return d, true
		}
	}
	return account.Device{}, false
}
