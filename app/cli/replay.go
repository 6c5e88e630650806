package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"gopkg.in/yaml.v3"

	"freshet/app"
	"freshet/backend/api"
	"freshet/backend/clock"
	"freshet/backend/fault"
)

func replayCommand(g *globals) *cobra.Command {
	cmd := &cobra.Command{Use: "replay", Short: "Send a range of records again: planned, approved, counted, audited"}
	cmd.AddCommand(replayPlan(g), replayShow(g), replayApprove(g), replayRun(g), replayPause(g), replayResume(g), replayCancel(g), replayList(g))
	return cmd
}

func planPath(ref string) string { return "/replay/plans/" + url.PathEscape(ref) }
func jobPath(id string) string   { return "/replay/jobs/" + url.PathEscape(id) }

func replayPlan(g *globals) *cobra.Command {
	var spec api.PlanSpec
	var file, out, offsets, allOf, rate string
	var timeout time.Duration
	cmd := &cobra.Command{
		Use: "plan", Short: "Freeze a range, a filter and a sink into a plan named by its hash", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file != "" {
				doc, err := readDocument(file)
				if err != nil {
					return err
				}
				spec.File = doc
			}
			spec.Offsets = split(offsets)
			if allOf != "" {
				_, topic, _ := strings.Cut(spec.Source, "/")
				if allOf != topic {
					return fault.New(fault.Invalid, "read --all-of-topic", "type the topic's name exactly", "%q is not the topic of --source", allOf)
				}
				spec.All = true
			}
			var err error
			if spec.Rate, err = parseRate(rate); err != nil {
				return err
			}
			c, err := g.connect()
			if err != nil {
				return err
			}
			ctx, cancel := within(cmd.Context(), timeout)
			defer cancel()
			raw, err := c.raw(ctx, http.MethodPost, "/replay/plans", spec)
			if err != nil {
				return err
			}
			if out != "" {
				var p api.PlanAnswer
				if err := json.Unmarshal(raw, &p); err != nil {
					return err
				}
				if err := os.WriteFile(out, p.Document, 0o600); err != nil {
					return fault.Wrap(fault.Invalid, "write the plan", err, "give --out a file that can be written")
				}
			}
			return one(g.printer(), raw, func(p api.PlanAnswer) error { return planTable(g.printer(), p) })
		},
	}
	f := cmd.Flags()
	f.StringVar(&file, "from-file", "", "a whole plan as JSON or YAML")
	f.StringVar(&spec.Source, "source", "", "CLUSTER/TOPIC; the local broker is 'embedded'")
	f.StringVar(&offsets, "offsets", "", "PARTITION:FROM-TO,… with TO not included")
	f.StringVar(&spec.Since, "since", "", "a time, or a duration back from now")
	f.StringVar(&spec.Until, "until", "", "a time, or a duration back from now; now unless given")
	f.StringVar(&allOf, "all-of-topic", "", "the topic's name, typed: everything it holds")
	f.StringVar(&spec.Filter, "filter", "", "CEL over key, value, headers, topic, partition, offset, timestamp")
	f.StringVar(&spec.Key, "key", "", "only records with exactly this key")
	f.StringVar(&spec.Header, "header", "", "only records with this header: NAME=VALUE")
	f.StringVar(&spec.OnError, "on-error", "", "what the filter cannot decide: stop (unless told), dlq or drop")
	f.StringVar(&spec.To, "to", "", "SINK, or SINK/TARGET for a topic or a table of it")
	f.StringVar(&rate, "rate", "", "at most so many records a second: 200/s")
	f.Int64Var(&spec.MaxRecords, "max-records", 0, "refuse a range that holds more")
	f.StringVar(&spec.Title, "title", "", "what this is, in a few words")
	f.StringVar(&spec.Reason, "reason", "", "why, for the audit history")
	f.BoolVar(&spec.Overlap, "allow-overlap", false, "even where another job writes the same range to the same sink")
	f.BoolVar(&spec.DryRun, "dry-run", false, "run the whole pipeline without writing, and keep the counts as evidence")
	f.IntVar(&spec.Sample, "sample", 0, "with --dry-run: show so many of the records that would be written")
	f.StringVar(&out, "out", "", "write the plan document here")
	f.DurationVar(&timeout, "timeout", 0, "give up after this long")
	return cmd
}

// parseRate reads "200/s" or "200".
func parseRate(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	var n int64
	if _, err := fmt.Sscanf(strings.TrimSuffix(s, "/s"), "%d", &n); err != nil || n < 1 {
		return 0, fault.New(fault.Invalid, "read --rate", "give records a second, for instance 200/s", "%q is no rate", s)
	}
	return n, nil
}

