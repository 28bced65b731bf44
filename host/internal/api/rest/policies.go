package rest

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/api"
)

// fileName is the form of a policy file's name, which may begin with folders: it leads out
// of none, and nothing in it is hidden.
var fileName = regexp.MustCompile(`^([A-Za-z0-9][A-Za-z0-9._-]{0,99}/){0,8}[A-Za-z0-9][A-Za-z0-9._-]{0,99}\.cedar$`)

func checkName(field, name string) error {
	if !fileName.MatchString(name) {
		return api.Invalid(field, "the file name %q does not fit; use letters, digits, dots and dashes, and end it with .cedar", name)
	}
	return nil
}

// policies shows the set that decides.
func (h *handlers) policies(w http.ResponseWriter, r *http.Request) error {
	if _, err := query(r); err != nil {
		return err
	}
	set, err := h.Policies.Active(r.Context(), api.Caller(r))
	return writeSet(w, set, err)
}

// policySet shows a set by its digest.
func (h *handlers) policySet(w http.ResponseWriter, r *http.Request) error {
	set, err := h.Policies.Set(r.Context(), api.Caller(r), r.PathValue("digest"))
	return writeSet(w, set, err)
}

// writeSet answers with a set. Its digest is what If-Match takes.
func writeSet(w http.ResponseWriter, set host.PolicySet, err error) error {
	if err != nil {
		return err
	}
	set.Files = some(set.Files)
	w.Header().Set("ETag", `"`+set.Digest+`"`)
	return api.WriteJSON(w, http.StatusOK, set)
}

// policyFiles is a whole set. Files is a pointer, for a body that forgets it must not
// remove all policies.
type policyFiles struct {
	Files *[]host.PolicyFile `json:"files"`
}

// files reads and checks the files of a body.
func (b *policyFiles) files() ([]host.PolicyFile, error) {
	if b.Files == nil {
		return nil, api.Invalid("files", "the files are missing; give them all, each with name and text")
	}
	seen := map[string]bool{}
	for i, f := range *b.Files {
		at := fmt.Sprintf("files[%d].name", i)
		if err := checkName(at, f.Name); err != nil {
			return nil, err
		}
		if seen[f.Name] {
			return nil, api.Invalid(at, "the file %s is given twice; give it once", f.Name)
		}
		seen[f.Name] = true
	}
	return *b.Files, nil
}

// replacePolicies puts all files in the place of those that there are.
func (h *handlers) replacePolicies(w http.ResponseWriter, r *http.Request) error {
	var b policyFiles
	if _, err := api.Decode(r, &b, true); err != nil {
		return err
	}
	files, err := b.files()
	if err != nil {
		return err
	}
	return h.changePolicies(w, r, host.PolicyChange{All: true, Write: files})
}

// writePolicy puts one file in its place. The body is the file as it is.
func (h *handlers) writePolicy(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("file")
	if err := checkName("file", name); err != nil {
		return err
	}
	text, err := io.ReadAll(r.Body)
	switch {
	case err != nil:
		return err
	case !utf8.Valid(text):
		return host.Errorf(host.ErrInvalid, "the body is not UTF-8; send the policy file as it is")
	}
	return h.changePolicies(w, r, host.PolicyChange{Write: []host.PolicyFile{{Name: name, Text: string(text)}}})
}

// removePolicy removes one file.
func (h *handlers) removePolicy(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("file")
	if err := checkName("file", name); err != nil {
		return err
	}
	return h.changePolicies(w, r, host.PolicyChange{Remove: []string{name}})
}

// changePolicies makes a change, of the set that the client last saw if it says so.
func (h *handlers) changePolicies(w http.ResponseWriter, r *http.Request, change host.PolicyChange) error {
	var err error
	if change.Match, err = match(r.Header); err != nil {
		return err
	}
	set, err := h.Policies.Change(r.Context(), api.Caller(r), change)
	if change.Match != "" && host.CodeOf(err) == host.ErrConflict {
		return api.Stale(err)
	}
	return writeSet(w, set, err)
}

// match returns the digest of If-Match, "" where any set will do.
func match(h http.Header) (string, error) {
	v := h.Get("If-Match")
	if v == "" || v == "*" {
		return "", nil
	}
	digest, opened := strings.CutPrefix(v, `"`)
	digest, closed := strings.CutSuffix(digest, `"`)
	if !opened || !closed || digest == "" || strings.Contains(digest, `"`) {
		return "", api.Invalid("If-Match", "If-Match is not one digest in quotes; give back the ETag that GET /v1/policies gave")
	}
	return digest, nil
}

// checkPolicies says what is wrong with files, and changes nothing.
func (h *handlers) checkPolicies(w http.ResponseWriter, r *http.Request) error {
	var b policyFiles
	if _, err := api.Decode(r, &b, true); err != nil {
		return err
	}
	files, err := b.files()
	if err != nil {
		return err
	}
	out, err := h.Policies.Check(r.Context(), api.Caller(r), files)
	if err != nil {
		return err
	}
	out.Problems = some(out.Problems)
	return api.WriteJSON(w, http.StatusOK, out)
}

// policySchema shows what policies can talk about.
func (h *handlers) policySchema(w http.ResponseWriter, r *http.Request) error {
	text, err := h.Policies.Schema(r.Context(), api.Caller(r))
	return plain(w, text, err)
}

// plain answers with a text.
func plain(w http.ResponseWriter, text string, err error) error {
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, text) //nolint:gosec // plain text, and browsers are told not to guess
	return nil
}

// simulatePolicies says what other policies would have decided.
func (h *handlers) simulatePolicies(w http.ResponseWriter, r *http.Request) error {
	var b struct {
		policyFiles
		Since time.Time `json:"since"`
	}
	if _, err := api.Decode(r, &b, true); err != nil {
		return err
	}
	files, err := b.files()
	if err != nil {
		return err
	}
	return api.Working(r, func(ctx context.Context) error {
		out, err := h.Policies.Simulate(ctx, api.Caller(r), files, b.Since)
		if err != nil {
			return err
		}
		out.Changes = some(out.Changes)
		return api.WriteJSON(w, http.StatusOK, out)
	})
}

// explainDecision says why a decision is what it is.
func (h *handlers) explainDecision(w http.ResponseWriter, r *http.Request) error {
	out, err := h.Policies.Explain(r.Context(), api.Caller(r), r.PathValue("id"))
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, out)
}

// suggestion writes the policies that an agent needs for what it did.
func (h *handlers) suggestion(w http.ResponseWriter, r *http.Request) error {
	q, err := query(r, "since")
	if err != nil {
		return err
	}
	since, err := moment(q, "since")
	if err != nil {
		return err
	}
	return api.Working(r, func(ctx context.Context) error {
		out, err := h.Policies.Tightest(ctx, api.Caller(r), r.PathValue("agent"), since)
		if err != nil {
			return err
		}
		return api.WriteJSON(w, http.StatusOK, out)
	})
}

// reach says what an agent could do.
func (h *handlers) reach(w http.ResponseWriter, r *http.Request) error {
	out, err := h.Policies.Reach(r.Context(), api.Caller(r), r.PathValue("agent"))
	if err != nil {
		return err
	}
	out.Abilities = some(out.Abilities)
	return api.WriteJSON(w, http.StatusOK, out)
}
