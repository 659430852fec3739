package client

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/ncruces/go-sqlite3"
	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/secrets"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/devicesync"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/ident"
)

// SecretsSteps is how many steps a write of the secrets file has.
var SecretsSteps = len(secrets.Steps)

// SetSecretsHook is secrets.File.SetHook.
func (c *Client) SetSecretsHook(f func(step string) error) { c.core.Keys.SetHook(f) }

// Nick gives a contact a petname without asking anybody.
func (c *Client) Nick(id ident.AccountID, nick string) error {
	err := c.core.Update(func(tx *store.Tx, _ *core.Batch) error {
		if err := c.core.Docs.Set(c.core.NowMS(), devicesync.ContactNick, string(id[:]),
			devicesync.Text(nick)); err != nil {
			return err
		}
		return c.core.SaveDocuments(tx)
	})
	c.core.Kick(c.core.Me)
	return err
}

// Seeds returns the day keys that the device holds one by one.
func (c *Client) Seeds() map[DayKey][32]byte {
	out := map[DayKey][32]byte{}
	c.core.Keys.Read(func(s *account.State) {
		for _, v := range s.Retained() {
			if seed, ok := seedIn(s.Marshal(), v); ok {
				out[v] = seed
			}
		}
	})
	return out
}

// seedIn finds a seed in a marshalled state: it follows its name.
func seedIn(state []byte, v DayKey) (seed [32]byte, ok bool) {
	name := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, v.G), v.Day)
	i := bytes.Index(state, name)
	if i < 0 || len(state) < i+40 {
		return seed, false
	}
	return [32]byte(state[i+8:]), true
}

// Scan returns everything that whoever has a profile's directory, the master key in it included, can read:
// the raw files, what of the secrets opens, and every value of the database.
func Scan(t testing.TB, dir string) [][]byte {
	t.Helper()
	copied := t.TempDir()
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	var out [][]byte
	names, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := core.KeysOf(copied)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if n.IsDir() {
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, n.Name()))
		if err != nil {
			t.Fatal(err)
		}
		alone := filepath.Join(t.TempDir(), "secrets")
		if err := os.WriteFile(alone, b, 0o600); err != nil {
			t.Fatal(err)
		}
		out = append(out, b)
		if secret, err := secrets.New(alone, keys.Secrets).Load(); err == nil {
			out = append(out, secret)
		}
	}
	db, err := store.Open(filepath.Join(copied, "store.db"), keys.Store)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.View(func(tx *store.Tx) error {
		var tables []string
		tx.Query("SELECT name FROM sqlite_master WHERE type = 'table'", nil, func(s *sqlite3.Stmt) bool {
			tables = append(tables, s.ColumnText(0))
			return true
		})
		for _, name := range tables {
			tx.Query(`SELECT * FROM "`+name+`"`, nil, func(s *sqlite3.Stmt) bool {
				for i := range s.ColumnCount() {
					out = append(out, s.ColumnBlob(i, nil))
				}
				return true
			})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
