//go:build unix

package cli

import (
	"net/http"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"freshet/backend/api"
	"freshet/backend/auditlog"
)

// What the page needs of a job and of the history: people, partitions, what was set aside, and a proof that leads from
// the entry's text to a root that the named key signed.
func TestJobAndProofForThePage(t *testing.T) {
	in := serve(t, "serve")
	in.do("topics", "create", "orders", "--partitions", "4")
	fill(t, in.run().Broker, "orders", 50)
	in.do("sinks", "create", "copy", "--type", "kafka", "--brokers", in.run().Broker)
	var plan api.PlanAnswer
	in.ask(&plan, "replay", "plan", "--source", "embedded/orders", "--offsets", "0:0-50,3:10-40", "--to", "copy/again", "--dry-run")
	in.do("replay", "approve", plan.PlanID, "--hash", plan.PlanHash)
	var job api.JobAnswer
	in.ask(&job, "replay", "run", plan.PlanID, "--wait", "--timeout", (2 * time.Minute).String())
	if job.Hash != plan.PlanHash || job.Cluster != "embedded" || job.Topic != "orders" || job.Sink != "copy" || job.Target != "again" || job.Author == "" || job.Actor != job.Author {
		t.Errorf("the job tells of itself: %+v", job)
	}
	if s := job.Shards; len(s) != 2 || s[0].Counts.Written != "50" || s[1].Counts.Seen != "30" {
		t.Errorf("its partitions count %+v", s)
	}
	in.call(&plan, http.MethodGet, planPath(plan.PlanID), "")
	if a := plan.Approvals; len(a) != 1 || !a[0].Self || a[0].Evidence != plan.Evidence.SHA256 || a[0].By != plan.Author {
		t.Errorf("its approvals are %+v", a)
	}
	var parked api.List[api.ParkedRecord]
	in.call(&parked, http.MethodGet, jobPath(job.JobID)+"/parked", "")
	if len(parked.Items) != 0 {
		t.Errorf("nothing was refused, and %+v is set aside", parked.Items)
	}

	var state api.AuditState
	in.call(&state, http.MethodGet, "/audit/state", "")
	if state.Verified != nil {
		t.Errorf("nobody has verified, and the state says %+v", state.Verified)
	}
	var report api.AuditReport
	in.call(&report, http.MethodPost, "/audit/verify", "{}")
	in.call(&state, http.MethodGet, "/audit/state", "")
	if !report.OK || state.Verified == nil || state.Verified.At != report.At || state.Signed != state.Size || report.By == "" {
		t.Errorf("verified as %+v, and the state says %+v", report, state)
	}
	var proof api.AuditProof
	in.call(&proof, http.MethodGet, "/audit/"+job.Audit.Seq+"/proof", "")
	entry, _, err := auditlog.DecodeLeaf([]byte(proof.Leaf))
	if err != nil || entry.Subject != job.JobID {
		t.Fatalf("the leaf is %s: %v", proof.Leaf, err)
	}
	key, err := note.NewVerifier(proof.Keys[len(proof.Keys)-1])
	if err != nil {
		t.Fatal(err)
	}
	signed, err := auditlog.OpenCheckpoint(proof.Checkpoint, note.VerifierList(key))
	if err != nil {
		t.Fatal(err)
	}
	way := make(tlog.RecordProof, len(proof.Proof))
	for i, text := range proof.Proof {
		if way[i], err = tlog.ParseHash(text); err != nil {
			t.Fatal(err)
		}
	}
	if err := tlog.CheckRecord(way, int64(signed.Size), signed.Root, int64(entry.Seq), tlog.RecordHash([]byte(proof.Leaf))); err != nil {
		t.Error(err)
	}
}