// readDocument reads a plan from JSON as it is, or from YAML as the JSON it stands for.
func readDocument(file string) (json.RawMessage, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, "read the plan", err, "give --from-file a file that can be read")
	}
	if ext := filepath.Ext(file); ext != ".yaml" && ext != ".yml" {
		if !json.Valid(b) {
			return nil, fault.New(fault.Invalid, "read the plan "+file, "name a YAML file .yaml", "it is no JSON")
		}
		return b, nil
	}
	var v any
	if err := yaml.Unmarshal(b, &v); err != nil {
		return nil, fault.Wrap(fault.Invalid, "read the plan "+file, err, "mend the YAML")
	}
	return json.Marshal(v)
}

func planTable(p printer, a api.PlanAnswer) error {
	kv := []string{"plan", a.PlanID, "hash", a.PlanHash, "title", a.Title, "state", a.State, "author", a.Author, "risk", fmt.Sprint(a.Risk),
		"approvals", fmt.Sprintf("%d of %d", a.Have, a.Needed), "jobs", strings.Join(a.Jobs, " ")}
	if e := a.Evidence; e != nil {
		kv = append(kv, "dry run", fmt.Sprintf("seen %s, filtered %s, would write %s, would park %s, holes %s/%s/%s, %s bytes", e.Seen, e.Filtered, e.WouldWrite, e.WouldDLQ, e.Holes.Control, e.Holes.Aborted, e.Holes.Compacted, e.Bytes))
	}
	if err := p.pairs(kv...); err != nil {
		return err
	}
	for _, w := range a.Warnings {
		fmt.Fprintf(p.w, "WARNING %s: %s\n", w.Code, clean(w.Detail))
	}
	for _, s := range a.Samples {
		fmt.Fprintf(p.w, "  %d:%s %s %s %s\n", s.Partition, s.Offset, s.Time, clean(s.Key), clean(s.Value))
	}
	return nil
}

func jobTable(p printer, j api.JobAnswer) error {
	outcome := ""
	if j.Outcome != nil {
		outcome = *j.Outcome
	}
	c := j.Counts
	if err := p.pairs("job", j.JobID, "plan", j.PlanID, "title", j.Title, "state", j.State, "reason", j.Reason, "outcome", outcome,
		"counts", fmt.Sprintf("offsets %s = seen %s + control %s + aborted %s + compacted %s + lost %s", c.Offsets, c.Seen, c.Control, c.Aborted, c.Compacted, c.Lost),
		"seen", fmt.Sprintf("written %s + filtered %s + parked %s + in doubt %s", c.Written, c.Filtered, c.DLQ, c.InDoubt),
		"rate", fmt.Sprintf("%.0f/s, cap %d", j.Rate.RecordsPerSecond, j.Rate.Cap), "updated", j.Updated); err != nil {
		return err
	}
	rows := make([][]string, len(j.Shards))
	for i, s := range j.Shards {
		rows[i] = []string{fmt.Sprint(s.Partition), s.State, s.Start, s.Next, s.End, s.SinkNext, s.Reason}
	}
	return p.table("PARTITION\tSTATE\tSTART\tNEXT\tEND\tSINK\tREASON", rows)
}

func replayShow(g *globals) *cobra.Command {
	var canonical, watch bool
	cmd := &cobra.Command{
		Use: "show PLAN|JOB", Short: "One plan or job; plans also with nothing running", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ref := args[0]
			c, err := g.connect()
			if fault.Is(err, fault.Unavailable) && g.server == "" {
				return showStored(cmd.Context(), g, ref, canonical)
			}
			if err != nil {
				return err
			}
			if strings.HasPrefix(ref, "jb_") {
				if watch {
					return follow(cmd.Context(), g, c, ref)
				}
				raw, err := c.raw(cmd.Context(), http.MethodGet, jobPath(ref), nil)
				if err != nil {
					return err
				}
				return one(g.printer(), raw, func(j api.JobAnswer) error { return jobTable(g.printer(), j) })
			}
			raw, err := c.raw(cmd.Context(), http.MethodGet, planPath(ref), nil)
			if err != nil {
				return err
			}
			return showPlan(g, raw, canonical)
		},
	}
	cmd.Flags().BoolVar(&canonical, "canonical", false, "only the canonical bytes that are hashed")
	cmd.Flags().BoolVar(&watch, "watch", false, "a job: follow it to its end")
	return cmd
}

func showPlan(g *globals, raw json.RawMessage, canonical bool) error {
	if canonical {
		var p api.PlanAnswer
		if err := json.Unmarshal(raw, &p); err != nil {
			return err
		}
		_, err := fmt.Fprint(g.stdout, p.Canonical)
		return err
	}
	return one(g.printer(), raw, func(p api.PlanAnswer) error { return planTable(g.printer(), p) })
}

