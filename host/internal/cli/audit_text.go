package cli

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/vespiary/vespiary/policy"
)

func (r *runner) auditTable(list []policy.Record) error {
	w := tabwriter.NewWriter(r.out.w, 0, 0, 2, ' ', 0)
	table := printer{w}
	table.linef("RECORD\tTIME\tWHO\tWHAT\tCAME TO")
	for _, rec := range list {
		table.linef("%s\t%s\t%s\t%s\t%s", clean(rec.ID), local(rec.Time), actors(rec), asked(rec), came(rec))
	}
	return w.Flush()
}

// auditLine is a record in one line, for those that come one by one.
func auditLine(rec policy.Record) string {
	return fmt.Sprintf("%s  %s  %s  %s: %s", local(rec.Time), clean(rec.ID), actors(rec), asked(rec), came(rec))
}

// actors are those who act in a record, each for the next.
func actors(rec policy.Record) string {
	var names []string
	user := ""
	for _, a := range rec.Who {
		if a.Agent != "" {
			names = append(names, oneLine(a.Agent))
		}
		user = cmp.Or(a.User, user)
	}
	if names = slices.Compact(names); user != "" {
		names = append(names, oneLine(user))
	}
	return cmp.Or(strings.Join(names, " for "), "-")
}

// asked is what a record is about.
func asked(rec policy.Record) string {
	switch rec.Kind {
	case policy.RecordTask:
		return "task " + clean(rec.Chain)
	case policy.RecordOutcome:
		return strings.TrimSpace(clean(rec.Path + " " + cmp.Or(rec.Call, rec.Action, "of "+rec.Of)))
	}
	what := asksFor(rec.Action, rec.Resource)
	if rec.Call != "" && rec.Call != rec.Action {
		what = clean(rec.Call) + ", " + what
	}
	return strings.TrimSpace(clean(rec.Path) + " " + what)
}

// came is what a record says of it.
func came(rec policy.Record) string {
	switch {
	case rec.Kind == policy.RecordOutcome && rec.Took > 0:
		return fmt.Sprintf("%s after %s%s", clean(rec.Code), rec.Took.Round(time.Millisecond), reason(rec.Note))
	case rec.Kind == policy.RecordOutcome, rec.Kind == policy.RecordTask:
		return clean(rec.Code) + reason(rec.Note)
	case rec.Decision == nil:
		return "no decision"
	}
	return decisionText(*rec.Decision) + beside(*rec.Decision)
}

// beside tells of the candidate where it decides otherwise.
func beside(d policy.Decision) string {
	if d.Candidate == nil || d.Candidate.Allowed == d.Allowed {
		return ""
	}
	return "; by the candidate " + decisionText(*d.Candidate)
}

// auditRecord shows all of a record, in the order of who, what and how it was decided.
func (r *runner) auditRecord(rec policy.Record) {
	row := func(name, text string) {
		if text != "" {
			r.out.linef("%-9s %s", name, text)
		}
	}
	row("record", fmt.Sprintf("%s, %s of %s", clean(rec.ID), rec.Kind, local(rec.Time)))
	for i, a := range rec.Who {
		row([]string{"who", "for"}[min(i, 1)], actorText(a))
	}
	row("by", strings.Join(named("key ", rec.Key, "from ", rec.Remote), ", "))
	row("what", asked(rec)+kinds(rec.Kinds))
	row("session", strings.Join(named("", rec.Session, "turn ", nonzero(rec.Turn)), ", "))
	row("came to", came(rec))
	if d := rec.Decision; d != nil {
		row("policies", clean(d.Set))
		row("reason", clean(d.Approval))
	}
	row("approval", clean(rec.Approval))
	row("args", clean(rec.Args))
	row("model", clean(rec.Model))
	if l := rec.Labels; l != nil {
		row("labels", short(compact(l)))
	}
	row("result", clean(rec.Result))
	row("decision", clean(rec.Of))
	row("chain", fmt.Sprintf("%s, record %d", clean(rec.Chain), rec.N))
	row("hash", clean(rec.Hash))
	row("before", clean(rec.Prev))
	if rec.Kind == policy.RecordDecision {
		r.out.linef("\nwhy: vespiary policy explain %s", operand(rec.ID))
	}
}

// actorText is one of those who act in a record, with what they run and in which task.
func actorText(a policy.Actor) string {
	if a.Agent == "" && a.Run == "" {
		return strings.Join(named("user ", a.User, "in task ", a.Task), ", ")
	}
	return strings.Join(named("agent ", a.Agent, "module ", shortDigest(a.Module), "run ", a.Run, "task ", a.Task, "user ", a.User), ", ")
}

// named is what there is of pairs of a name and a text.
func named(pairs ...string) []string {
	var out []string
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			out = append(out, pairs[i]+oneLine(pairs[i+1]))
		}
	}
	return out
}

func nonzero(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

func kinds(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return " (" + clean(strings.Join(list, ", ")) + ")"
}
