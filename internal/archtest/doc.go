// Package archtest holds the rules of ARCHITECTURE.md as tests: who may import whom, which packages are pure,
// where foreign types stop. It has no code of its own; each failure says the reason beside the rule.
package archtest
