// Package clictx keeps the contexts of the command line: names for clusters, each with the cluster file to
// use, and which of them is current. swarmd dev makes the context "dev"; sessionctl reads, adds and switches
// them.
//
// Everything lies in sessionctl's home directory:
//
//	contexts.json          {"v":1, "current":"dev", "contexts":{"dev":"clusters/dev.json"}}
//	clusters/dev.json      a copy of the cluster file
//
// Paths in contexts.json are relative to the home directory unless they are absolute. Changes are made under
// a file lock and by renaming, so that two commands at a time never leave half a file. The package parses no
// cluster file and reads no environment except through the XDG defaults of DefaultHome.
package clictx

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/adrg/xdg"
	"github.com/gofrs/flock"

	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/safefile"
)

// Version is the version of contexts.json.
const Version = 1

const (
	fileName   = "contexts.json"
	clusterDir = "clusters"
)

var validName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}$`)

// Contexts is the content of contexts.json.
type Contexts struct {
	V        int               `json:"v"`
	Current  string            `json:"current"`  // "" when there is none
	Contexts map[string]string `json:"contexts"` // name: path of a cluster file
}

// DefaultHome returns sessionctl's home when neither --home nor SESSIONCTL_HOME names one: the directory
// "sessionctl" under the XDG data home.
func DefaultHome() string { return filepath.Join(xdg.DataHome, "sessionctl") }

// Load reads the contexts of home; without a file there are none. Errors: Invalid for a file that is no
// contexts file of this version.
func Load(home string) (*Contexts, error) {
	path := filepath.Join(home, fileName)
	c := &Contexts{V: Version, Contexts: map[string]string{}}
	body, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(body, c); err != nil {
		return nil, fault.Wrap(fault.Invalid, "read "+path, err)
	}
	if c.V != Version {
		return nil, fault.New(fault.Invalid, "read "+path, "version %d, want %d", c.V, Version)
	}
	if c.Contexts == nil {
		c.Contexts = map[string]string{}
	}
	return c, nil
}

// Save writes the contexts of home.
func Save(home string, c *Contexts) error {
	c.V = Version
	body, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(home, fileName), append(body, '\n'))
}

// Names returns the contexts' names, sorted.
func (c *Contexts) Names() []string {
	var names []string
	for name := range c.Contexts {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Path returns where the cluster file of a context of home lies. Errors: NotFound.
func (c *Contexts) Path(home, name string) (string, error) {
	p, ok := c.Contexts[name]
	if !ok {
		return "", fault.New(fault.NotFound, "context "+name, "not known; have %s",
			strings.Join(c.Names(), ", "))
	}
	if !filepath.IsAbs(p) {
		p = filepath.Join(home, p)
	}
	return p, nil
}

// Add copies a cluster file into home under a name, replacing what that name had. The current context stays,
// unless there was none. Errors: Invalid for a name that is not 1 to 64 letters, digits, dots, hyphens and
// underscores.
func Add(home, name string, clusterFile []byte) error {
	if !validName.MatchString(name) {
		return fault.New(fault.Invalid, "add context",
			"%q is not 1 to 64 letters, digits, dots, hyphens and underscores", name)
	}
	return update(home, func(c *Contexts) error {
		rel := filepath.Join(clusterDir, name+".json")
		if err := writeFile(filepath.Join(home, rel), clusterFile); err != nil {
			return err
		}
		c.Contexts[name] = rel
		if c.Current == "" {
			c.Current = name
		}
		return nil
	})
}

// Use makes a context current and returns the one that was before. Errors: NotFound.
func Use(home, name string) (previous string, err error) {
	err = update(home, func(c *Contexts) error {
		if _, err := c.Path(home, name); err != nil {
			return err
		}
		previous, c.Current = c.Current, name
		return nil
	})
	return previous, err
}

// Remove forgets a context and its copy of the cluster file. If it was current, fallback becomes current
// where that name is known, else none. Errors: NotFound.
func Remove(home, name, fallback string) error {
	return update(home, func(c *Contexts) error {
		p, err := c.Path(home, name)
		if err != nil {
			return err
		}
		if strings.HasPrefix(p, filepath.Join(home, clusterDir)+string(filepath.Separator)) {
			if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		delete(c.Contexts, name)
		if c.Current == name {
			c.Current = ""
			if _, ok := c.Contexts[fallback]; ok {
				c.Current = fallback
			}
		}
		return nil
	})
}

// Resolve returns the path of the cluster file that arg means: "" is the current context, else the name of a
// context, else a path. Errors: NotFound when there is no current context, or arg is neither.
func Resolve(home, arg string) (string, error) {
	c, err := Load(home)
	if err != nil {
		return "", err
	}
	if arg == "" {
		if c.Current == "" {
			return "", fault.New(fault.NotFound, "find cluster", "no current context")
		}
		return c.Path(home, c.Current)
	}
	if _, ok := c.Contexts[arg]; ok {
		return c.Path(home, arg)
	}
	if _, err := os.Stat(arg); err != nil {
		return "", fault.New(fault.NotFound, "find cluster", "%q is neither a context nor a file", arg)
	}
	return arg, nil
}

func update(home string, change func(*Contexts) error) error {
	if err := os.MkdirAll(home, 0o700); err != nil {
		return err
	}
	lock := flock.New(filepath.Join(home, "contexts.lock"))
	if err := lock.Lock(); err != nil {
		return err
	}
	defer lock.Unlock()
	c, err := Load(home)
	if err != nil {
		return err
	}
	if err := change(c); err != nil {
		return err
	}
	return Save(home, c)
}

func writeFile(path string, body []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return safefile.Replace(path, body)
}
