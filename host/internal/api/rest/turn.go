package rest

import (
	"fmt"
	"net/http"
	"strconv"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/api"
)

// turnView is a turn as clients see it. Text is its content without what is not
// text; WaitsFor says in words what is missing to its end.
type turnView struct {
	host.Turn
	Text     string   `json:"text"`
	WaitsFor []string `json:"waits_for,omitempty"`
}

// view adds to a turn what clients would otherwise each work out themselves.
func view(t host.Turn) turnView {
	return turnView{t, abi.TextOf(t.Content), api.WaitsFor(t)}
}

// answer writes the turn: 200 when it is over, whatever became of it, because the
// request to run it succeeded and must not be repeated by a client that retries
// failures; 202 with a place to look when it is not, or waits for an event.
func answer(w http.ResponseWriter, t host.Turn) error {
	if !t.Status.Over() || t.Status == host.TurnWaiting {
		return pending(w, t)
	}
	return api.WriteJSON(w, http.StatusOK, view(t))
}

// pending writes a turn that is to be looked at again.
func pending(w http.ResponseWriter, t host.Turn) error {
	w.Header().Set("Location", fmt.Sprintf("/v1/sessions/%s/turns/%d", t.Session, t.Number))
	return api.WriteJSON(w, http.StatusAccepted, view(t))
}

// turn shows a turn; with Prefer: wait=N it waits for its end first.
func (h *handlers) turn(w http.ResponseWriter, r *http.Request) error {
	n, err := strconv.Atoi(r.PathValue("n"))
	if err != nil || n < 1 {
		return host.Errorf(host.ErrNotFound, "there is no turn %q; turns are numbered from 1", r.PathValue("n"))
	}
	p, err := preferences(r.Header)
	if err != nil {
		return err
	}
	c := api.Caller(r)
	t, err := h.Sessions.Turn(r.Context(), c, r.PathValue("id"), n)
	if err != nil {
		return err
	}
	p.applied(w.Header())
	if p.wait > 0 && !t.Status.Over() {
		if t, err = h.await(r.Context(), c, t, min(p.wait, h.Wait)); err != nil {
			return err
		}
	}
	return api.WriteJSON(w, http.StatusOK, view(t))
}
