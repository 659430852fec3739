package sessionapi

// Command is what help --json says of one command; kind help.
type Command struct {
	Name     string    `json:"name"`
	Path     string    `json:"path"`
	Short    string    `json:"short"`
	Usage    string    `json:"usage"`
	Examples []string  `json:"examples,omitempty"`
	Flags    []Flag    `json:"flags,omitempty"`
	Commands []Command `json:"commands,omitempty"`
}

// Flag is a flag of a command.
type Flag struct {
	Name      string `json:"name"`
	Shorthand string `json:"shorthand,omitempty"`
	Type      string `json:"type"`
	Default   string `json:"default,omitempty"`
	Usage     string `json:"usage"`
}

// Licenses are the licence of the program and the modules it is built from; kind licenses.
type Licenses struct {
	License string   `json:"license"`
	Modules []Module `json:"modules"`
}

// Module is a Go module in the binary.
type Module struct {
	Path    string `json:"path"`
	Version string `json:"version"`
	URL     string `json:"url"`
}