// showStored reads the ledger of a directory on which nothing runs.
func showStored(ctx context.Context, g *globals, ref string, canonical bool) error {
	plan, job, err := app.ShowStored(ctx, g.data, ref)
	if err != nil {
		return err
	}
	if job != nil {
		raw, err := json.Marshal(job)
		if err != nil {
			return err
		}
		return one(g.printer(), raw, func(j api.JobAnswer) error { return jobTable(g.printer(), j) })
	}
	raw, err := json.Marshal(plan)
	if err != nil {
		return err
	}
	return showPlan(g, raw, canonical)
}

func replayApprove(g *globals) *cobra.Command {
	var spec api.ApproveSpec
	var ttl time.Duration
	cmd := &cobra.Command{
		Use: "approve PLAN --hash HASH", Short: "Approve, reject or withdraw a plan", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := g.connect()
			if err != nil {
				return err
			}
			if spec.Hash == "" && !spec.Reject && !spec.Withdraw {
				var p api.PlanAnswer
				if err := c.do(cmd.Context(), http.MethodGet, planPath(args[0]), nil, &p); err != nil {
					return err
				}
				if err := planTable(printer{g.stderr, "table"}, p); err != nil {
					return err
				}
				ok, err := g.confirm("Approve exactly this plan?")
				if fault.Is(err, fault.Denied) {
					return fault.New(fault.Denied, "approve "+args[0], "give --hash with the full hash that `freshet replay show` prints", "nobody is here to look at the plan")
				}
				if err != nil || !ok {
					return err
				}
				spec.Hash = p.PlanHash
			}
			spec.TTLSeconds = int64(ttl / time.Second)
			raw, err := c.raw(cmd.Context(), http.MethodPost, planPath(args[0])+"/approve", spec)
			if err != nil {
				return err
			}
			return one(g.printer(), raw, func(a api.ApprovalAnswer) error {
				return g.printer().pairs("plan", a.PlanID, "state", a.State, "by", a.By, "approvals", fmt.Sprintf("%d of %d", a.Have, a.Need), "not after", a.NotAfter)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&spec.Hash, "hash", "", "the full hash; required where nobody is at a terminal")
	f.BoolVar(&spec.Reject, "reject", false, "refuse it for good, with --reason")
	f.BoolVar(&spec.Withdraw, "withdraw", false, "take the request back")
	f.StringVar(&spec.Reason, "reason", "", "why, for the audit history")
	f.DurationVar(&ttl, "ttl", 0, "how long the approval holds; as the plan says unless given")
	return cmd
}

func replayRun(g *globals) *cobra.Command {
	var spec api.RunSpec
	var wait, detach bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use: "run PLAN [--wait]", Short: "Run an approved plan", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if wait && detach {
				return fault.New(fault.Invalid, "freshet replay run", "give one of them", "--wait and --detach contradict each other")
			}
			return start(cmd.Context(), g, planPath(args[0])+"/run", spec, wait, timeout)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&wait, "wait", false, "stay until it is done; the exit code tells how it ended")
	f.BoolVar(&detach, "detach", false, "return when it has started, as without --wait")
	f.BoolVar(&spec.TakeOver, "take-over", false, "even where another runner holds it")
	f.DurationVar(&timeout, "timeout", 0, "with --wait: return after this long with exit 124, leaving it running")
	return cmd
}

// start posts what starts a job, and follows it where asked.
func start(ctx context.Context, g *globals, path string, spec api.RunSpec, wait bool, timeout time.Duration) error {
	c, err := g.connect()
	if err != nil {
		return err
	}
	raw, err := c.raw(ctx, http.MethodPost, path, spec)
	if err != nil {
		return err
	}
	var job api.JobAnswer
	if err := json.Unmarshal(raw, &job); err != nil {
		return err
	}
	if !wait {
		return one(g.printer(), raw, func(j api.JobAnswer) error { return jobTable(g.printer(), j) })
	}
	ctx, cancel := within(ctx, timeout)
	defer cancel()
	return follow(ctx, g, c, job.JobID)
}

// follow shows a job until it is over and gives its exit code. The first interrupt asks it to pause and waits for that,
// the second leaves it to its runner.
func follow(ctx context.Context, g *globals, c *client, id string) error {
	const every = 250 * time.Millisecond
	var last api.JobAnswer
	var shown time.Time
	pausing := false
	for {
		ask, stop := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		raw, err := c.raw(ask, http.MethodGet, jobPath(id), nil)
		stop()
		if err != nil {
			return err
		}
		var j api.JobAnswer
		if err := json.Unmarshal(raw, &j); err != nil {
			return err
		}
		exit, over := jobExit(j)
		if pausing && j.State == "PAUSED" {
			exit, over = 130, true
		}
		if j.State != last.State || over || time.Since(shown) >= 5*time.Second {
			shown = time.Now()
			switch {
			case g.output == "jsonl", over && g.output == "json":
				if err := g.printer().line(raw); err != nil {
					return err
				}
			case over:
				if err := jobTable(g.printer(), j); err != nil {
					return err
				}
			default:
				g.progress("%s %s: seen %s of %s, written %s", j.JobID, j.State, j.Counts.Seen, j.Counts.Offsets, j.Counts.Written)
			}
		}
		last = j
		if over {
			if exit == 0 {
				return nil
			}
			return exitCode(exit)
		}
		if pausing {
			time.Sleep(every)
			continue
		}
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return fault.New(fault.Timeout, "wait for "+id, "it goes on; `freshet replay show "+id+"` tells how far it is", "the time given by --timeout is over")
			}
			pausing = true
			g.progress("pausing %s after the batch at hand; interrupt again to leave it running", id)
			var second context.CancelFunc
			ctx, second = signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
			defer second()
			if err := c.do(ctx, http.MethodPost, jobPath(id)+"/pause", api.RunSpec{Reason: "interrupted at the command line"}, nil); err != nil {
				return err
			}
		case <-time.After(every):
		}
	}
}

