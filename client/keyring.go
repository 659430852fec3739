package client

import (
	"sync"

	"github.com/starling-swarm/starling/client/internal/secrets"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// keyring guards the device's secret state. It may be entered inside a transaction of the store, never the other way
// round.
type keyring struct {
	mu    sync.Mutex
	state *account.State
	file  *secrets.File
}

func loadKeyring(f *secrets.File) (*keyring, error) {
	b, err := f.Load()
	if err != nil {
		return nil, err
	}
	s, err := account.UnmarshalState(b)
	if err != nil {
		return nil, err
	}
	return &keyring{state: s, file: f}, nil
}

// read runs f, which must not change the state.
func (k *keyring) read(f func(*account.State)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f(k.state)
}

// change runs f and writes the state to disk before it returns, also when f fails: what f did in memory must never be
// ahead of the disk.
func (k *keyring) change(f func(*account.State) error) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	err := f(k.state)
	if werr := k.file.Replace(k.state.Marshal()); werr != nil {
		return werr
	}
	return err
}

func (k *keyring) account() (id ident.AccountID) {
	k.read(func(s *account.State) { id = s.Account() })
	return id
}

func (k *keyring) mailbox() (id ident.MailboxID) {
	k.read(func(s *account.State) { id = s.Mailbox() })
	return id
}

func (k *keyring) device() (id ident.DeviceID) {
	k.read(func(s *account.State) { id = s.Device() })
	return id
}

func (k *keyring) summary() (label string, g uint32, revoked bool) {
	k.read(func(s *account.State) { label, g, revoked = s.Label(), s.G(), s.Revoked() })
	return label, g, revoked
}

// manyDevices reports whether the account has other devices to tell.
func (k *keyring) manyDevices() (many bool) {
	k.read(func(s *account.State) { many = len(s.Devices()) > 1 })
	return many
}

// authority returns the signer of the generation that this device takes part in. Denied: this device was revoked.
func (k *keyring) authority() (a authority, err error) {
	k.read(func(s *account.State) {
		key, ok := s.Authority()
		switch {
		case s.Revoked():
			err = errRevoked("sign request")
		case !ok:
			err = fault.New(fault.Denied, "sign request", "this device is not part of the account")
		default:
			a = authority{k: k, public: key.Public()}
		}
	})
	return a, err
}

// authority signs for one generation, under the keyring's lock: adopting the next one erases the key at any moment.
type authority struct {
	k      *keyring
	public [32]byte
}

func (a authority) Public() [32]byte { return a.public }

// Sign signs msg; once the generation is over the signature is zero, which every node refuses.
func (a authority) Sign(msg []byte) (sig [64]byte) {
	a.k.read(func(s *account.State) {
		if key, ok := s.Authority(); ok && key.Public() == a.public {
			sig = key.Sign(msg)
		}
	})
	return sig
}

func errRevoked(op string) error {
	return fault.New(fault.Denied, op, "this device was revoked: the account went on without it")
}

// signWith returns the SignFunc of a key.
func signWith(key account.Signer) SignFunc {
	return func(node ident.NodeID, tag [32]byte, timeMS int64, label string, b []byte) envelope.Signed {
		return account.SignRequest(key, label, node, tag, timeMS, b)
	}
}

// unsigned sends requests that carry no authority.
func unsigned(_ ident.NodeID, _ [32]byte, timeMS int64, _ string, b []byte) envelope.Signed {
	return envelope.Signed{TimeMS: timeMS, Bytes: b}
}
