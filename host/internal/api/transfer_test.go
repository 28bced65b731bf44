package api_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/api"
	"github.com/vespiary/vespiary/host/internal/api/apitest"
)

// logText is what a server logs, for a test to read while it goes on.
type logText struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// downloading is a route that writes size bytes and then ends with err.
func downloading(size int, err error) api.Route {
	r := route("/x", func(w http.ResponseWriter, r *http.Request) error {
		return api.Download(w, r, `a "file"`, func(out io.Writer) error {
			for written := 0; written < size; written += 1 << 10 {
				if _, err := out.Write(bytes.Repeat([]byte("x"), min(1<<10, size-written))); err != nil {
					return err
				}
			}
			return err
		})
	})
	r.Long = true
	return r
}

func TestDownload(t *testing.T) {
	for _, size := range []int{0, 10, 1 << 20} {
		addr, _ := serve(t, api.Options{Routes: []api.Route{downloading(size, nil)}})
		a := post(t, "http://"+addr+"/x", "")
		if a.status != http.StatusOK || len(a.body) != size || a.header.Get("Content-Type") != "application/octet-stream" {
			t.Errorf("%d bytes: %d, %d bytes, %v", size, a.status, len(a.body), a.header)
		}
		if got := a.header.Get("Content-Disposition"); got != `attachment; filename="a \"file\""` {
			t.Errorf("Content-Disposition: %s", got)
		}
	}
}

// TestDownloadFails: an error before anything was sent is an answer, and one after that
// cuts the connection, so that no client takes a part for the whole.
func TestDownloadFails(t *testing.T) {
	addr, _ := serve(t, api.Options{Routes: []api.Route{downloading(10, host.Errorf(host.ErrForbidden, "no"))}})
	early := post(t, "http://"+addr+"/x", "")
	want(t, early, http.StatusForbidden, "forbidden")
	if early.header.Get("Content-Disposition") != "" {
		t.Error("a refusal is to be saved as a file")
	}

	var log logText
	addr, stop := serve(t, api.Options{
		Routes: []api.Route{downloading(1<<20, errors.New("the disk broke"))},
		Log:    slog.New(slog.NewTextHandler(&log, nil)),
	})
	resp, err := http.DefaultClient.Do(request(t, "http://"+addr+"/x", nil))
	if err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, resp.Body)
	if resp.StatusCode != http.StatusOK || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%d with %d bytes, %v; want a body that breaks off", resp.StatusCode, n, err)
	}
	if err := errors.Join(resp.Body.Close(), stop()); err != nil {
		t.Error(err)
	}
	if !strings.Contains(log.String(), "the disk broke") {
		t.Errorf("the log does not tell why: %s", &log)
	}
}

// TestDownloadIsSlow: all of it takes longer than Limits.Write, and each part does not.
func TestDownloadIsSlow(t *testing.T) {
	slow := route("/x", func(w http.ResponseWriter, r *http.Request) error {
		return api.Download(w, r, "x", func(out io.Writer) error {
			for range 4 {
				if _, err := out.Write(make([]byte, 100<<10)); err != nil {
					return err
				}
				time.Sleep(80 * time.Millisecond)
			}
			return nil
		})
	})
	slow.Long = true
	addr, _ := serve(t, api.Options{Routes: []api.Route{slow}, Limits: api.Limits{Write: 200 * time.Millisecond}})
	if a := post(t, "http://"+addr+"/x", ""); len(a.body) != 400<<10 {
		t.Errorf("%d bytes, want %d", len(a.body), 400<<10)
	}
}

// TestWorking: who works long is told to come back when the server stops.
func TestWorking(t *testing.T) {
	entered := make(chan struct{})
	long := route("/x", func(_ http.ResponseWriter, r *http.Request) error {
		return api.Working(r, func(ctx context.Context) error {
			close(entered)
			<-ctx.Done()
			return ctx.Err()
		})
	})
	long.Long = true
	addr, stop := serve(t, api.Options{Routes: []api.Route{long}})
	go func() {
		<-entered
		_ = stop()
	}()
	a := post(t, "http://"+addr+"/x", "")
	want(t, a, http.StatusServiceUnavailable, "unavailable")
}

// counting is a Stream route that reads its body, lingers, and answers with the length.
func counting(limit int64, linger time.Duration) api.Route {
	return api.Route{
		Method: http.MethodPost, Path: "/x", Stream: true, Long: true, Body: limit,
		Serve: func(w http.ResponseWriter, r *http.Request) error {
			n, err := io.Copy(io.Discard, r.Body)
			if err != nil {
				return err
			}
			select { // the client is still there, whatever the deadlines were
			case <-r.Context().Done():
				return r.Context().Err()
			case <-time.After(linger):
			}
			return api.WriteJSON(w, http.StatusOK, n)
		},
	}
}

func TestStreamedBody(t *testing.T) {
	addr, _ := serve(t, api.Options{Routes: []api.Route{counting(1<<20, 0)}, Limits: api.Limits{Body: 10, Work: time.Nanosecond}})
	url := "http://" + addr + "/x"
	for _, size := range []int{0, 1, 1 << 20} {
		if a := post(t, url, strings.Repeat("x", size)); a.status != http.StatusOK {
			t.Errorf("%d bytes: %d %s", size, a.status, a.body)
		}
	}
	want(t, post(t, url, strings.Repeat("x", 1<<20+1)), http.StatusRequestEntityTooLarge, "too_large")
	chunked := io.MultiReader(strings.NewReader(strings.Repeat("x", 1<<20)), strings.NewReader("y"))
	want(t, do(t, request(t, url, chunked)), http.StatusRequestEntityTooLarge, "too_large")
}

// TestStreamedBodyLingers: what comes after the body may take longer than its parts.
func TestStreamedBodyLingers(t *testing.T) {
	const arrive = 200 * time.Millisecond
	addr, _ := serve(t, api.Options{Routes: []api.Route{counting(1<<20, arrive+arrive/2)}, Limits: api.Limits{Arrive: arrive}})
	for _, body := range []string{"", "some"} {
		want(t, post(t, "http://"+addr+"/x", body), http.StatusOK, "")
	}
}

// TestStreamedBodyBreaks sends a part of a body and no more, or less than it said.
func TestStreamedBodyBreaks(t *testing.T) {
	addr, _ := serve(t, api.Options{Routes: []api.Route{counting(1<<20, 0)}, Limits: api.Limits{Arrive: 50 * time.Millisecond}})
	head := "POST /x HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + apitest.Key + "\r\nContent-Length: 5\r\n\r\nab"
	for _, leave := range []bool{false, true} {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write([]byte(head)); err != nil {
			t.Fatal(err)
		}
		status := "HTTP/1.1 408 "
		if leave {
			status = "HTTP/1.1 400 "
			if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
		}
		answer, _ := io.ReadAll(conn) // returns when the server has had enough
		if !strings.HasPrefix(string(answer), status) {
			t.Errorf("leave %v: %s", leave, answer)
		}
		_ = conn.Close()
	}
}
