package rest

import (
	"context"
	"encoding/json"
	"io"
	"iter"
	"net/http"
	"net/url"
	"time"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/api"
	"github.com/vespiary/vespiary/policy"
)

// auditFilters are the parameters that select records.
var auditFilters = []string{"since", "until", "chain", "session", "task", "agent", "user", "action", "call", "kind", "denied", "allowed", "differs"}

// auditKinds are those that records can be listed by.
var auditKinds = []policy.RecordKind{policy.RecordDecision, policy.RecordOutcome, policy.RecordTask}

// auditFilter reads the parameters that select records.
func auditFilter(r *http.Request, more ...string) (host.AuditFilter, url.Values, error) {
	q, err := query(r, append(more, auditFilters...)...)
	if err != nil {
		return host.AuditFilter{}, nil, err
	}
	f := host.AuditFilter{
		Chain: q.Get("chain"), Session: q.Get("session"), Task: q.Get("task"), Agent: q.Get("agent"), User: q.Get("user"),
		Action: q.Get("action"), Call: q.Get("call"), Kind: policy.RecordKind(q.Get("kind")),
	}
	if err := oneOf("kind", f.Kind, auditKinds); err != nil {
		return f, nil, err
	}
	for name, flag := range map[string]*bool{"denied": &f.Denied, "allowed": &f.Allowed, "differs": &f.Differs} {
		if *flag, err = boolean(q, name); err != nil {
			return f, nil, err
		}
	}
	if f.Denied && f.Allowed || f.Differs && (f.Denied || f.Allowed) {
		return f, nil, api.Invalid("denied", "more than one of denied, allowed and differs is given; leave all but one out")
	}
	if f.Since, err = moment(q, "since"); err != nil {
		return f, nil, err
	}
	f.Until, err = moment(q, "until")
	return f, q, err
}

// moment returns a parameter that is a time, a zero one when it is not given.
func moment(q url.Values, name string) (time.Time, error) {
	v := q.Get(name)
	if v == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, v)
	if err != nil {
		return t, api.Invalid(name, "%s is %q; use a time like 2030-01-02T03:04:05Z", name, v)
	}
	return t, nil
}

// auditPage is one page of records. Next, given back as after, asks for the next one.
type auditPage struct {
	Records []policy.Record `json:"records"`
	Next    string          `json:"next,omitempty"`
}

// searchAudit lists records page by page, newest first.
func (h *handlers) searchAudit(w http.ResponseWriter, r *http.Request) error {
	f, q, err := auditFilter(r, "after", "limit")
	if err != nil {
		return err
	}
	f.After = q.Get("after")
	if f.Limit, err = limit(q); err != nil {
		return err
	}
	list, next, err := h.Audit.Search(r.Context(), api.Caller(r), f)
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, auditPage{some(list), next})
}

// auditRecord shows one record.
func (h *handlers) auditRecord(w http.ResponseWriter, r *http.Request) error {
	record, err := h.Audit.Record(r.Context(), api.Caller(r), r.PathValue("id"))
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, record)
}

// auditFormats are those that records can be exported in, each with the end of its file's
// name.
var auditFormats = map[string]string{"jsonl": ".jsonl", "ocsf": ".ocsf.jsonl", "cloudtrail": ".cloudtrail.json"}

// exportAudit streams records in a format that other tools read.
func (h *handlers) exportAudit(w http.ResponseWriter, r *http.Request) error {
	f, q, err := auditFilter(r, "format")
	if err != nil {
		return err
	}
	format := q.Get("format")
	if format == "" {
		format = "jsonl"
	}
	end, ok := auditFormats[format]
	if !ok {
		return api.Invalid("format", "the format %q does not exist; use jsonl, ocsf or cloudtrail", format)
	}
	return api.Working(r, func(ctx context.Context) error {
		return api.Download(w, r, "audit"+end, func(out io.Writer) error {
			return h.Audit.Export(ctx, api.Caller(r), f, format, out)
		})
	})
}

// auditCheckpoint shows the newest signed checkpoint.
func (h *handlers) auditCheckpoint(w http.ResponseWriter, r *http.Request) error {
	text, err := h.Audit.Checkpoint(r.Context(), api.Caller(r))
	return plain(w, text, err)
}

// verifyAudit checks all of the audit and says what it found.
func (h *handlers) verifyAudit(w http.ResponseWriter, r *http.Request) error {
	return h.verifiedAudit(w, r, "")
}

// verifyAuditAgainst checks it against a checkpoint that the client kept, too.
func (h *handlers) verifyAuditAgainst(w http.ResponseWriter, r *http.Request) error {
	var b struct {
		Checkpoint string `json:"checkpoint"`
	}
	if _, err := api.Decode(r, &b, true); err != nil {
		return err
	}
	if b.Checkpoint == "" {
		return api.Invalid("checkpoint", "the checkpoint is missing; give one that GET /v1/audit/checkpoint gave, or use GET")
	}
	return h.verifiedAudit(w, r, b.Checkpoint)
}

func (h *handlers) verifiedAudit(w http.ResponseWriter, r *http.Request, checkpoint string) error {
	return api.Working(r, func(ctx context.Context) error {
		out, err := h.Audit.Verify(ctx, api.Caller(r), checkpoint)
		if err != nil {
			return err
		}
		return api.WriteJSON(w, http.StatusOK, out)
	})
}

// tailAudit follows the records as they are made.
func (h *handlers) tailAudit(w http.ResponseWriter, r *http.Request) error {
	f, q, err := auditFilter(r, "after")
	if err != nil {
		return err
	}
	if f.After, err = resumption(r, q); err != nil {
		return err
	}
	c := api.Caller(r)
	return api.Follow{
		Events: func(ctx context.Context) iter.Seq2[host.StreamEvent, error] { return told(h.Audit.Tail(ctx, c, f)) },
		Each: func(s *api.Stream, e host.StreamEvent) (bool, error) {
			return true, s.Send(e.ID, string(e.Type), e.Data)
		},
		Fail: fail,
	}.Serve(w, r)
}

// told makes events of records.
func told(records iter.Seq2[policy.Record, error]) iter.Seq2[host.StreamEvent, error] {
	return func(yield func(host.StreamEvent, error) bool) {
		for r, err := range records {
			e := host.StreamEvent{ID: r.ID, Type: "record", Time: r.Time}
			if err == nil {
				e.Data, err = json.Marshal(r)
			}
			if !yield(e, err) {
				return
			}
		}
	}
}
