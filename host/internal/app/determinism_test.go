package app_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/app"
	"github.com/vespiary/vespiary/host/internal/config"
	"github.com/vespiary/vespiary/host/internal/project"
)

// weaver is a project whose agent does all that could differ between two runs, with an
// agent of the built-in loop beside it. %s is the host that it may ask.
const weaver = base + `limits: {patience: 100ms}
http: {allow_private: true}
agents:
  weaver: {plugin: ./weaver.wasm, tools: [files], session: {idle: 200ms}}
  librarian: {plugin: builtin:loop, model: main, tools: [files, clock], folders: [docs]}
`

const fetches = `@id("fetches") permit (principal, action == Action::"httpGet", resource == NetHost::"%s");`

// weaverFolder is a project that may ask one host of the web.
func weaverFolder(t *testing.T, web string) string {
	t.Helper()
	dir := newFolder(t, weaver)
	if _, err := project.Build(t.Context(), "testdata/weaver", filepath.Join(dir, "weaver.wasm"), io.Discard); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(dir, "policies/fetches.cedar"), fmt.Sprintf(fetches, strings.TrimPrefix(web, "http://")))
	if err := os.Remove(filepath.Join(dir, "policies/limits.cedar")); err != nil { // it forbids loopback
		t.Fatal(err)
	}
	return dir
}

// web answers with what was asked, and to /slow only once it is open.
func web(t *testing.T) (url string, asked *atomic.Int64, open func()) {
	t.Helper()
	gate, asked := make(chan struct{}), new(atomic.Int64)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Date"] = nil // it would tell the results of two runs apart
		if r.URL.Path == "/slow" {
			asked.Add(1)
			select {
			case <-gate:
			case <-r.Context().Done():
				return
			}
		}
		_, _ = io.WriteString(w, strings.TrimPrefix(r.URL.Path, "/"))
	}))
	t.Cleanup(s.Close)
	return s.URL, asked, func() { close(gate) }
}

// childHost names the folder of the host that a process of this test is to be.
const childHost = "VESPIARY_TEST_CHILD_HOST"

