// Package junit writes what came of scenarios as a JUnit report, which build servers read.
package junit
