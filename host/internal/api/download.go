package api

import (
	"bufio"
	"io"
	"mime"
	"net/http"
)

// downloadBuffer is how much of a download is held back. An error within it becomes an
// ordinary answer. In bytes.
const downloadBuffer = 64 << 10

// Download answers with what write writes, as a file of that name, in as much time as
// the client takes it in parts. An error that comes before anything was sent is
// returned. After that there is no way to tell of one but to cut the connection, which
// a client cannot take for the end. The request must have come through a Server.
func Download(w http.ResponseWriter, r *http.Request, name string, write func(w io.Writer) error) error {
	out := &download{w: w, name: name, rc: http.NewResponseController(w), server: exchangeOf(r.Context()).server}
	buf := bufio.NewWriterSize(out, downloadBuffer)
	err := write(buf)
	if err == nil {
		err = buf.Flush()
	}
	switch {
	case err == nil:
		out.begin()
		return nil
	case !out.begun:
		return err
	case r.Context().Err() == nil:
		out.server.log.ErrorContext(r.Context(), "a download broke off",
			"request", requestIDOf(r.Context()), "path", r.URL.Path, "error", unwrapped(err))
	}
	panic(http.ErrAbortHandler)
}

// download sends what it is given at once.
type download struct {
	w      http.ResponseWriter
	name   string
	rc     *http.ResponseController
	server *Server
	begun  bool
}

// Write implements io.Writer. The client has Limits.Write to take each part.
func (d *download) Write(p []byte) (int, error) {
	d.begin()
	_ = d.rc.SetWriteDeadline(d.server.opts.Now().Add(d.server.limits.Write))
	return d.w.Write(p)
}

func (d *download) begin() {
	if d.begun {
		return
	}
	d.begun = true
	h := d.w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": d.name}))
	d.w.WriteHeader(http.StatusOK)
}
