package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/knadh/koanf/v2"
	"go.yaml.in/yaml/v3"

	"github.com/starling-swarm/starling/internal/fault"
)

// EnvPrefix begins every variable of the environment that a node reads.
const EnvPrefix = "SWARMD_"

// EnvConfig names the configuration file.
const EnvConfig = EnvPrefix + "CONFIG"

// Layers are where a configuration comes from, weakest first: defaults, File, Env, Flags.
type Layers struct {
	File  string            // path of a yaml file; "" for none
	Env   []string          // as os.Environ gives it; only SWARMD_* counts
	Flags map[string]string // dotted names as typed; lists separated by commas
}

// Loaded is a configuration together with where each value came from.
type Loaded struct {
	Config Config
	Source map[string]string // key name: "default", "file PATH", "env NAME" or "flag --NAME"
}

// Problems is every fault of a configuration at once. It is a fault of kind Invalid.
type Problems []string

func (p Problems) Error() string {
	if len(p) == 1 {
		return p[0]
	}
	return fmt.Sprintf("%d problems: %s", len(p), strings.Join(p, "; "))
}

// Is makes Problems a fault of kind Invalid.
func (p Problems) Is(target error) bool { return target == error(fault.Invalid) }

func envName(key string) string {
	return EnvPrefix + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

// Load merges the layers. It reports every unknown name and unreadable value at once, together with what
// Validate finds, as Problems. A file that is named but absent is NotFound.
func Load(l Layers) (*Loaded, error) {
	keys := Keys()
	merged := koanf.New(".")
	out := &Loaded{Source: make(map[string]string)}
	var problems Problems
	for _, k := range keys {
		_ = merged.Set(k.Name, k.Default)
		out.Source[k.Name] = "default"
	}
	apply := func(source func(Key) string, values map[string]any) {
		for _, k := range keys {
			v, ok := values[k.Name]
			if !ok {
				continue
			}
			typed, err := convert(v, k.Default)
			if err != nil {
				problems = append(problems, fmt.Sprintf("%s: %v (%s)", k.Name, err, source(k)))
				continue
			}
			_ = merged.Set(k.Name, typed)
			out.Source[k.Name] = source(k)
		}
	}

	file, unknown, err := readFile(l.File, keys)
	if err != nil {
		return nil, err
	}
	problems = append(problems, unknown...)
	apply(func(Key) string { return "file " + l.File }, file)

	env, unknown := readEnv(l.Env, keys)
	problems = append(problems, unknown...)
	apply(func(k Key) string { return "env " + k.Env }, env)

	flags := make(map[string]any)
	for name, v := range l.Flags {
		flags[name] = v
	}
	apply(func(k Key) string { return "flag --" + k.Name }, flags)

	if err := merged.Unmarshal("", &out.Config); err != nil {
		return nil, fault.Wrap(fault.Internal, "read configuration", err)
	}
	base := ""
	if l.File != "" {
		base = filepath.Dir(l.File)
	}
	out.Config.resolve(base, out.Source)
	problems = append(problems, out.Config.Validate()...)
	if len(problems) > 0 {
		return out, problems
	}
	return out, nil
}

// readFile returns the flattened values of a yaml file.
func readFile(path string, keys []Key) (map[string]any, Problems, error) {
	if path == "" {
		return nil, nil, nil
	}
	body, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fault.New(fault.NotFound, "read configuration", "%s does not exist", path)
	}
	if err != nil {
		return nil, nil, fault.Wrap(fault.Invalid, "read configuration", err)
	}
	var tree map[string]any
	if err := yaml.Unmarshal(body, &tree); err != nil {
		return nil, nil, fault.Wrap(fault.Invalid, "read configuration "+path, err)
	}
	k := koanf.New(".")
	if err := k.Load(mapProvider(tree), nil); err != nil {
		return nil, nil, fault.Wrap(fault.Invalid, "read configuration "+path, err)
	}
	values := k.All()
	var problems Problems
	for _, name := range k.Keys() {
		if !slices.ContainsFunc(keys, func(k Key) bool { return k.Name == name }) {
			problems = append(problems, fmt.Sprintf("%s: unknown key%s (file %s)", name,
				didYouMean(name, keys), path))
		}
	}
	return values, problems, nil
}

