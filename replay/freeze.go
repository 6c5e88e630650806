package replay

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"freshet/backend/fault"
	"freshet/backend/stream"
	"freshet/replay/filter"
)

const (
	receiverIdempotent    = "idempotent"
	receiverNotIdempotent = "not_idempotent"

	defaultSlack  = time.Hour
	defaultMaxDLQ = 1000
	approvalTTL   = 24 * time.Hour
	maxSamples    = 100
)

// Draft is a replay before it is frozen. Either Document holds a whole plan document, or the rest selects and shapes
// one: exactly one of Offsets, From and All selects.
type Draft struct {
	Document []byte

	Title, Reason  string
	Cluster, Topic string

	Offsets  []stream.Range // To -1: to the partition's end
	From, To time.Time      // records of this time; a zero To is now
	Slack    time.Duration  // how far beyond To records of that time may stand in the log; 0: an hour
	All      bool           // the whole topic

	Filter  string  // CEL
	Key     string  // only records whose key is exactly this text
	Header  string  // NAME=VALUE
	OnError OnError // of the filter; "" stop

	Sink, Target string

	Rate         int64 // records/s; 0 no bound
	BytesRate    int64
	Canary       int64
	MaxRecords   int64 // 0: as many as there are offsets
	MaxDLQ       *int64
	AllowOverlap bool
}

// Plan freezes a draft and stores the plan.
func (s *Service) Plan(ctx context.Context, actor string, d Draft) (StoredPlan, error) {
	p, err := s.plan(ctx, actor, d)
	return p, asFault(err)
}

func (s *Service) plan(ctx context.Context, actor string, d Draft) (StoredPlan, error) {
	now := time.Now().UTC()
	var doc Document
	var err error
	if d.Document != nil {
		doc, err = ParsePlan(d.Document)
	} else {
		doc, err = s.freeze(ctx, actor, d, now)
	}
	if err != nil {
		return StoredPlan{}, err
	}
	p := StoredPlan{ID: doc.ID, Hash: doc.Hash, Document: doc.Bytes, State: PlanPlanned, Title: doc.Plan.Title, Author: doc.Plan.Author,
		Actor: actor, Created: now, Updated: now}
	if doc.Plan.Unsupported() == nil {
		w, err := s.inspect(ctx, &doc.Plan)
		if err != nil {
			return p, err
		}
		p.Warnings = w.warnings(&doc.Plan)
		p.Risk = risk(&doc.Plan, &w)
	} else {
		p.Risk = risk(&doc.Plan, &world{})
		p.Warnings = []Warning{{"UNSUPPORTED", doc.Plan.Unsupported().Error()}}
	}
	p.Needed = s.needed(p.Risk, doc.Plan.Approval.Needed)
	e := planEntry(p, actor, "replay.plan", map[string]any{"source": doc.Plan.Source.Conn + "/" + doc.Plan.Source.Topic,
		"offsets": strconv.FormatInt(doc.Plan.Offsets(), 10), "sink": doc.Plan.Sink.Name(), "target": doc.Plan.Sink.Target(), "risk": p.Risk})
	return p, s.o.Ledger.SavePlan(ctx, p, e)
}

// needed is how many approvals a risk asks for, and the plan's own number where that is higher. Where the profile is one
// person's, there is one to ask.
func (s *Service) needed(risk int, planned int64) int {
	n := 0
	switch {
	case risk >= 4:
		n = 2
	case risk >= 2:
		n = 1
	}
	n = max(n, int(planned))
	if s.o.Local {
		n = min(n, 1)
	}
	return n
}

func risk(p *Plan, w *world) (n int) {
	if p.Undo.Mode == "none" {
		n += 2
	}
	if len(w.target.Consumers) > 0 {
		n += 2
	}
	if p.Offsets() > 100_000 {
		n++
	}
	if p.Limits.AllowOverlap {
		n += 2
	}
	if p.Limits.AcceptGaps {
		n++
	}
	if p.Mask.Policy == "none" && len(p.Mask.ClassifiedFields) > 0 {
		n += 3
	}
	return n
}

