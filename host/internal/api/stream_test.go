package api_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"iter"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/api"
)

// follow is a route that streams what seq yields.
func follow(seq func(ctx context.Context) iter.Seq2[host.StreamEvent, error]) api.Route {
	r := route("/x", func(w http.ResponseWriter, r *http.Request) error {
		return api.Follow{
			Events: seq,
			Each: func(s *api.Stream, e host.StreamEvent) (bool, error) {
				return true, s.Send(e.ID, string(e.Type), []byte("a\nb"))
			},
			Fail: func(s *api.Stream, p api.Problem) { _ = s.Send("", "problem", []byte(p.Detail)) },
		}.Serve(w, r)
	})
	r.Long = true
	return r
}

func TestStream(t *testing.T) {
	one := host.StreamEvent{ID: "1", Type: host.StreamCall}
	for name, c := range map[string]struct {
		seq  func(ctx context.Context) iter.Seq2[host.StreamEvent, error]
		want string
	}{
		"ends": {
			func(context.Context) iter.Seq2[host.StreamEvent, error] {
				return func(yield func(host.StreamEvent, error) bool) { yield(one, nil) }
			},
			"retry: 1000\n\nid: 1\nevent: call\ndata: a\ndata: b\n\nretry: 1000\n: no more events here; come back with Last-Event-ID\n\n",
		},
		"fails": {
			func(context.Context) iter.Seq2[host.StreamEvent, error] {
				return func(yield func(host.StreamEvent, error) bool) {
					_ = yield(one, nil) && yield(host.StreamEvent{}, host.Errorf(host.ErrNotFound, "gone"))
				}
			},
			"retry: 1000\n\nid: 1\nevent: call\ndata: a\ndata: b\n\nevent: problem\ndata: gone\n\n",
		},
		"panics": {
			func(context.Context) iter.Seq2[host.StreamEvent, error] {
				return func(yield func(host.StreamEvent, error) bool) {
					yield(one, nil)
					panic("in another goroutine")
				}
			},
			"retry: 1000\n\nid: 1\nevent: call\ndata: a\ndata: b\n\nevent: problem\ndata: the host failed; its log tells why under request id\n\n",
		},
	} {
		addr, _ := serve(t, api.Options{Routes: []api.Route{follow(c.seq)}, NewID: func() string { return "id" }})
		if a := post(t, "http://"+addr+"/x", ""); a.body != c.want {
			t.Errorf("%s: %q, want %q", name, a.body, c.want)
		}
	}
}

// TestStreamFailsAtOnce has a status for what goes wrong before the first event.
func TestStreamFailsAtOnce(t *testing.T) {
	for status, seq := range map[int]func(context.Context) iter.Seq2[host.StreamEvent, error]{
		404: func(context.Context) iter.Seq2[host.StreamEvent, error] {
			return func(yield func(host.StreamEvent, error) bool) {
				yield(host.StreamEvent{}, host.Errorf(host.ErrNotFound, "gone"))
			}
		},
		500: func(context.Context) iter.Seq2[host.StreamEvent, error] { panic("in another goroutine") },
	} {
		addr, _ := serve(t, api.Options{Routes: []api.Route{follow(seq)}})
		if a := post(t, "http://"+addr+"/x", ""); a.status != status {
			t.Errorf("%d, want %d: %s", a.status, status, a.body)
		}
	}
}

// quiet yields nothing until ctx ends, and then closes ended.
func quiet(ended chan struct{}) func(ctx context.Context) iter.Seq2[host.StreamEvent, error] {
	return func(ctx context.Context) iter.Seq2[host.StreamEvent, error] {
		return func(func(host.StreamEvent, error) bool) {
			<-ctx.Done()
			close(ended)
		}
	}
}

// TestStreamBeats reads comments from a quiet stream, leaves, and sees the
// sequence end.
func TestStreamBeats(t *testing.T) {
	ended := make(chan struct{})
	addr, _ := serve(t, api.Options{Routes: []api.Route{follow(quiet(ended))}, Limits: api.Limits{Beat: time.Millisecond}})
	resp, err := http.DefaultClient.Do(request(t, "http://"+addr+"/x", nil))
	if err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(resp.Body)
	for range 3 {
		if line, err := in.ReadString(':'); err != nil {
			t.Fatal(line, err)
		}
	}
	_ = resp.Body.Close()
	<-ended
}

func TestGracefulStop(t *testing.T) {
	ended, entered, leave := make(chan struct{}), make(chan struct{}), make(chan struct{})
	waiting := api.Route{Method: http.MethodPost, Path: "/wait", Long: true, Serve: func(w http.ResponseWriter, r *http.Request) error {
		ctx, cancel := api.Serving(r.Context(), time.Hour)
		defer cancel()
		entered <- struct{}{}
		<-ctx.Done()
		return ok(w, r)
	}}
	working := route("/work", func(w http.ResponseWriter, r *http.Request) error {
		entered <- struct{}{}
		<-leave
		return ok(w, r)
	})
	addr, stop := serve(t, api.Options{Routes: []api.Route{follow(quiet(ended)), waiting, working}})
	stream, err := http.DefaultClient.Do(request(t, "http://"+addr+"/x", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close() //nolint:errcheck // nothing was written
	var wg sync.WaitGroup
	for _, path := range []string{"/wait", "/work"} {
		wg.Go(func() {
			want(t, post(t, "http://"+addr+path, ""), 200, "")
		})
		<-entered
	}
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	body, err := io.ReadAll(stream.Body)
	if err != nil || !strings.HasSuffix(string(body), "come back with Last-Event-ID\n\n") {
		t.Errorf("the stream ended with %q, %v", body, err)
	}
	<-ended
	select {
	case err := <-stopped:
		t.Errorf("stopped while a request was at work: %v", err)
	default:
	}
	close(leave)
	wg.Wait()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if conn, err := net.Dial("tcp", addr); err == nil {
		_ = conn.Close()
		t.Error("a stopped server listens")
	}
}

func TestStopCutsOff(t *testing.T) {
	entered, cut := make(chan struct{}), make(chan struct{})
	stubborn := api.Route{Method: http.MethodPost, Path: "/x", Long: true, Serve: func(_ http.ResponseWriter, r *http.Request) error {
		close(entered)
		<-r.Context().Done()
		close(cut)
		return r.Context().Err()
	}}
	addr, stop := serve(t, api.Options{Routes: []api.Route{stubborn}, Limits: api.Limits{Grace: time.Millisecond}})
	go func() {
		resp, err := http.DefaultClient.Do(request(t, "http://"+addr+"/x", nil)) // fails, or not, as the cut falls
		if err == nil {
			_ = resp.Body.Close()
		}
	}()
	<-entered
	if err := stop(); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("stop: %v", err)
	}
	<-cut
}