func readEnv(environ []string, keys []Key) (map[string]any, Problems) {
	values := make(map[string]any)
	var problems Problems
	for _, kv := range environ {
		name, v, _ := strings.Cut(kv, "=")
		if !strings.HasPrefix(name, EnvPrefix) || name == EnvConfig {
			continue
		}
		i := slices.IndexFunc(keys, func(k Key) bool { return k.Env == name })
		if i < 0 {
			problems = append(problems, fmt.Sprintf("%s: unknown variable", name))
			continue
		}
		values[keys[i].Name] = v
	}
	return values, problems
}

// mapProvider hands a parsed tree to koanf.
type mapProvider map[string]any

func (m mapProvider) ReadBytes() ([]byte, error)    { return nil, errors.ErrUnsupported }
func (m mapProvider) Read() (map[string]any, error) { return m, nil }

// convert gives v, from yaml or as text, the type of like.
func convert(v, like any) (any, error) {
	text, isText := v.(string)
	switch like.(type) {
	case string:
		if isText {
			return text, nil
		}
		if v == nil {
			return "", nil
		}
	case bool:
		if b, ok := v.(bool); ok {
			return b, nil
		}
		if b, err := strconv.ParseBool(text); isText && err == nil {
			return b, nil
		}
	case int:
		if n, ok := v.(int); ok {
			return n, nil
		}
		if n, err := strconv.Atoi(text); isText && err == nil {
			return n, nil
		}
	case time.Duration:
		if d, err := time.ParseDuration(text); isText && err == nil {
			return d, nil
		}
	case []string:
		return stringList(v)
	}
	return nil, fmt.Errorf("%v is no %s", v, typeName(like))
}

func stringList(v any) ([]string, error) {
	out := []string{}
	switch v := v.(type) {
	case nil:
	case string:
		for part := range strings.SplitSeq(v, ",") {
			if part = strings.TrimSpace(part); part != "" {
				out = append(out, part)
			}
		}
	case []any:
		for _, e := range v {
			s, ok := e.(string)
			if !ok {
				return nil, fmt.Errorf("%v is no text", e)
			}
			out = append(out, s)
		}
	default:
		return nil, fmt.Errorf("%v is no list", v)
	}
	return out, nil
}

func typeName(like any) string {
	switch like.(type) {
	case string:
		return "text"
	case bool:
		return "true or false"
	case time.Duration:
		return "duration such as 10s"
	case int:
		return "whole number"
	}
	return reflect.TypeOf(like).String()
}

// didYouMean returns ": did you mean x?" for the nearest key, or "".
func didYouMean(name string, keys []Key) string {
	best, dist := "", 4
	for _, k := range keys {
		if d := distance(name, k.Name); d < dist {
			best, dist = k.Name, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(", did you mean %s?", best)
}

// distance is the number of letters to insert, delete or replace to get from a to b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diag := row[0]
		row[0] = i + 1
		for j := range len(b) {
			d := diag
			if a[i] != b[j] {
				d++
			}
			diag = row[j+1]
			row[j+1] = min(d, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// resolve makes paths that came from the file relative to it, and fills what follows from other values.
func (c *Config) resolve(base string, source map[string]string) {
	for name, p := range map[string]*string{
		"cluster_file": &c.ClusterFile, "data_dir": &c.DataDir, "identity_file": &c.IdentityFile,
		"secret_file": &c.SecretFile, "admin_socket": &c.AdminSocket,
	} {
		src := source[name]
		fromFile := strings.HasPrefix(src, "file ") || src == "default"
		if *p != "" && fromFile && !filepath.IsAbs(*p) {
			*p = filepath.Join(base, *p)
		}
	}
	c.fill()
}

// Value returns the value of a key of c.
func (c *Config) Value(k Key) any { return reflect.ValueOf(*c).FieldByIndex(k.index).Interface() }
