package rest

import (
	"context"
	"net/http"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/api"
)

// fork opens a session that goes on from a point of another one's past; without a body
// from its newest entry.
func (h *handlers) fork(w http.ResponseWriter, r *http.Request) error {
	var b struct {
		At uint64 `json:"at"`
	}
	if err := api.DecodeOptional(r, &b); err != nil {
		return err
	}
	s, err := h.Durable.Fork(r.Context(), api.Caller(r), r.PathValue("id"), b.At)
	if err != nil {
		return err
	}
	return created(w, s)
}

// created answers with a session that was not there before.
func created(w http.ResponseWriter, s host.Session) error {
	w.Header().Set("Location", "/v1/sessions/"+s.ID)
	return api.WriteJSON(w, http.StatusCreated, s)
}

// revert hides the newest entries of a session. Which ones is not guessed.
func (h *handlers) revert(w http.ResponseWriter, r *http.Request) error {
	var b struct {
		To uint64 `json:"to"`
	}
	if _, err := api.Decode(r, &b, true); err != nil {
		return err
	}
	if b.To == 0 {
		return api.Invalid("to", "the entry to go back to is missing; set to to the last one that stays, as the journal numbers them")
	}
	s, err := h.Durable.Revert(r.Context(), api.Caller(r), r.PathValue("id"), b.To)
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, s)
}

// replay reports what running the record again comes to.
func (h *handlers) replay(w http.ResponseWriter, r *http.Request) error {
	var b struct {
		Module string `json:"module"`
		Model  string `json:"model"`
		Until  uint64 `json:"until"`
	}
	if err := api.DecodeOptional(r, &b); err != nil {
		return err
	}
	return api.Working(r, func(ctx context.Context) error {
		report, err := h.Durable.Replay(ctx, api.Caller(r), r.PathValue("id"), host.ReplayOptions{Module: b.Module, Model: b.Model, Until: b.Until})
		if err != nil {
			return err
		}
		report.Turns = some(report.Turns)
		return api.WriteJSON(w, http.StatusOK, report)
	})
}

// diff tells how two sessions differ.
func (h *handlers) diff(w http.ResponseWriter, r *http.Request) error {
	return api.Working(r, func(ctx context.Context) error {
		c, err := h.Durable.Diff(ctx, api.Caller(r), r.PathValue("id"), r.PathValue("other"))
		if err != nil {
			return err
		}
		return api.WriteJSON(w, http.StatusOK, c)
	})
}

// upgrade takes a session to another module; without a body to the one that its agent
// has now.
func (h *handlers) upgrade(w http.ResponseWriter, r *http.Request) error {
	var b host.UpgradeOptions
	if err := api.DecodeOptional(r, &b); err != nil {
		return err
	}
	if err := oneOf("mode", b.Mode, []string{host.UpgradeMigrate, host.UpgradeReplay}); err != nil {
		return err
	}
	return api.Working(r, func(ctx context.Context) error {
		u, err := h.Durable.Upgrade(ctx, api.Caller(r), r.PathValue("id"), b)
		if err != nil {
			return err
		}
		return api.WriteJSON(w, http.StatusOK, u)
	})
}

// resume lets a parked session go on.
func (h *handlers) resume(w http.ResponseWriter, r *http.Request) error {
	var b struct {
		Note string `json:"note"`
	}
	if err := api.DecodeOptional(r, &b); err != nil {
		return err
	}
	s, err := h.Durable.Unpark(r.Context(), api.Caller(r), r.PathValue("id"), b.Note)
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, s)
}

// erase destroys what a session has said and read. The session stays, without it.
func (h *handlers) erase(w http.ResponseWriter, r *http.Request) error {
	s, err := h.Durable.Erase(r.Context(), api.Caller(r), r.PathValue("id"))
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, s)
}
