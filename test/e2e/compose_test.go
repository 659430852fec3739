package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// compose is the cluster of deploy/compose. Crash is docker kill -s KILL; Cut takes the container off the
// network "peers" and leaves it on the one that clients use.
type compose struct {
	dir  string
	tool []string // docker compose, or docker-compose
	env  []string
}

// project keeps these containers and volumes apart from an operator's own.
const project = "starling-e2e"

func (c *compose) Start(t *testing.T) {
	if out, err := exec.Command("docker", "version", "--format",
		"{{.Server.Version}}").CombinedOutput(); err != nil {
		t.Skipf("NOT RUN: no Docker engine answers, so containers are not tested here: %v %s", err, out)
	}
	switch {
	case exec.Command("docker", "compose", "version").Run() == nil:
		c.tool = []string{"docker", "compose"}
	case exec.Command("docker-compose", "version").Run() == nil:
		c.tool = []string{"docker-compose"}
	default:
		t.Skip("NOT RUN: neither docker compose nor docker-compose is here, so containers are not tested")
	}
	t.Logf("compose: %s", strings.Join(c.tool, " "))
	c.dir = filepath.Join(root(t), "deploy", "compose")
	c.env = buildEnv(t, c.dir)
	c.compose(t, "down", "--volumes", "--remove-orphans")
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("last lines of the nodes:\n%s", c.compose(t, "logs", "--no-color", "--tail", "20"))
		}
		c.compose(t, "down", "--volumes", "--remove-orphans")
		_ = os.Remove(c.ClusterFile())
	})
	c.compose(t, "up", "--build", "--detach")
	for i := range nodes {
		c.healthy(t, i)
	}
}

// buildEnv says what the images are built from. Tests pull nothing: where the base image is not here, the
// machine's own Go toolchain makes one.
func buildEnv(t *testing.T, dir string) []string {
	t.Helper()
	if os.Getenv("GO_IMAGE") != "" {
		return nil
	}
	if exec.Command("docker", "image", "inspect", "golang").Run() == nil {
		return nil
	}
	const standIn = "starling/standin-go:local"
	if exec.Command("docker", "image", "inspect", standIn).Run() != nil {
		mustRun(t, dir, nil, "sh", "./standin-go-image.sh", standIn)
	}
	proxy := strings.TrimSpace(mustRun(t, dir, nil, "go", "env", "GOPROXY"))
	return []string{"GO_IMAGE=" + standIn, "GOPROXY=" + proxy}
}

func (c *compose) compose(t *testing.T, args ...string) string {
	t.Helper()
	all := append(append(c.tool[1:len(c.tool):len(c.tool)], "--project-name", project), args...)
	return mustRun(t, c.dir, c.env, c.tool[0], all...)
}

func (c *compose) container(t *testing.T, i int) string {
	t.Helper()
	// Only what the tool prints on stdout: warnings go elsewhere.
	all := append(append(c.tool[1:len(c.tool):len(c.tool)], "--project-name", project), "ps", "--quiet",
		"--all", service(i))
	if len(c.tool) == 1 {
		// docker-compose 1.29 lists stopped containers anyway and knows --all for whole projects only
		all = []string{"--project-name", project, "ps", "--quiet", service(i)}
	}
	cmd := exec.Command(c.tool[0], all...)
	cmd.Dir = c.dir
	out, err := cmd.Output()
	id := strings.TrimSpace(string(out))
	if err != nil || id == "" {
		t.Fatalf("container of %s: %v", service(i), err)
	}
	return id
}

func service(i int) string { return fmt.Sprintf("node-%d", i+1) }

// healthy returns once the node says that it is ready.
func (c *compose) healthy(t *testing.T, i int) {
	t.Helper()
	id := c.container(t, i)
	// The node's own check, run now: the engine asks only every few seconds.
	waitFor(t, fmt.Sprintf("node %d to be ready", i), func() error {
		out, err := exec.Command("docker", "exec", id, "/usr/bin/swarmd", "health",
			"--ready").CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
}

func (c *compose) ClusterFile() string { return filepath.Join(c.dir, "out", "cluster.json") }

func (c *compose) Crash(t *testing.T, i int) {
	t.Helper()
	mustRun(t, c.dir, nil, "docker", "kill", "--signal", "KILL", c.container(t, i))
}

func (c *compose) Restart(t *testing.T, i int) {
	t.Helper()
	mustRun(t, c.dir, nil, "docker", "start", c.container(t, i))
	c.healthy(t, i)
}

func (c *compose) Cut(t *testing.T, i int) {
	t.Helper()
	mustRun(t, c.dir, nil, "docker", "network", "disconnect", project+"_peers", c.container(t, i))
}

func (c *compose) Heal(t *testing.T, i int) {
	t.Helper()
	mustRun(t, c.dir, nil, "docker", "network", "connect", "--alias", fmt.Sprintf("peer-%d", i+1),
		project+"_peers", c.container(t, i))
	c.healthy(t, i)
}
