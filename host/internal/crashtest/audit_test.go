package crashtest

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/policy"
)

// maxListed bounds how many records of the audit are compared with the journals.
const maxListed = 100_000

// audit checks that the audit is whole after all that, and that no call that any journal
// knows acted without the record of its decision.
func (i *inspection) audit(ctx context.Context) {
	i.t.Helper()
	check := read[host.AuditCheck](ctx, i, "/v1/audit/verify")
	if !check.OK || len(check.Problems) > 0 {
		i.wrong("the audit: %s", strings.Join(check.Problems, "\n"))
	}
	i.counts["audit records"] = int(check.Records)
	type page struct {
		Records []policy.Record
		Next    string
	}
	decided := map[string]bool{}
	path := "/v1/audit?kind=decision&allowed=true&limit=1000"
	for p := read[page](ctx, i, path); ; p = read[page](ctx, i, path+"&after="+p.Next) {
		for _, r := range p.Records {
			decided[r.ID] = true
		}
		if p.Next == "" || len(decided) > maxListed {
			break
		}
	}
	for _, in := range i.intents {
		if in.Decision.Allowed && !decided[in.Audit] {
			i.wrong("%s of %s was allowed and has no record %q", in.Name, in.Run, in.Audit)
		}
	}
	tasks := read[struct{ Tasks []host.Task }](ctx, i, "/v1/tasks?limit=1000")
	for _, t := range tasks.Tasks {
		if t.State == host.TaskActive {
			i.wrong("task %s of session %s is active although its turn has ended", t.ID, t.Session)
		}
	}
}

// intent notes a call that was decided.
func (i *inspection) intent(s *session, e host.Record) {
	var in host.Intent
	if err := json.Unmarshal(e.Body, &in); err != nil {
		i.wrong("session %s, entry %d: %v", s.id, e.Seq, err)
	}
	i.intents = append(i.intents, in)
}
