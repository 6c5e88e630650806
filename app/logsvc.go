package app

import (
	"context"

	"freshet/backend/clock"
	"freshet/probes/lag"
)

// logs look into clusters, as the API has it.
type logs struct{ *App }

func (l logs) lagDetail(ctx context.Context, cluster string) (*lag.Detail, string, error) {
	c, err := l.cluster(cluster)
	if err != nil {
		return nil, "", err
	}
	s, _ := l.scheduler.Last("lag/" + c.Name())
	if d, ok := s.Last.Detail.(*lag.Detail); ok {
		return d, c.Name(), nil
	}
	// The first round may be under way: the answer waits for it rather than saying that there is nothing.
	for ctx.Err() == nil && s.Err == nil {
		if err := clock.Sleep(ctx, lookAgain); err != nil {
			break
		}
		s, _ = l.scheduler.Last("lag/" + c.Name())
		if d, ok := s.Last.Detail.(*lag.Detail); ok {
			return d, c.Name(), nil
		}
	}
	return nil, c.Name(), s.Err
}
