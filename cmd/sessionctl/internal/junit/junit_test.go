package junit

import (
	"encoding/xml"
	"os"
	"path/filepath"
	"testing"

	"github.com/starling-swarm/starling/internal/sessionapi"
)

func TestReportHasEveryPlay(t *testing.T) {
	path := filepath.Join(t.TempDir(), "report.xml")
	run := sessionapi.ScenarioRun{Seed: 7, Passed: 1, Failed: 1, Plays: []sessionapi.ScenarioPlay{
		{Scenario: "petname", Devices: 2, OK: true, MS: 1500},
		{Scenario: "random", Devices: 3, Fault: true, Error: "a < b", MS: 500},
	}}
	if err := Write(path, run); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got testSuite
	if err := xml.Unmarshal(b, &got); err != nil {
		t.Fatalf("%v in %s", err, b)
	}
	if got.Tests != 2 || got.Failures != 1 || got.Time != "2.000" || len(got.Cases) != 2 {
		t.Fatalf("got %+v, want 2 tests, 1 failure, 2 s", got)
	}
	if c := got.Cases[1]; c.Name != "random with 3 devices, leader killed" || c.Failure == nil ||
		c.Failure.Text != "a < b\nseed 7" {
		t.Errorf("got %+v, want the failure of random with its seed", c)
	}
}
