package app_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/app"
	"github.com/vespiary/vespiary/host/internal/config"
	"github.com/vespiary/vespiary/policy"
	"github.com/vespiary/vespiary/policy/audit"
)

// live is an assembled host that answers HTTP, and that a test can look into. Its own key
// is an operator's.
type live struct {
	*served
	host  *app.Host
	clock *clock
}

// clock is the real one, which a test can put forward.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time          { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) advance(d time.Duration) { c.ahead.Add(int64(d)) }

// goLive runs the host of a folder until the test ends, or stop is called.
func goLive(t *testing.T, dir string, o app.Options) *live {
	t.Helper()
	cfg := configured(t, dir)
	l := &live{served: &served{t: t, dir: dir}, clock: &clock{}}
	_, key, err := app.App{}.CreateKey(t.Context(), cfg, host.APIKeySpec{Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	l.key, o.Now = key, l.clock.now
	o.Reload = func() (*config.Config, error) { return config.Load(cfg.File) }
	if l.host, err = app.Open(t.Context(), cfg, o); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan string, 1), make(chan error, 1)
	go func() { done <- l.host.Serve(ctx, func(url string) { ready <- url }) }()
	l.stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	t.Cleanup(func() {
		if err := l.stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	select {
	case l.url = <-ready:
	case err := <-done:
		done <- nil
		t.Fatalf("serve: %v", err)
	}
	warm.Do(l.warm)
	return l
}

// as is the same host for who holds another token.
func (l *live) as(token string) *live {
	s := *l.served
	s.key = token
	return &live{served: &s, host: l.host, clock: l.clock}
}

// keyOf makes an API key of a user.
func (l *live) keyOf(user string, more map[string]any) (id, token string) {
	l.t.Helper()
	body := map[string]any{"name": "of " + user, "user": user}
	maps.Copy(body, more)
	var out struct {
		Key   host.APIKey
		Token string
	}
	l.post(http.MethodPost, "/v1/keys", body, &out)
	return out.Key.ID, out.Token
}

// openTask opens a task for the agent that is a program elsewhere, by the name of scout, and
// returns the holder of its token.
func (l *live) openTask(more map[string]any) (host.Task, *live) {
	l.t.Helper()
	body := map[string]any{"agent": "scout", "grants": []policy.Grant{{Actions: []string{"observe", "effect", "egress", "control"}}}}
	maps.Copy(body, more)
	var out struct {
		Task  host.Task
		Token string
	}
	l.post(http.MethodPost, "/v1/tasks", body, &out)
	return out.Task, l.as(out.Token)
}

// call makes a host call in a task.
func (l *live) call(task, id, name, request string) abi.Result {
	l.t.Helper()
	var out abi.Result
	l.post(http.MethodPost, "/v1/tasks/"+task+"/calls", map[string]any{"id": id, "name": name, "request": json.RawMessage(request)}, &out)
	return out
}

// records is what the audit has.
func (l *live) records(q audit.Query) []policy.Record {
	l.t.Helper()
	out, err := l.host.Records(context.WithoutCancel(l.t.Context()), q)
	if err != nil {
		l.t.Fatal(err)
	}
	return out
}

// decided returns the only record of an action in a task that was decided so. A denial is
// written with what the session commits next.
func (l *live) decided(task, action string, allowed bool) policy.Record {
	l.t.Helper()
	var out []policy.Record
	l.until(fmt.Sprintf("a decision about %s that is allowed=%v", action, allowed), func() bool {
		out = slices.DeleteFunc(l.records(audit.Query{Chain: task, Action: action, Kind: policy.RecordDecision}), func(r policy.Record) bool {
			return r.Decision.Allowed != allowed
		})
		return len(out) > 0
	})
	if len(out) > 1 {
		l.t.Fatalf("%d decisions about %s are on record", len(out), action)
	}
	return out[0]
}

// status makes a request and returns nothing but its status.
func (l *live) status(method, path string, body any) int {
	l.t.Helper()
	status, _ := l.do(method, path, body)
	return status
}

// want demands a status.
func (l *live) want(status int, method, path string, body any) []byte {
	l.t.Helper()
	got, b := l.do(method, path, body)
	if got != status {
		l.t.Errorf("%s %s: %d %s, want %d", method, path, got, b, status)
	}
	return b
}

// policed is a project whose policies are these files, and no others.
func policed(t *testing.T, yaml string, files map[string]string) string {
	t.Helper()
	dir := newFolder(t, yaml)
	if err := os.RemoveAll(filepath.Join(dir, "policies")); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		put(t, filepath.Join(dir, "policies", name), text)
	}
	return dir
}

// allowPeople lets people ask the host for anything, and allowRuns agents.
const (
	allowPeople = `@id("people") permit (principal is User, action, resource);`
	allowRuns   = `@id("runs") permit (principal is Run, action, resource);`
)

// counted is a server on loopback that counts requests, each of which seen is told of.
type counted struct {
	*httptest.Server
	asked atomic.Int64
	seen  atomic.Pointer[func(r *http.Request)]
}

func newCounted(t *testing.T, answer http.HandlerFunc) *counted {
	t.Helper()
	c := &counted{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.asked.Add(1)
		if seen := c.seen.Load(); seen != nil {
			(*seen)(r)
		}
		answer(w, r)
	}))
	t.Cleanup(c.Close)
	return c
}

// newProvider is a model of the OpenAI dialect that always says the same.
func newProvider(t *testing.T) *counted {
	t.Helper()
	return newCounted(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if strings.HasSuffix(r.URL.Path, "/embeddings") {
			_, _ = fmt.Fprint(w, `{"model":"m","data":[{"index":0,"embedding":[0.5,0.25]}],"usage":{"prompt_tokens":1}}`)
			return
		}
		_, _ = fmt.Fprint(w, `{"id":"1","model":"m","choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"It is paper."}}],"usage":{"prompt_tokens":7,"completion_tokens":3}}`)
	})
}