func (w *world) warnings(p *Plan) []Warning {
	out := []Warning{}
	add := func(code, format string, args ...any) { out = append(out, Warning{code, fmt.Sprintf(format, args...)}) }
	if p.Source.SelectedBy.By == "time" && p.Source.TSType == stream.AppendTime.String() {
		add("LOG_APPEND_TIME", "the broker stamps the records of %s, and a whole batch carries its newest time", p.Source.Topic)
	}
	if strings.Contains(p.Source.Cleanup, "compact") {
		add("COMPACTED", "%s is compacted: older versions of a key may be gone already", p.Source.Topic)
	}
	for _, part := range w.topic.Partitions {
		if part.Err == nil && part.Stable < part.End {
			add("OPEN_TRANSACTION", "an open transaction holds partition %d back: offsets from %d on are not in the plan", part.ID, part.Stable)
		}
	}
	if len(w.target.Consumers) > 0 {
		add("TARGET_HAS_LIVE_GROUPS", "%s", strings.Join(w.target.Consumers, ", "))
	}
	if p.Sink.Guarantee != GuaranteeEffectivelyOnce {
		add("AT_LEAST_ONCE", "%s can be sent a record twice after a failure", p.Sink.Name())
	}
	if p.Sink.Type == "kafka" {
		t := p.Sink.Targets[0]
		switch {
		case w.target.Topic == nil:
			add("TARGET_MISSING", "topic %s does not exist yet", t.Topic)
		case p.Sink.ClusterID == p.Source.ClusterID && t.TopicID == p.Source.TopicID:
			add("SAME_TOPIC", "the records go back to the topic that they come from")
		}
	}
	return out
}

// freeze resolves a draft to offsets and identities.
func (s *Service) freeze(ctx context.Context, actor string, d Draft, now time.Time) (Document, error) {
	var none Document
	refuse := func(next, format string, args ...any) (Document, error) {
		e := fault.New(fault.Invalid, "plan the replay", next, format, args...)
		e.Code = "DRAFT_INVALID"
		return none, e
	}
	cluster, err := s.o.Clusters.Cluster(ctx, d.Cluster)
	if err != nil {
		return none, err
	}
	p := &Plan{V: 1, Kind: "replay", Nonce: ulid(now), Title: d.Title, Reason: d.Reason, Author: actor,
		Frozen:    Frozen{Now: now.Format(stream.TimeFormat), TZ: "UTC", Seed: seed()},
		Engines:   Engines{CEL: "1", CELCostLimit: filter.DefaultCostLimit, Steps: "1", Mask: "1", Codec: "1"},
		Transform: Transform{Steps: []Step{}, OnError: OnErrorDLQ},
		Mask:      Mask{Policy: "none", ClassifiedFields: []string{}},
		Order:     Order{Mode: "per_partition", OnShardBlock: "continue_others"},
		Rate:      Rate{RecordsPerS: d.Rate, BytesPerS: d.BytesRate, CanaryRecords: d.Canary},
		Guards:    Guards{Groups: []GroupGuard{}},
		Retry:     Retry{MaxAttempts: 8},
		DLQ:       DLQ{Type: "ledger"},
		Undo:      Undo{Mode: "none"},
		Approval:  Approving{TTLS: int64(approvalTTL / time.Second), MaxRuns: 1},
	}
	if p.Source, err = s.freezeSource(ctx, cluster, d, now); err != nil {
		return none, err
	}
	if p.Filter, err = s.freezeFilter(d, now); err != nil {
		return none, err
	}
	target, err := s.o.Targets.Target(ctx, d.Sink, d.Target)
	if err != nil {
		return none, err
	}
	if p.Sink, err = freezeSink(target, d); err != nil {
		return none, err
	}
	if p.Title == "" {
		p.Title = "Replay " + d.Topic + " to " + d.Sink
		if d.Target != "" {
			p.Title += "/" + d.Target
		}
	}
	if d.Rate < 0 || d.BytesRate < 0 || d.Canary < 0 || d.MaxRecords < 0 {
		return refuse("", "a rate or a limit is below 0")
	}
	p.Limits = Limits{MaxRecords: cmp.Or(d.MaxRecords, p.Offsets()), MaxDLQ: defaultMaxDLQ, AllowOverlap: d.AllowOverlap}
	if d.MaxDLQ != nil {
		p.Limits.MaxDLQ = *d.MaxDLQ
	}
	p.Approval.Needed = int64(s.needed(risk(p, &world{target: target}), 0))
	return p.Freeze()
}

func seed() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

