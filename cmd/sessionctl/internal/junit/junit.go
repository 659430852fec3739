package junit

import (
	"encoding/xml"
	"fmt"
	"os"

	"github.com/starling-swarm/starling/internal/sessionapi"
)

// The parts of a JUnit report that build servers read.
type testSuite struct {
	XMLName  xml.Name   `xml:"testsuite"`
	Name     string     `xml:"name,attr"`
	Tests    int        `xml:"tests,attr"`
	Failures int        `xml:"failures,attr"`
	Time     string     `xml:"time,attr"`
	Cases    []testCase `xml:"testcase"`
}

type testCase struct {
	Class   string   `xml:"classname,attr"`
	Name    string   `xml:"name,attr"`
	Time    string   `xml:"time,attr"`
	Failure *failure `xml:"failure,omitempty"`
}

type failure struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

// Write writes the outcome of a run as a JUnit report. Errors: those of the file.
func Write(path string, doc sessionapi.ScenarioRun) error {
	suite := testSuite{Name: "sessionctl e2e", Tests: len(doc.Plays), Failures: doc.Failed}
	total := 0.0
	for _, p := range doc.Plays {
		name := fmt.Sprintf("%s with %d devices", p.Scenario, p.Devices)
		if p.Fault {
			name += ", leader killed"
		}
		c := testCase{Class: "e2e", Name: name, Time: fmt.Sprintf("%.3f", p.MS/1000)}
		if !p.OK {
			c.Failure = &failure{Message: "the devices are not in step",
				Text: fmt.Sprintf("%s\nseed %d", p.Error, doc.Seed)}
		}
		total += p.MS
		suite.Cases = append(suite.Cases, c)
	}
	suite.Time = fmt.Sprintf("%.3f", total/1000)
	b, err := xml.MarshalIndent(suite, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append([]byte(xml.Header), append(b, '\n')...), 0o644)
}
