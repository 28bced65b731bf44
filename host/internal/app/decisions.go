package app

import (
	"context"
	"encoding/json"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/policy"
	"github.com/vespiary/vespiary/policy/audit"
	"github.com/vespiary/vespiary/policy/cedar"
)

// recent returns the newest decisions about the calls of agents. The sessions are
// looked up by get, where the filter asks about them.
func (p past) recent(ctx context.Context, c host.Caller, f host.DecisionFilter, set *cedar.Set, get func(ctx context.Context, c host.Caller, id string) (host.Session, error)) ([]host.DecisionRecord, error) {
	q := audit.Query{Tenant: c.Tenant, Reverse: true}
	if f.Denied {
		q.Decision = audit.Denied
	}
	visible := visibility(ctx, c, f.Visible, get)
	out, size := []host.DecisionRecord{}, 0
	for d, err := range p.decisions(ctx, q) {
		if err != nil {
			return nil, err
		}
		r := &d.record
		if r.Session == "" || r.Path == "" || r.Decision == nil { // what people ask has no call path
			continue
		}
		seen, err := visible(r.Session)
		if err != nil {
			return nil, err
		}
		if !seen {
			continue
		}
		one := decisionRecord(&d, set)
		if size += len(one.Recorded); size > maxPage { // what they were made from may not fit the memory
			one.Recorded = nil
		}
		if out = append(out, one); len(out) == f.Limit {
			break
		}
	}
	return out, nil
}

// visibility tells of which sessions a caller sees decisions, asking about each one once.
// One that is not there any more is seen by nobody who does not see all.
func visibility(ctx context.Context, c host.Caller, visible func(*host.Session) bool, get func(context.Context, host.Caller, string) (host.Session, error)) func(string) (bool, error) {
	known := map[string]bool{}
	return func(id string) (bool, error) {
		if visible == nil {
			return true, nil
		}
		if seen, ok := known[id]; ok {
			return seen, nil
		}
		s, err := get(ctx, c, id)
		if err != nil && host.CodeOf(err) != host.ErrNotFound {
			return false, err
		}
		known[id] = err == nil && visible(&s)
		return known[id], nil
	}
}

func decisionRecord(d *decided, set *cedar.Set) host.DecisionRecord {
	r := &d.record
	return host.DecisionRecord{
		Session: r.Session, Agent: agentOf(r.Who), Turn: r.Turn, Time: r.Time, Recorded: recordedBy(set, d.asked),
		Call: host.CallView{Path: r.Path, Name: r.Call, Detail: r.Resource.ID, Action: r.Action, Decision: *r.Decision},
	}
}

func agentOf(who []policy.Actor) string {
	if len(who) == 0 {
		return ""
	}
	return who[0].Agent
}

// recordedBy is a request in the engine's own form, nil where it is not readable or does
// not fit the schema of now.
func recordedBy(set *cedar.Set, asked *policy.Request) json.RawMessage {
	if set == nil || asked == nil {
		return nil
	}
	recorded, err := set.Record(asked)
	if err != nil {
		return nil
	}
	b, err := json.Marshal(recorded)
	if err != nil {
		return nil
	}
	return b
}
