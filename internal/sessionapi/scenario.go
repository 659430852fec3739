package sessionapi

// Scenario is a story that e2e can play.
type Scenario struct {
	Name  string `json:"name"`
	About string `json:"about"`
}

// Scenarios are the stories that e2e can play; kind e2e.list.
type Scenarios struct {
	Scenarios []Scenario `json:"scenarios"`
}

// ScenarioPlay is what came of one scenario. P50 and P95 are times of convergence.
type ScenarioPlay struct {
	Scenario string  `json:"scenario"`
	Devices  int     `json:"devices"`
	Fault    bool    `json:"fault"`
	OK       bool    `json:"ok"`
	Error    string  `json:"error,omitempty"`
	Note     string  `json:"note,omitempty"`
	MS       float64 `json:"ms"`
	Changes  int     `json:"changes"`
	P50      float64 `json:"p50_ms"`
	P95      float64 `json:"p95_ms"`
}

// ScenarioRun is what came of a run of scenarios; kind e2e.run.
type ScenarioRun struct {
	Cluster string  `json:"cluster"`
	Seed    uint64  `json:"seed"`
	Passed  int     `json:"passed"`
	Failed  int     `json:"failed"`
	Changes int     `json:"changes"`
	P50     float64 `json:"p50_ms"`
	P95     float64 `json:"p95_ms"`

	Plays []ScenarioPlay `json:"plays"`
}

// Demo is what the demo measured; kind demo.
type Demo struct {
	Lost    int          `json:"lost"`
	Doubled int          `json:"doubled"`
	TotalMS float64      `json:"total_ms"`
	Figures []DemoFigure `json:"figures"`
}

// DemoStep is something that happened in the demo, and how long it took; kind demo.step.
type DemoStep struct {
	Step string  `json:"step"`
	Text string  `json:"text"`
	MS   float64 `json:"ms,omitempty"`
}

// DemoFigure is a time that the demo measured.
type DemoFigure struct {
	Name string  `json:"name"`
	MS   float64 `json:"ms"`
}
