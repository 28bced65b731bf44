package app

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/cli"
	"github.com/vespiary/vespiary/policy/cedar"
)

// activity shows calls, and what turns stop for, to whoever develops: it is fed with
// durable entries, in the order of each journal, and tells of them beside the sessions'
// own work.
type activity struct {
	h    *Host
	tell func(cli.Activity)
	feed chan recorded
}

type recorded struct {
	session string
	entry   host.Entry
}

// maxBehind bounds how far the telling may lag; what is beyond is not shown.
const maxBehind = 4096

func newActivity(h *Host, tell func(cli.Activity)) *activity {
	return &activity{h: h, tell: tell, feed: make(chan recorded, maxBehind)}
}

func (a *activity) add(session string, entries []host.Entry) {
	for _, e := range entries {
		switch e.Kind {
		case host.EntryIntent, host.EntryResult, host.EntryUnknown, host.EntryApproval, host.EntryWait:
		default:
			continue
		}
		select {
		case a.feed <- recorded{session, e}:
		default:
		}
	}
}

// run tells until ctx ends.
func (a *activity) run(ctx context.Context) {
	for {
		select {
		case r := <-a.feed:
			a.show(ctx, r)
		case <-ctx.Done():
			return
		}
	}
}

func (a *activity) show(ctx context.Context, r recorded) {
	head, err := a.h.sessions.Get(ctx, Local(), r.session)
	if err != nil {
		return
	}
	out := cli.Activity{Time: r.entry.Time, Session: r.session, Agent: head.Agent}
	switch r.entry.Kind {
	case host.EntryIntent:
		err = a.intent(ctx, r.entry, &out)
	case host.EntryApproval:
		out.Approval = new(host.Approval)
		err = json.Unmarshal(r.entry.Body, out.Approval)
	case host.EntryWait:
		out.Suspension = &host.Suspension{Turn: r.entry.Turn}
		err = json.Unmarshal(r.entry.Body, out.Suspension)
	default:
		err = a.outcome(r.entry, &out)
	}
	if err == nil {
		a.tell(out)
	}
}

func (a *activity) intent(ctx context.Context, e host.Entry, out *cli.Activity) error {
	var in host.Intent
	if err := json.Unmarshal(e.Body, &in); err != nil {
		return err
	}
	out.Call = host.CallView{Path: e.Path, Name: in.Name, Detail: in.Detail, Action: in.Action, Decision: in.Decision}
	if !in.Decision.Allowed {
		out.Hint = a.hint(ctx, in.Audit)
	}
	return nil
}

func (a *activity) outcome(e host.Entry, out *cli.Activity) error {
	var o host.Outcome
	if err := json.Unmarshal(e.Body, &o); err != nil {
		return err
	}
	out.Over, out.Call = true, host.CallView{Path: e.Path, Name: o.Name, Took: o.Took}
	out.Call.Decision.Allowed = o.Code != abi.CodeDenied
	if o.Code != "" {
		out.Call.Error = &abi.Error{Code: o.Code}
	}
	return nil
}

// hint says what would allow a call that was refused.
func (a *activity) hint(ctx context.Context, decision string) string {
	set := a.h.policy.Set()
	if set == nil || decision == "" {
		return ""
	}
	r, err := a.h.audit.Get(ctx, host.DefaultTenant, decision)
	if err != nil {
		return ""
	}
	asked, err := a.h.past().asked(ctx, &r)
	if err != nil {
		return ""
	}
	recorded, err := set.Record(asked)
	if err != nil {
		return ""
	}
	s := set.Suggest([]cedar.Recorded{recorded})
	return strings.Join(append(s.Notes, s.Policies), "\n")
}
