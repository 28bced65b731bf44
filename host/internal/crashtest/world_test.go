package crashtest

import (
	"fmt"
	"hash/fnv"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// world is what agents act on: a server that lives through all crashes and remembers every
// request. The path of a request is /kind/session/turn/step.
type world struct {
	*httptest.Server

	mu     sync.Mutex
	places map[string]*place // by path
}

// place is what happened at one path.
type place struct {
	hits    int            // requests
	effects int            // of these, those that changed something
	keys    map[string]int // effects by idempotency key
	bodies  map[string]bool
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{places: map[string]*place{}}
	w.Server = httptest.NewServer(http.HandlerFunc(w.serve))
	t.Cleanup(w.Close)
	return w
}

// serve counts the request before it answers. Some answers take longer than the host's
// patience, and the first answer to some is lost.
func (w *world) serve(rw http.ResponseWriter, r *http.Request) {
	seed := hash(r.URL.Path)
	time.Sleep(time.Duration(seed%8) * time.Millisecond)
	kind, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	key := r.Header.Get("Idempotency-Key")
	if (kind == "keyed") != (key != "") {
		http.Error(rw, "a keyed request has a key, and no other one has", http.StatusBadRequest)
		return
	}
	hits, answer := w.count(r.URL.Path, key, body(r))
	if seed%4 == 0 {
		time.Sleep(time.Duration(seed/4%8) * 80 * time.Millisecond)
	}
	if seed%13 == 0 && hits == 1 {
		panic(http.ErrAbortHandler) // the connection ends without an answer
	}
	_, _ = fmt.Fprint(rw, answer) // to whoever is still there
}

func body(r *http.Request) string {
	b, _ := io.ReadAll(r.Body) // of a request that was cut off, what there is
	return string(b)
}

// count notes a request and returns how many there were at its path, and how many effects.
func (w *world) count(path, key, body string) (hits, effects int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.places[path]
	if p == nil {
		p = &place{keys: map[string]int{}, bodies: map[string]bool{}}
		w.places[path] = p
	}
	p.hits++
	p.bodies[body] = true
	if key == "" || p.keys[key] == 0 {
		p.effects++
	}
	p.keys[key]++
	return p.hits, p.effects
}

// at returns what happened at a path.
func (w *world) at(path string) place {
	w.mu.Lock()
	defer w.mu.Unlock()
	if p := w.places[path]; p != nil {
		return *p
	}
	return place{}
}

func hash(s string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(s)) // never fails
	return h.Sum64() >> 7
}
