package rest

import (
	"context"
	"errors"
	"io"
	"net/http"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/api"
)

// export streams a session as a file. What the client has is whole when the answer
// ends and is not cut off, and the file's trailer tells it again.
func (h *handlers) export(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	return api.Working(r, func(ctx context.Context) error {
		return api.Download(w, r, id+".session", func(out io.Writer) error {
			return h.Durable.Export(ctx, api.Caller(r), id, out)
		})
	})
}

// backup streams a copy of all that the host keeps, in the same way.
func (h *handlers) backup(w http.ResponseWriter, r *http.Request) error {
	return api.Working(r, func(ctx context.Context) error {
		return api.Download(w, r, "vespiary.backup", func(out io.Writer) error {
			return h.Backup.Backup(ctx, api.Caller(r), out)
		})
	})
}

// importSession takes in a session as it arrives.
func (h *handlers) importSession(w http.ResponseWriter, r *http.Request) error {
	q, err := query(r, "agent")
	if err != nil {
		return err
	}
	if r.ContentLength == 0 {
		return host.Errorf(host.ErrInvalid, "the body is empty; send the file that GET /v1/sessions/{id}/export gave")
	}
	in := &source{Reader: r.Body}
	return api.Working(r, func(ctx context.Context) error {
		s, err := h.Durable.Import(ctx, api.Caller(r), host.ImportOptions{Agent: q.Get("agent")}, in)
		switch {
		case in.err != nil: // it tells more than what was made of it
			return in.err
		case err != nil:
			return err
		}
		return created(w, s)
	})
}

// source remembers why a body could not be read on.
type source struct {
	io.Reader
	err error
}

// Read implements io.Reader.
func (s *source) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

// verify reads all of a session's journal and says what it found.
func (h *handlers) verify(w http.ResponseWriter, r *http.Request) error {
	return api.Working(r, func(ctx context.Context) error {
		v, err := h.Durable.Verify(ctx, api.Caller(r), r.PathValue("id"))
		if err != nil {
			return err
		}
		return api.WriteJSON(w, http.StatusOK, v)
	})
}
