package rest

import (
	"net/http"
	"time"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/api"
)

// keyList is not paged: people made each of them.
type keyList struct {
	Keys []host.APIKey `json:"keys"`
}

// keys lists the API keys, also those that are revoked or expired.
func (h *handlers) keys(w http.ResponseWriter, r *http.Request) error {
	if _, err := query(r); err != nil {
		return err
	}
	list, err := h.Keys.List(r.Context(), api.Caller(r))
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, keyList{some(list)})
}

// createdKey shows the token for the only time.
type createdKey struct {
	Key   host.APIKey `json:"key"`
	Token string      `json:"token"`
}

// createKey makes an API key; without a user it is one of the caller's own.
func (h *handlers) createKey(w http.ResponseWriter, r *http.Request) error {
	var b struct {
		Name      string    `json:"name"`
		User      string    `json:"user"`
		Scopes    []string  `json:"scopes"`
		Expires   time.Time `json:"expires"`
		ExpiresIn *int64    `json:"expires_in"` // seconds
	}
	if _, err := api.Decode(r, &b, true); err != nil {
		return err
	}
	if b.Name == "" {
		return api.Invalid("name", "the key has no name; give it one, so that it can be told from others")
	}
	if b.Scopes != nil && len(b.Scopes) == 0 {
		return api.Invalid("scopes", "the list of scopes is empty; leave scopes out for a key that is not limited")
	}
	expires, err := expiry("", b.Expires, b.ExpiresIn, h.Now)
	if err != nil {
		return err
	}
	k, token, err := h.Keys.Create(r.Context(), api.Caller(r), host.APIKeySpec{Name: b.Name, User: b.User, Scopes: b.Scopes, Expires: expires})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusCreated, createdKey{k, token})
}

// revokeKey ends a key. It stays in the list, for what was done with it.
func (h *handlers) revokeKey(w http.ResponseWriter, r *http.Request) error {
	k, err := h.Keys.Revoke(r.Context(), api.Caller(r), r.PathValue("id"))
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, k)
}