// TestChildHost is no test: it is the host in processes that tests begin.
func TestChildHost(t *testing.T) {
	dir := os.Getenv(childHost)
	if dir == "" {
		t.Skip("it runs in a process of its own")
	}
	cfg, err := config.Load(filepath.Join(dir, config.FileName))
	if err != nil {
		t.Fatal(err)
	}
	h, err := app.Open(t.Context(), cfg, app.Options{
		Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
		// Times are as long as one another in text: guests that read them use equal fuel.
		Now: func() time.Time { return time.Now().Truncate(time.Microsecond).Add(time.Nanosecond) },
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Serve(t.Context(), func(url string) { _, _ = fmt.Fprintln(os.Stdout, "ready", url) }); err != nil {
		t.Fatal(err)
	}
}

// child runs the host of a folder, whose key is known, in a process of its own until the
// test ends, or stop kills it.
func child(t *testing.T, dir, key string) *served {
	t.Helper()
	s := &served{t: t, dir: dir, key: key, log: &bytes.Buffer{}}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestChildHost$")
	cmd.Env, cmd.Stderr = append(os.Environ(), childHost+"="+dir), s.log
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.stop = func() error {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it tells that the process was killed
		return nil
	}
	t.Cleanup(func() {
		_ = s.stop()
		if t.Failed() {
			t.Logf("log of the host of %s:\n%s", dir, s.log)
		}
	})
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if url, ok := strings.CutPrefix(lines.Text(), "ready "); ok {
			s.url = url
			return s
		}
	}
	t.Fatalf("the host of %s did not get ready", dir)
	return nil
}

// copies makes folders with what a host that does not run has left behind.
func copies(t *testing.T, dir string, n int) []string {
	t.Helper()
	out := make([]string, n)
	for i := range out {
		out[i] = filepath.Join(t.TempDir(), "copy")
		if err := os.CopyFS(out[i], os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// same demands that all copies gave the same.
func same(t *testing.T, what string, all [][]byte) {
	t.Helper()
	for n, b := range all[1:] {
		if diff := cmp.Diff(strings.Split(string(all[0]), "\n"), strings.Split(string(b), "\n")); diff != "" {
			t.Errorf("%s of process %d is not that of process 1:\n%s", what, n+2, diff)
		}
	}
}

// TestReplaysAgree replays two sessions in three processes that have nothing in common but
// a copy of the journal.
func TestReplaysAgree(t *testing.T) {
	url, _, open := web(t)
	open()
	dir := weaverFolder(t, url)
	s := serve(t, dir)
	s.install("weaver", filepath.Join(dir, "weaver.wasm")) // so that nothing waits for its compilation
	woven := s.invoke("weaver", "weave", "").Session
	for _, text := range []string{"tools", "fetch " + url, "weave"} {
		s.until("hibernation", func() bool { return s.kinds(woven, host.EntrySnapshot) > 0 })
		if turn := s.invoke("weaver", text, woven); turn.Status != host.TurnDone {
			t.Fatalf("%s: %+v %v", text, turn, turn.Error)
		}
	}
	long := s.begin("weaver", "long "+url, "")
	s.until("suspension", func() bool { return s.session(long.Session).Status == host.SessionSuspended })
	s.post(http.MethodPost, "/v1/sessions/"+long.Session+"/signals", map[string]any{"name": "go", "data": 5}, nil)
	s.until("the end", func() bool { return s.session(long.Session).Ended >= 1 })
	read := s.invoke("librarian", "Find what hornets build with and save it to notes/paper.md", "").Session
	s.invoke("librarian", "Read notes/paper.md", read)
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	reports := map[string][][]byte{}
	for _, dir := range copies(t, dir, 3) {
		c := child(t, dir, s.key)
		for _, id := range []string{woven, long.Session, read} {
			status, b := c.do(http.MethodPost, "/v1/sessions/"+id+"/replay", map[string]any{})
			if status != http.StatusOK {
				t.Fatalf("replay: %d %s", status, b)
			}
			reports[id] = append(reports[id], b)
		}
	}
	for id, all := range reports {
		same(t, "the replay of "+id, all)
		faithful(t, all[0])
	}
}

// faithful demands that a replay did what is on record, with the same fuel.
func faithful(t *testing.T, report []byte) {
	t.Helper()
	var r host.Replayed
	if err := json.Unmarshal(report, &r); err != nil || len(r.Turns) == 0 {
		t.Fatalf("%s: %v", report, err)
	}
	for _, turn := range r.Turns {
		if !r.Same || !turn.Same || turn.Fuel == 0 || turn.Fuel != turn.WasFuel {
			t.Errorf("turn %d of %s: %+v", turn.Turn, r.Session, turn)
		}
	}
}

// kinds counts the entries of a kind.
func (s *served) kinds(id string, kind host.EntryKind) int {
	s.t.Helper()
	n := 0
	for _, r := range s.records(id) {
		if r.Kind == kind {
			n++
		}
	}
	return n
}

func (s *served) records(id string) []host.Record {
	s.t.Helper()
	var out struct{ Records []host.Record }
	s.post(http.MethodGet, "/v1/sessions/"+id+"/journal?limit=1000", nil, &out)
	return out.Records
}

// TestCutTurnsEndAlike kills a host in the middle of a turn and has three processes end
// it, each with a copy of what was left.
func TestCutTurnsEndAlike(t *testing.T) {
	url, asked, open := web(t)
	dir := weaverFolder(t, url)
	s := serve(t, dir)
	s.install("weaver", filepath.Join(dir, "weaver.wasm"))
	id := s.invoke("weaver", "weave", "").Session
	s.until("hibernation", func() bool { return s.kinds(id, host.EntrySnapshot) > 0 })
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	cut := child(t, dir, s.key)
	cut.begin("weaver", "long "+url, id)
	cut.until("the blocked call", func() bool {
		if asked.Load() == 0 {
			return false
		}
		cut.begin("weaver", "nudge", id) // it waits, and makes durable what landed before
		return delivered(t, cut.records(id)) == 2
	})
	if err := cut.stop(); err != nil {
		t.Fatal(err)
	}
	before := asked.Load()
	open()
	var journals [][]byte
	for _, dir := range copies(t, dir, 3) {
		c := child(t, dir, s.key)
		c.until("suspension", func() bool { return c.session(id).Status == host.SessionSuspended })
		c.post(http.MethodPost, "/v1/sessions/"+id+"/signals", map[string]any{"name": "go", "data": 5}, nil)
		c.until("the end", func() bool { now := c.session(id); return now.Status == host.SessionIdle && now.Ended == now.Turns })
		journals = append(journals, outline(t, c.records(id)))
		status, report := c.do(http.MethodPost, "/v1/sessions/"+id+"/replay", map[string]any{})
		if status != http.StatusOK {
			t.Fatalf("replay: %d %s", status, report)
		}
		faithful(t, report)
	}
	same(t, "the journal", journals)
	if n := asked.Load() - before; n != 3 {
		t.Errorf("the call that was cut off was made %d times by three hosts", n)
	}
}

// delivered counts the calls that recorded waits have given to their guest.
func delivered(t *testing.T, records []host.Record) int {
	t.Helper()
	n := 0
	for _, r := range records {
		var o host.Outcome
		if r.Kind != host.EntryResult || json.Unmarshal(r.Body, &o) != nil || o.Name != abi.CallWait {
			continue
		}
		var ids []int
		if err := json.Unmarshal(r.Payload, &ids); err != nil {
			t.Fatalf("%s: %v", r.Payload, err)
		}
		n += len(ids)
	}
	return n
}

// modified is when a file was written.
var modified = regexp.MustCompile(`"modified":"[^"]*",?`)

// outline writes records without what differs from run to run: times, and the ids that
// the host gave to what came in since.
func outline(t *testing.T, records []host.Record) []byte {
	t.Helper()
	var out bytes.Buffer
	for _, r := range records {
		var body map[string]any
		if err := json.Unmarshal(r.Body, &body); err != nil {
			t.Fatalf("%s: %v", r.Body, err)
		}
		// A guest that runs live reads its own host's times, and Go's runtime acts on them.
		delete(body, "fuel")
		if usage, ok := body["usage"].(map[string]any); ok {
			delete(usage, "fuel")
		}
		for _, name := range []string{"took_ns", "trace", "expires"} {
			delete(body, name)
		}
		if r.Kind == host.EntryAccepted {
			delete(body, "task")
		}
		b, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		payload := modified.ReplaceAll(r.Payload, nil)
		if len(payload) < len(r.Payload) {
			r.Digest = "" // it is that of another time
		}
		fmt.Fprintf(&out, "%d %s turn %d %s\n  body %s\n  payload %s %s\n", r.Seq, r.Kind, r.Turn, r.Path, b, r.Digest, payload)
	}
	return out.Bytes()
}

// TestParallelReadsSeeWrites has calls that run at the same time read what an earlier one
// wrote.
func TestParallelReadsSeeWrites(t *testing.T) {
	s := serve(t, weaverFolder(t, "http://127.0.0.1:1"))
	for range 3 {
		if turn := s.invoke("weaver", "hurry", ""); turn.Status != host.TurnDone {
			t.Fatalf("%+v %v", turn, turn.Error)
		}
	}
}