// jobExit is the exit code of a job's state, where it is one that somebody need not wait on.
func jobExit(j api.JobAnswer) (exit int, over bool) {
	switch j.State {
	case "COMPLETED":
		if j.Outcome != nil && *j.Outcome == "clean" {
			return 0, true
		}
		return 5, true
	case "FAILED":
		return 6, true
	case "FENCED":
		return 7, true
	case "CANCELLED":
		return 8, true
	case "PAUSED":
		return 9, true
	case "BLOCKED":
		return 9, !j.Resumes
	}
	return 0, false
}

func replayPause(g *globals) *cobra.Command {
	return transition(g, "pause JOB", "Stop after the batch at hand", "/pause", false)
}

func replayResume(g *globals) *cobra.Command {
	return transition(g, "resume JOB", "Go on where it stopped", "/resume", true)
}

func replayCancel(g *globals) *cobra.Command {
	return transition(g, "cancel JOB", "Stop for good; what is written stays, and is reported", "/cancel", false)
}

// transition asks a job for another state; with --wait it returns when it is there.
func transition(g *globals, use, short, verb string, resume bool) *cobra.Command {
	var spec api.RunSpec
	var wait bool
	var timeout time.Duration
	var rate, gaps string
	cmd := named(use, short, func(cmd *cobra.Command, id string) error {
		var err error
		if spec.Rate, err = parseRate(rate); err != nil {
			return err
		}
		spec.AcceptGaps = split(gaps)
		if resume {
			return start(cmd.Context(), g, jobPath(id)+verb, spec, wait, timeout)
		}
		c, err := g.connect()
		if err != nil {
			return err
		}
		ctx, cancel := within(cmd.Context(), timeout)
		defer cancel()
		raw, err := c.raw(ctx, http.MethodPost, jobPath(id)+verb, spec)
		if err != nil {
			return err
		}
		for wait {
			var j api.JobAnswer
			if err := json.Unmarshal(raw, &j); err != nil {
				return err
			}
			if _, over := jobExit(j); over {
				break
			}
			if err := pause(ctx); err != nil {
				return err
			}
			if raw, err = c.raw(ctx, http.MethodGet, jobPath(id), nil); err != nil {
				return err
			}
		}
		return one(g.printer(), raw, func(j api.JobAnswer) error { return jobTable(g.printer(), j) })
	})
	f := cmd.Flags()
	f.BoolVar(&wait, "wait", false, "return when it is there")
	f.StringVar(&spec.Reason, "reason", "", "why, for the audit history")
	f.DurationVar(&timeout, "timeout", 0, "give up waiting after this long")
	if resume {
		f.StringVar(&rate, "rate", "", "a lower rate than the plan's: 100/s")
		f.StringVar(&gaps, "accept-gap", "", "PARTITION:FROM-TO that the log lost, counted as lost")
		f.BoolVar(&spec.TakeOver, "take-over", false, "even where another runner holds it")
	}
	return cmd
}

// pause waits a moment before the next question.
func pause(ctx context.Context) error {
	switch err := clock.Sleep(ctx, 250*time.Millisecond); {
	case err == nil:
		return nil
	case errors.Is(err, context.DeadlineExceeded):
		return fault.New(fault.Timeout, "", "", "the time given by --timeout is over")
	default:
		return fault.New(fault.Interrupted, "", "", "interrupted")
	}
}

func replayList(g *globals) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "Plans and jobs, newest first", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return showList(cmd.Context(), g, "/replay", "TYPE\tID\tSTATE\tSEEN\tTOTAL\tAUTHOR\tTITLE", func(r api.ReplayItem) []string {
				return []string{r.Type, r.ID, r.State, r.Seen, r.Total, r.Author, r.Title}
			})
		},
	}
}
