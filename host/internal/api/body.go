package api

import (
	"errors"
	"io"
	"net/http"
	"os"

	"github.com/labstack/echo/v4"

	"github.com/vespiary/vespiary/host"
)

// readBody reads up to limit bytes. A body that says it is larger is refused unread.
func readBody(r *http.Request, limit int64) ([]byte, error) {
	if r.ContentLength > limit {
		return nil, tooLarge(limit)
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
	switch {
	case err != nil:
		return nil, broken(err)
	case int64(len(body)) > limit:
		return nil, tooLarge(limit)
	}
	return body, nil
}

func tooLarge(limit int64) error {
	return host.Errorf(codeTooLarge, "the body is larger than %d bytes; send less, or raise the limit in the configuration", limit)
}

// broken says why a body did not arrive.
func broken(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return host.Errorf(codeTimeout, "the body did not arrive in time; send it faster")
	}
	return host.Errorf(host.ErrInvalid, "the body broke off: %w; send it again", err)
}

// streamedBody is a request's body on its way to a Stream route. Each part of it has
// Limits.Arrive to come, so that a large body may take its time and a client that
// stops sending may not.
type streamedBody struct {
	io.Closer
	in     io.Reader
	left   int64 // that may still come
	limit  int64
	server *Server
	rc     *http.ResponseController
	answer http.Header
	err    error // what it ended with
}

func (s *Server) streamed(c echo.Context) io.ReadCloser {
	limit := s.bodyLimit(c)
	b := &streamedBody{
		Closer: c.Request().Body, in: c.Request().Body, left: limit, limit: limit,
		server: s, rc: http.NewResponseController(c.Response()), answer: c.Response().Header(),
	}
	if c.Request().ContentLength > limit {
		_ = b.fail(tooLarge(limit))
	}
	return b
}

// Read implements io.Reader. After the end no deadline is set any more: the server
// watches the connection then, and would take it for the client's leaving.
func (b *streamedBody) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	_ = b.rc.SetReadDeadline(b.server.opts.Now().Add(b.server.limits.Arrive))
	n, err := b.in.Read(p)
	b.left -= int64(n)
	switch {
	case b.left < 0:
		return 0, b.fail(tooLarge(b.limit))
	case errors.Is(err, io.EOF):
		b.err = err
	case err != nil:
		err = b.fail(broken(err))
	}
	return n, err
}

// fail ends the body. The rest is not worth reading.
func (b *streamedBody) fail(err error) error {
	b.err = err
	b.answer.Set("Connection", "close")
	return err
}
