package app

import (
	"context"
	"time"

	"freshet/backend/api"
	"freshet/backend/fault"
	"freshet/probes"
)

// Sparks reads the series one after the other: there are at most as many as a list has rows in view.
func (m measured) Sparks(ctx context.Context, q api.SparkQuery) ([]api.Spark, error) {
	if !q.From.Before(q.To) {
		return nil, fault.New(fault.Invalid, "read history", "give a from before the to", "an empty time range")
	}
	width := max(1, q.To.Sub(q.From)/time.Duration(q.Columns))
	var list []api.Spark
	for _, topic := range q.Topics {
		// Thinning keeps the lowest and the highest of a slice: twice the columns hold the highest of each.
		points, err := m.history.Range(ctx, probes.Series{Metric: q.Metric, Cluster: or(q.Cluster, embeddedCluster), Topic: topic, Partition: -1}, q.From, q.To, 2*q.Columns)
		if err != nil {
			return nil, err
		}
		if len(points) == 0 {
			continue
		}
		spark := api.Spark{Topic: topic, Values: make([]*float64, q.Columns)}
		for _, p := range points {
			i := min(int(p.AsOf.Sub(q.From)/width), q.Columns-1)
			if v := p.Value; p.Known() && i >= 0 && (spark.Values[i] == nil || v > *spark.Values[i]) {
				spark.Values[i] = api.FromReading(p.Reading).Value
			}
		}
		list = append(list, spark)
	}
	return list, nil
}