func (s *Service) freezeSource(ctx context.Context, cluster Cluster, d Draft, now time.Time) (PlanSource, error) {
	src := PlanSource{Conn: d.Cluster, Isolation: "read_committed", Topic: d.Topic}
	refuse := func(code, next, format string, args ...any) (PlanSource, error) {
		e := fault.New(fault.Invalid, "select records of "+d.Topic, next, format, args...)
		e.Code = code
		return src, e
	}
	ways := 0
	for _, used := range []bool{len(d.Offsets) > 0, !d.From.IsZero(), d.All} {
		if used {
			ways++
		}
	}
	if ways != 1 {
		return refuse("EMPTY_SELECTION", "give --offsets, --since, or --all-of-topic", "a replay selects in exactly one way")
	}
	var err error
	if src.ClusterID, err = cluster.Source.ClusterID(ctx); err != nil {
		return src, err
	}
	topic, err := cluster.Source.Topic(ctx, d.Topic)
	if err == nil {
		err = topic.Err
	}
	if err != nil {
		return src, err
	}
	if topic.ID == [16]byte{} {
		return refuse("NO_TOPIC_ID", "use a cluster of Kafka 2.8 or later", "the broker gives topics no ids, so that a topic made anew could not be told from this one")
	}
	src.TopicID, src.Partitions = FormatTopicID(topic.ID), int64(len(topic.Partitions))
	src.Cleanup, src.TSType = topic.Config["cleanup.policy"], topic.Config["message.timestamp.type"]
	parts := map[int32]stream.Partition{}
	for _, part := range topic.Partitions {
		if part.Err != nil {
			return src, fault.Wrap(fault.Unavailable, fmt.Sprintf("read the ends of %s/%d", d.Topic, part.ID), part.Err, "")
		}
		parts[part.ID] = part
	}
	var ranges []Ranged
	switch {
	case len(d.Offsets) > 0:
		src.SelectedBy.By = "offsets"
		for _, r := range d.Offsets {
			part, ok := parts[r.Partition]
			if !ok {
				return refuse("OUT_OF_RANGE", "", "it has no partition %d", r.Partition)
			}
			if r.To < 0 {
				r.To = part.Stable
			}
			if r.From < part.Start || r.To > part.Stable || r.From > r.To {
				return refuse("OUT_OF_RANGE", "choose offsets within it", "partition %d holds committed offsets from %d to %d, and %d:%d-%d is not within",
					r.Partition, part.Start, part.Stable, r.Partition, r.From, r.To)
			}
			ranges = append(ranges, ranged(part, r.From, r.To, -1))
		}
	case d.All:
		src.SelectedBy.By = "topic"
		for _, part := range topic.Partitions {
			ranges = append(ranges, ranged(part, part.Start, part.Stable, -1))
		}
	default:
		if ranges, err = freezeTime(ctx, cluster.Source, topic, d, now, &src.SelectedBy); err != nil {
			return src, err
		}
	}
	src.Ranges = slices.DeleteFunc(ranges, func(r Ranged) bool { return r.Start >= r.End })
	if len(src.Ranges) == 0 {
		return refuse("EMPTY_SELECTION", "choose another range", "no offset is selected")
	}
	slices.SortStableFunc(src.Ranges, func(a, b Ranged) int { return cmp.Compare(a.Partition, b.Partition) })
	return src, nil
}

func ranged(p stream.Partition, start, end int64, epoch int32) Ranged {
	return Ranged{Partition: p.ID, Start: start, End: end, StartEpoch: epoch, LogStart: p.Start, HW: p.Stable}
}

