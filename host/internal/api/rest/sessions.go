package rest

import (
	"context"
	"iter"
	"net/http"
	"net/url"
	"regexp"
	"strconv"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/api"
)

// agentList is not paged: agents come from a configuration that a person wrote.
type agentList struct {
	Agents []host.AgentInfo `json:"agents"`
}

// agents lists what the caller may invoke. It takes no parameters, and says so to a
// client that tries to filter.
func (h *handlers) agents(w http.ResponseWriter, r *http.Request) error {
	if _, err := query(r); err != nil {
		return err
	}
	list, err := h.Agents.List(r.Context(), api.Caller(r))
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, agentList{some(list)})
}

// sessionList is one page. Next, given back as after, asks for the next one.
type sessionList struct {
	Sessions []host.Session `json:"sessions"`
	Next     string         `json:"next,omitempty"`
}

// statuses are those that sessions can be listed by.
var statuses = []host.SessionStatus{
	host.SessionIdle, host.SessionRunning, host.SessionWaiting, host.SessionSuspended, host.SessionErased, host.SessionParked,
}

// sessions lists sessions page by page. A page that is just full names a next one,
// which may turn out empty: looking ahead would cost every client a read.
func (h *handlers) sessions(w http.ResponseWriter, r *http.Request) error {
	q, err := query(r, "agent", "status", "after", "limit")
	if err != nil {
		return err
	}
	f := host.SessionFilter{Agent: q.Get("agent"), Status: host.SessionStatus(q.Get("status")), After: q.Get("after")}
	if err := oneOf("status", f.Status, statuses); err != nil {
		return err
	}
	if f.Limit, err = limit(q); err != nil {
		return err
	}
	list, err := h.Sessions.List(r.Context(), api.Caller(r), f)
	if err != nil {
		return err
	}
	page := sessionList{Sessions: some(list)}
	if len(list) == f.Limit {
		page.Next = list[len(list)-1].ID
	}
	return api.WriteJSON(w, http.StatusOK, page)
}

// session shows one session; what it said and did is in its turns, events and
// journal.
func (h *handlers) session(w http.ResponseWriter, r *http.Request) error {
	s, err := h.Sessions.Get(r.Context(), api.Caller(r), r.PathValue("id"))
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, s)
}

// cancel answers with the session as it is now: turns end by themselves at their
// next host call, and their events tell when.
func (h *handlers) cancel(w http.ResponseWriter, r *http.Request) error {
	s, err := h.Sessions.Cancel(r.Context(), api.Caller(r), r.PathValue("id"))
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, s)
}

// eventID is the form of the ids that clients give back.
var eventID = regexp.MustCompile(`^[0-9A-Za-z./_-]{1,256}$`)

// resumption returns the id after which a stream is to go on. A browser that connects
// anew sends Last-Event-ID itself; after in the query is for the first connection, where
// it cannot.
func resumption(r *http.Request, q url.Values) (string, error) {
	after := r.Header.Get("Last-Event-ID")
	if after == "" {
		after = q.Get("after")
	}
	if after != "" && !eventID.MatchString(after) {
		return "", api.Invalid("Last-Event-ID", "the event id %q is not one this host gave out; leave it out to begin at the beginning", after)
	}
	return after, nil
}

// events follows a session.
func (h *handlers) events(w http.ResponseWriter, r *http.Request) error {
	q, err := query(r, "after")
	if err != nil {
		return err
	}
	after, err := resumption(r, q)
	if err != nil {
		return err
	}
	c, id := api.Caller(r), r.PathValue("id")
	if _, err := h.Sessions.Get(r.Context(), c, id); err != nil {
		return err // while it can still be a status
	}
	return api.Follow{
		Events: func(ctx context.Context) iter.Seq2[host.StreamEvent, error] {
			return h.Sessions.Events(ctx, c, id, after)
		},
		Each: func(s *api.Stream, e host.StreamEvent) (bool, error) { return true, send(s, e) },
		Fail: fail,
	}.Serve(w, r)
}

// recordList is one page of a journal. Next, given back as from, asks for the
// next one.
type recordList struct {
	Records []host.Record `json:"records"`
	Next    uint64        `json:"next,omitempty"`
}

// journal shows what was recorded, from the sequence number from on. Payloads that
// were erased are absent, and their records remain.
func (h *handlers) journal(w http.ResponseWriter, r *http.Request) error {
	q, err := query(r, "from", "limit")
	if err != nil {
		return err
	}
	from := uint64(1)
	if v := q.Get("from"); v != "" {
		if from, err = strconv.ParseUint(v, 10, 64); err != nil {
			return api.Invalid("from", "from is %q, not a sequence number; records are numbered from 1", v)
		}
	}
	n, err := limit(q)
	if err != nil {
		return err
	}
	list, err := h.Sessions.Journal(r.Context(), api.Caller(r), r.PathValue("id"), from, n)
	if err != nil {
		return err
	}
	page := recordList{Records: some(list)}
	if len(list) == n {
		page.Next = list[len(list)-1].Seq + 1
	}
	return api.WriteJSON(w, http.StatusOK, page)
}
