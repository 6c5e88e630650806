package api

// Map is the whole pipeline at one moment: the feed's topic "map".
type Map struct {
	Head
	AsOf    string     `json:"as_of"`
	Profile Profile    `json:"profile"`
	Nodes   []Node     `json:"nodes" nullable:"false"`
	Edges   []Edge     `json:"edges" nullable:"false"`
	Paths   []Path     `json:"paths" nullable:"false"`
	Events  []MapEvent `json:"events" nullable:"false"`
}

// Profile is what kind of place this is.
type Profile struct {
	Name string `json:"name"`
	Kind string `json:"kind" enum:"local,staging,production"`
}

// Node is one source, topic, group or sink.
type Node struct {
	ID    string   `json:"id"`
	Lane  string   `json:"lane" enum:"source,topic,group,sink"`
	Name  string   `json:"name"`
	Ref   string   `json:"ref" doc:"The name that the other routes know it by"`
	Owner string   `json:"owner,omitempty" doc:"Whose it is, as the configuration says"`
	State string   `json:"state" enum:"on_time,at_risk,late,idle,paused,unknown,dead"`
	Why   string   `json:"why,omitempty"`
	Delay *Reading `json:"delay,omitempty"`
	Rate  *Reading `json:"rate,omitempty"`
	Note  string   `json:"note,omitempty"`
	Trend string   `json:"trend" enum:"rising,falling,steady,unknown"`
}

// Edge is data going from one node to another.
type Edge struct {
	ID    string   `json:"id"`
	From  string   `json:"from"`
	To    string   `json:"to"`
	State string   `json:"state" enum:"on_time,at_risk,late,idle,paused,unknown,dead"`
	Delay *Reading `json:"delay,omitempty"`
	Rate  *Reading `json:"rate,omitempty"`
	Lag   *Reading `json:"lag,omitempty"`
}

// MapEvent is something that happened.
type MapEvent struct {
	At   string `json:"at"`
	Kind string `json:"kind" enum:"fault,job,config,audit,state"`
	Text string `json:"text"`
	Ref  string `json:"ref,omitempty"`
	Seq  string `json:"seq,omitempty"`
}
