package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/starling-swarm/starling/internal/node"
)

const composeDir = "../../deploy/compose"

type composeFile struct {
	Services map[string]struct {
		Image       string         `yaml:"image"`
		Build       map[string]any `yaml:"build"`
		User        string         `yaml:"user"`
		Command     []string       `yaml:"command"`
		ReadOnly    bool           `yaml:"read_only"`
		CapDrop     []string       `yaml:"cap_drop"`
		CapAdd      []string       `yaml:"cap_add"`
		SecurityOpt []string       `yaml:"security_opt"`
		Ports       []string       `yaml:"ports"`
		Volumes     []string       `yaml:"volumes"`
		DependsOn   map[string]struct {
			Condition string `yaml:"condition"`
		} `yaml:"depends_on"`
		Networks map[string]struct {
			Aliases []string `yaml:"aliases"`
		} `yaml:"networks"`
		Healthcheck struct {
			Test []string `yaml:"test"`
		} `yaml:"healthcheck"`
	} `yaml:"services"`
	Networks map[string]any `yaml:"networks"`
	Volumes  map[string]any `yaml:"volumes"`
	Version  any            `yaml:"version"`
	Name     any            `yaml:"name"`
	Include  any            `yaml:"include"`
}

func readCompose(t *testing.T) composeFile {
	t.Helper()
	body, err := os.ReadFile(filepath.Join(composeDir, "docker-compose.yml"))
	if err != nil {
		t.Fatal(err)
	}
	var f composeFile
	if err := yaml.Unmarshal(body, &f); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestComposeServicesAreConfined(t *testing.T) {
	f := readCompose(t)
	if len(f.Services) != 6 {
		t.Errorf("got %d services, want init and 5 nodes", len(f.Services))
	}
	for name, s := range f.Services {
		if !s.ReadOnly || !slices.Contains(s.CapDrop, "ALL") ||
			!slices.Contains(s.SecurityOpt, "no-new-privileges:true") {
			t.Errorf("%s: want a read-only root, no capabilities and no new privileges", name)
		}
		isInit := name == "init"
		if (s.Build != nil) != isInit {
			t.Errorf("%s: only init builds; the nodes share its image", name)
		}
		if s.Image != f.Services["init"].Image {
			t.Errorf("%s: got image %q, want init's", name, s.Image)
		}
		if isInit {
			if s.User != "0:0" || !slices.Equal(s.CapAdd, []string{"CHOWN", "DAC_OVERRIDE"}) {
				t.Errorf("init: got user %q and capabilities %v, want root with CHOWN and DAC_OVERRIDE",
					s.User, s.CapAdd)
			}
			continue
		}
		if s.User != "" || len(s.CapAdd) != 0 {
			t.Errorf("%s: got user %q and capabilities %v, want those of the image and none", name,
				s.User, s.CapAdd)
		}
		if s.DependsOn["init"].Condition != "service_completed_successfully" {
			t.Errorf("%s does not wait for init", name)
		}
		if !slices.Equal(s.Healthcheck.Test, []string{"CMD", "/usr/bin/swarmd", "health", "--ready"}) {
			t.Errorf("%s: got health check %v, want the binary's own", name, s.Healthcheck.Test)
		}
		for _, p := range s.Ports {
			if !strings.HasPrefix(p, "127.0.0.1:") {
				t.Errorf("%s publishes %s, want 127.0.0.1 only", name, p)
			}
		}
	}
}

// The names and ports in the compose file are those that init writes into the nodes' configurations.
func TestComposeFileMatchesInit(t *testing.T) {
	f := readCompose(t)
	out := t.TempDir()
	cf, _, err := node.Provision(node.Plan{Name: "compose", Nodes: 5, Out: out, Shape: node.Compose,
		BasePort: 17700})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"--for=compose", "--nodes=5", "--base-port=17700", "--owner=65532:65532",
		"--client-file=/out/cluster.json"}
	for _, flag := range want {
		if !slices.Contains(f.Services["init"].Command, flag) {
			t.Errorf("init runs with %v, want %s", f.Services["init"].Command, flag)
		}
	}
	for i := 1; i <= 5; i++ {
		name := fmt.Sprintf("node-%d", i)
		s, ok := f.Services[name]
		if !ok {
			t.Errorf("no service %s", name)
			continue
		}
		l, err := node.Load(node.Layers{File: filepath.Join(out, name, "swarmd.yaml")})
		if err != nil {
			t.Fatal(err)
		}
		c := l.Config
		host, port, _ := strings.Cut(c.Advertise.Peer, ":")
		if !slices.Contains(s.Networks["peers"].Aliases, host) || port != "7701" {
			t.Errorf("%s advertises %s to peers, the network knows it as %v", name, c.Advertise.Peer,
				s.Networks["peers"].Aliases)
		}
		if _, ok := s.Networks["clients"]; !ok {
			t.Errorf("%s is not on the network of clients", name)
		}
		published := fmt.Sprintf("127.0.0.1:%d", 17700+i-1)
		if addrs := []string{name + ":7700", published}; !slices.Equal(c.Advertise.Client, addrs) ||
			!slices.Equal(cf.Bootstrap[i-1].ClientAddrs, addrs) {
			t.Errorf("%s: clients are told %v, want %v", name, c.Advertise.Client, addrs)
		}
		if !slices.Contains(s.Ports, published+":7700") {
			t.Errorf("%s publishes %v, want %s:7700", name, s.Ports, published)
		}
		if !slices.Equal(s.Volumes, []string{name + ":/node"}) ||
			!slices.Contains(f.Services["init"].Volumes, name+":/cluster/"+name) {
			t.Errorf("%s: volume %v is not the one that init fills", name, s.Volumes)
		}
	}
}

// docker-compose 1.29 refuses these keys; version makes newer ones complain.
func TestComposeFileAvoidsKeysOfOneGeneration(t *testing.T) {
	f := readCompose(t)
	if f.Version != nil || f.Name != nil || f.Include != nil {
		t.Error("the file uses version, name or include")
	}
	tool, err := exec.LookPath("docker-compose")
	if err != nil {
		t.Skip("docker-compose is not installed: its own check of the file did not run")
	}
	cmd := exec.CommandContext(t.Context(), tool, "config", "-q")
	cmd.Dir = composeDir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("docker-compose config: %v\n%s", err, out)
	}
}

func TestOutputOfComposeStaysOutOfGit(t *testing.T) {
	body, err := os.ReadFile(filepath.Join(composeDir, "out", ".gitignore"))
	if err != nil || !strings.HasPrefix(string(body), "*\n") {
		t.Errorf("deploy/compose/out/.gitignore: got %q, %v; want it to ignore everything", body, err)
	}
}
