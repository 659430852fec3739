// Package terminal is the conversation of a command with whoever runs it: answers, notes, progress, questions
// and the recovery phrase. It knows which of them a person sees, which a script reads, and which nobody may
// be asked.
package terminal
