package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"freshet/backend/auth"
)

// SparkQuery names one metric of several topics, and how many columns the time range is cut into.
type SparkQuery struct {
	Metric, Cluster string
	Topics          []string
	From, To        time.Time
	Columns         int
}

// Spark is a topic's series with one value a column, the greatest in it; null where there is no reading.
type Spark struct {
	Topic  string     `json:"topic"`
	Values []*float64 `json:"values" nullable:"false"`
}

func sparkRoutes(api huma.API, p Probes) {
	type sparksIn struct {
		ClusterQuery
		Metric  string    `query:"metric" required:"true"`
		Topics  []string  `query:"topics" required:"true" minItems:"1" maxItems:"80"`
		From    time.Time `query:"from" required:"true"`
		To      time.Time `query:"to" required:"true"`
		Columns int       `query:"columns" default:"30" minimum:"2" maximum:"200"`
	}
	type sparks struct {
		Head
		From  string  `json:"from"`
		To    string  `json:"to"`
		Items []Spark `json:"items" nullable:"false"`
	}
	one(api, auth.Read, http.MethodGet, "/history/sparks", "history-sparks", "Short series of several topics, for a list's rows", func(ctx context.Context, in *sparksIn) (sparks, error) {
		items, err := p.Sparks(ctx, SparkQuery{Metric: in.Metric, Cluster: in.Cluster, Topics: in.Topics, From: in.From, To: in.To, Columns: in.Columns})
		if items == nil {
			items = []Spark{}
		}
		return sparks{head("history.sparks"), Time(in.From), Time(in.To), items}, err
	})
}
