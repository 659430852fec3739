package main

import (
	"encoding/xml"
	"fmt"
	"os"
)

// The parts of a JUnit report that build servers read.
type junitSuite struct {
	XMLName  xml.Name    `xml:"testsuite"`
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Time     string      `xml:"time,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Class   string        `xml:"classname,attr"`
	Name    string        `xml:"name,attr"`
	Time    string        `xml:"time,attr"`
	Failure *junitFailure `xml:"failure,omitempty"`
}

type junitFailure struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

// writeJUnit writes the outcome of a run as a JUnit report.
func writeJUnit(path string, doc *e2eDoc) error {
	suite := junitSuite{Name: "sessionctl e2e", Tests: len(doc.Plays), Failures: doc.Failed}
	total := 0.0
	for _, p := range doc.Plays {
		name := fmt.Sprintf("%s with %d devices", p.Scenario, p.Devices)
		if p.Fault {
			name += ", leader killed"
		}
		c := junitCase{Class: "e2e", Name: name, Time: fmt.Sprintf("%.3f", p.MS/1000)}
		if !p.OK {
			c.Failure = &junitFailure{Message: "the devices are not in step", Text: fmt.Sprintf("%s\nseed %d", p.Error, doc.Seed)}
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
