package sessionapi

// Note is something that people and scripts should know although nothing has failed; kind note, on stderr.
type Note struct {
	Text string `json:"text"`
}
