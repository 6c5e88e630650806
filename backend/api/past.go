package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"freshet/backend/auth"
)

// GridQuery asks for a metric of a group by partition and time.
type GridQuery struct {
	Metric, Cluster, Group, Topic string
	From, To                      time.Time
	Columns                       int
}

// Grid is a metric by partition and time.
type Grid struct {
	Head
	Metric  string    `json:"metric"`
	Unit    string    `json:"unit"`
	Columns []string  `json:"columns" nullable:"false" doc:"When each begins; they are of one width"`
	Until   string    `json:"until" doc:"When the last one ends"`
	Rows    []GridRow `json:"rows" nullable:"false" doc:"By topic and partition"`
	LeftOut int       `json:"left_out" doc:"Partitions that are not among the rows: those with the least now"`
}

// GridRow is one partition's.
type GridRow struct {
	Topic     string     `json:"topic"`
	Partition int32      `json:"partition"`
	Values    []*float64 `json:"values" nullable:"false" doc:"The worst of each column, by the upper bound where there is one; null where nothing is known"`
	Why       string     `json:"why,omitempty" doc:"Why there is no reading at all, or none lately"`
}

// FreshHistory is how a path kept its objective.
type FreshHistory struct {
	Head
	Path      string       `json:"path"`
	Objective *float64     `json:"objective_s" nullable:"true"`
	From      string       `json:"from"`
	To        string       `json:"to"`
	Inside    *float64     `json:"inside" nullable:"true" doc:"The share of the known readings that keep the objective, 0 to 1; null where there is neither"`
	Known     float64      `json:"known" doc:"The share of the slices of which something is known, 0 to 1"`
	Slices    []FreshSlice `json:"slices" nullable:"false"`
}

// FreshSlice is a stretch of it.
type FreshSlice struct {
	From  string   `json:"from"`
	State string   `json:"state" enum:"on_time,late,unknown"`
	Worst *float64 `json:"worst_s" nullable:"true" doc:"Of its readings, of which one is kept every ten seconds"`
}

func pastRoutes(api huma.API, p Probes) {
	type gridIn struct {
		Metric  string    `query:"metric" enum:"lag_seconds,lag_records" default:"lag_seconds"`
		Cluster string    `query:"cluster"`
		Group   string    `query:"group" required:"true"`
		Topic   string    `query:"topic"`
		From    time.Time `query:"from"`
		To      time.Time `query:"to"`
		Columns int       `query:"columns" default:"60" minimum:"1" maximum:"240"`
	}
	one(api, auth.Read, http.MethodGet, "/history/grid", "history-grid", "A group's metric by partition and time", func(ctx context.Context, in *gridIn) (Grid, error) {
		q := GridQuery{Metric: in.Metric, Cluster: in.Cluster, Group: in.Group, Topic: in.Topic, From: in.From, To: in.To, Columns: in.Columns}
		if q.To.IsZero() {
			q.To = time.Now()
		}
		if q.From.IsZero() {
			q.From = q.To.Add(-time.Hour)
		}
		return p.Grid(ctx, q)
	})
	type freshIn struct {
		Path   string `query:"path" required:"true" maxLength:"600" doc:"As /freshness names it"`
		Days   int    `query:"days" default:"7" minimum:"1" maximum:"31"`
		Slices int    `query:"slices" default:"96" minimum:"1" maximum:"1000"`
	}
	one(api, auth.Read, http.MethodGet, "/freshness/history", "freshness-history", "How a path kept its objective", func(ctx context.Context, in *freshIn) (FreshHistory, error) {
		return p.FreshHistory(ctx, in.Path, in.Days, in.Slices)
	})
}