// freezeTime turns a time window into offsets. The first record at or after the window's start is a true lower bound;
// there is no such upper bound, since later records may carry earlier times, so that the range goes on for the slack
// beyond the window's end and each record's time is looked at.
func freezeTime(ctx context.Context, src Source, topic stream.Topic, d Draft, now time.Time, by *SelectedBy) ([]Ranged, error) {
	to := d.To
	if to.IsZero() {
		to = now
	}
	slack := cmp.Or(d.Slack, defaultSlack)
	*by = SelectedBy{By: "time", FromMS: d.From.UnixMilli(), ToMS: to.UnixMilli(), SlackMS: slack.Milliseconds(), PerRecordCheck: true}
	if by.FromMS >= by.ToMS {
		return nil, fault.New(fault.Invalid, "select records of "+d.Topic, "", "the window ends before it begins")
	}
	starts, err := src.OffsetsAt(ctx, d.Topic, time.UnixMilli(by.FromMS))
	if err != nil {
		return nil, err
	}
	var ends map[int32]OffsetEpoch
	if last := time.UnixMilli(by.ToMS + by.SlackMS); last.Before(now) {
		if ends, err = src.OffsetsAt(ctx, d.Topic, last); err != nil {
			return nil, err
		}
	}
	var out []Ranged
	for _, part := range topic.Partitions {
		start, ok := starts[part.ID]
		if !ok {
			return nil, fault.New(fault.Unavailable, "select records of "+d.Topic, "try again", "the broker named no offset for partition %d", part.ID)
		}
		end := part.Stable
		if e, ok := ends[part.ID]; ok {
			end = min(end, e.Offset)
		}
		from := max(start.Offset, part.Start)
		out = append(out, ranged(part, from, max(from, end), start.Epoch))
	}
	return slices.DeleteFunc(out, func(r Ranged) bool { return r.Start >= r.End }), nil
}

func (s *Service) freezeFilter(d Draft, now time.Time) (*Filter, error) {
	var parts []string
	if d.Filter != "" {
		parts = append(parts, d.Filter)
	}
	if d.Key != "" {
		parts = append(parts, filter.KeyIs(d.Key))
	}
	if d.Header != "" {
		name, value, ok := strings.Cut(d.Header, "=")
		if !ok || name == "" {
			return nil, fault.New(fault.Invalid, "plan the replay", "give --header NAME=VALUE", "%q has no name and value", d.Header)
		}
		parts = append(parts, filter.HeaderIs(name, value))
	}
	if len(parts) == 0 {
		return nil, nil
	}
	// Compiled alone first, so that line and column are the person's.
	if d.Filter != "" {
		if _, err := filter.Compile(d.Filter, filter.Options{Now: now, Decode: s.o.Decode}); err != nil {
			return nil, err
		}
	}
	src := parts[0]
	if len(parts) > 1 {
		// Cheap comparisons first: the value is decoded only for records that pass them.
		slices.Reverse(parts)
		src = "(" + strings.Join(parts, ") && (") + ")"
	}
	if _, err := filter.Compile(src, filter.Options{Now: now, Decode: s.o.Decode}); err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(src))
	return &Filter{Lang: "cel", Src: src, SHA256: "sha256:" + hex.EncodeToString(sum[:]), OnError: cmp.Or(d.OnError, OnErrorStop)}, nil
}

func freezeSink(t Target, d Draft) (PlanSink, error) {
	s := PlanSink{Type: t.Type, Guarantee: t.Guarantee, Conn: d.Sink}
	switch t.Type {
	case "kafka":
		if d.Target == "" {
			return s, fault.New(fault.Invalid, "plan the replay", "give --to "+d.Sink+"/TOPIC", "no target topic is named")
		}
		topic := TargetTopic{Topic: d.Target, TopicID: FormatTopicID([16]byte{})}
		if t.Topic != nil {
			topic.TopicID, topic.Partitions = FormatTopicID(t.Topic.ID), int64(len(t.Topic.Partitions))
			topic.TSType = t.Topic.Config["message.timestamp.type"]
		}
		s.ClusterID, s.Targets, s.Timestamp = t.ClusterID, []TargetTopic{topic}, "keep"
	case "postgres":
		s.DatabaseID, s.Table, s.Write = t.DatabaseID, d.Target, &TableWrite{Mode: t.Mode}
	case "http":
		s.Conn, s.Endpoint, s.URL, s.Method, s.Body = "", d.Sink, t.URL, "POST", "original_bytes"
		s.Key = &SendKey{Header: "Idempotency-Key", Mode: "derived"}
		if s.Receiver = receiverNotIdempotent; t.Idempotent {
			s.Receiver = receiverIdempotent
		}
	default:
		return s, fault.New(fault.Invalid, "plan the replay", "", "sink %s is of type %q, which plans do not know", d.Sink, t.Type)
	}
	return s, nil
}

// StoredPlan returns a plan by id, hash or prefix.
func (s *Service) StoredPlan(ctx context.Context, ref string) (StoredPlan, error) {
	return s.o.Ledger.Plan(ctx, ref)
}

// Plans lists the plans, newest first.
func (s *Service) Plans(ctx context.Context) ([]StoredPlan, error) { return s.o.Ledger.Plans(ctx) }
