package rest

import (
	"net/http"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/api"
)

// approvalList holds the newest approvals first.
type approvalList struct {
	Approvals []host.Approval `json:"approvals"`
}

// approvalStatuses are those that approvals can be listed by.
var approvalStatuses = []host.ApprovalStatus{
	host.ApprovalPending, host.ApprovalGranted, host.ApprovalDenied, host.ApprovalExpired, host.ApprovalVoid,
}

// approvals lists what waits for an answer, or was answered.
func (h *handlers) approvals(w http.ResponseWriter, r *http.Request) error {
	q, err := query(r, "session", "status", "limit")
	if err != nil {
		return err
	}
	f := host.ApprovalFilter{Session: q.Get("session"), Status: host.ApprovalStatus(q.Get("status"))}
	if err := oneOf("status", f.Status, approvalStatuses); err != nil {
		return err
	}
	if f.Limit, err = limit(q); err != nil {
		return err
	}
	list, err := h.Durable.Approvals(r.Context(), api.Caller(r), f)
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, approvalList{some(list)})
}

// approval shows the question, with the arguments of the call that it is about.
func (h *handlers) approval(w http.ResponseWriter, r *http.Request) error {
	a, err := h.Durable.Approval(r.Context(), api.Caller(r), r.PathValue("id"))
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, a)
}

// answerApproval answers the question. Neither answer is the default: a body that
// forgets it would deny what its writer meant to grant.
func (h *handlers) answerApproval(w http.ResponseWriter, r *http.Request) error {
	var b struct {
		Grant  *bool  `json:"grant"`
		Reason string `json:"reason"`
	}
	if _, err := api.Decode(r, &b, true); err != nil {
		return err
	}
	if b.Grant == nil {
		return api.Invalid("grant", "the answer is missing; set grant to true or false")
	}
	a, err := h.Durable.Answer(r.Context(), api.Caller(r), r.PathValue("id"), host.Answer{Grant: *b.Grant, Reason: b.Reason})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, a)
}

// unsettledList is not paged: each entry waits for a person.
type unsettledList struct {
	Unsettled []host.Unsettled `json:"unsettled"`
}

// unsettled lists the calls of which nobody knows whether they happened.
func (h *handlers) unsettled(w http.ResponseWriter, r *http.Request) error {
	if _, err := query(r); err != nil {
		return err
	}
	list, err := h.Durable.Unsettled(r.Context(), api.Caller(r))
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, unsettledList{some(list)})
}

// settlement is what a person found out; who it was the host knows.
type settlement struct {
	Path    string `json:"path"`
	Outcome string `json:"outcome"`
	Note    string `json:"note"`
	Tell    bool   `json:"tell"`
}

// settle records what became of a call.
func (h *handlers) settle(w http.ResponseWriter, r *http.Request) error {
	var b settlement
	if _, err := api.Decode(r, &b, true); err != nil {
		return err
	}
	if b.Path == "" {
		return api.Invalid("path", "the path of the call is missing; GET /v1/unsettled lists those that can be settled")
	}
	if b.Outcome == "" {
		return api.Invalid("outcome", "the outcome is missing; use %s or %s", host.SettledHappened, host.SettledNot)
	}
	if err := oneOf("outcome", b.Outcome, []string{host.SettledHappened, host.SettledNot}); err != nil {
		return err
	}
	c := api.Caller(r)
	u, err := h.Durable.Settle(r.Context(), c, r.PathValue("id"), host.Settlement{
		Path: b.Path, Outcome: b.Outcome, Note: b.Note, By: c, Tell: b.Tell,
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, u)
}
