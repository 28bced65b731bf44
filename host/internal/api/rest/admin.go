package rest

import (
	"bytes"
	"io"
	"net/http"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/api"
)

// installed answers an installation; the digest is what configuration and policies
// may pin.
type installed struct {
	Name   string `json:"name"`
	Digest string `json:"digest"`
}

// wasmMagic begins every WebAssembly binary.
var wasmMagic = []byte("\x00asm")

// install takes in a module. What begins like no module at all is refused here,
// because that is a wrong file; the rest is for the runtime to judge.
func (h *handlers) install(w http.ResponseWriter, r *http.Request) error {
	q, err := query(r, "name")
	if err != nil {
		return err
	}
	name := q.Get("name")
	if name == "" {
		return api.Invalid("name", "the module has no name; add ?name= to the path")
	}
	wasm, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(wasm, wasmMagic) {
		return host.Errorf(host.ErrInvalid, "the body is not a WebAssembly module; send the .wasm file as it is")
	}
	digest, err := h.Admin.Install(r.Context(), api.Caller(r), name, wasm)
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusCreated, installed{name, digest})
}

// decisionList holds the newest decisions first.
type decisionList struct {
	Decisions []host.DecisionRecord `json:"decisions"`
}

// decisions answers the question that a denial raises: which policy, in which file
// and line, and from what.
func (h *handlers) decisions(w http.ResponseWriter, r *http.Request) error {
	q, err := query(r, "denied", "limit")
	if err != nil {
		return err
	}
	denied, err := boolean(q, "denied")
	if err != nil {
		return err
	}
	n, err := limit(q)
	if err != nil {
		return err
	}
	list, err := h.Admin.Decisions(r.Context(), api.Caller(r), host.DecisionFilter{Denied: denied, Limit: n})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, decisionList{some(list)})
}

// reload has nothing to say when it works; when it does not, the problem names what
// is wrong and nothing has changed.
func (h *handlers) reload(w http.ResponseWriter, r *http.Request) error {
	if err := h.Admin.Reload(r.Context(), api.Caller(r)); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
