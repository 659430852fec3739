package node

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
)

// yaml returns c as a commented file that holds what differs from the defaults. Load reads it back to c.
func (c *Config) yaml() []byte {
	var b bytes.Buffer
	b.WriteString("# Configuration of one swarmd node. Paths are relative to this file; what is not here " +
		"has its default:\n")
	b.WriteString("# swarmd config explain --config FILE\n")
	section := ""
	for _, k := range Keys() {
		v := c.Value(k)
		if reflect.DeepEqual(v, k.Default) || reflect.ValueOf(v).Kind() == reflect.Slice &&
			reflect.ValueOf(v).Len() == 0 {
			continue
		}
		name, indent := k.Name, ""
		if s, rest, nested := strings.Cut(k.Name, "."); nested {
			name, indent = rest, "  "
			if s != section {
				fmt.Fprintf(&b, "\n%s:\n", s)
				section = s
			}
		} else {
			b.WriteByte('\n')
			section = ""
		}
		fmt.Fprintf(&b, "%s# %s\n%s%s: %s\n", indent, k.Doc, indent, name, yamlValue(v))
	}
	return b.Bytes()
}

// yamlValue returns v on one line.
func yamlValue(v any) string {
	node := new(yaml.Node)
	if err := node.Encode(v); err != nil {
		return fmt.Sprint(v)
	}
	if s, ok := v.(fmt.Stringer); ok { // durations read better as text
		node = &yaml.Node{Kind: yaml.ScalarNode, Value: s.String()}
	}
	node.Style |= yaml.FlowStyle
	out, err := yaml.Marshal(node)
	if err != nil {
		return fmt.Sprint(v)
	}
	return strings.TrimSpace(strings.ReplaceAll(string(out), "\n    ", " "))
}
