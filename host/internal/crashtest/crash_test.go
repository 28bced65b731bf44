package crashtest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/app"
	"github.com/vespiary/vespiary/host/internal/config"
	"github.com/vespiary/vespiary/host/internal/project"
	"github.com/vespiary/vespiary/policy/cedar"
)

// TestCrash kills the host 200 times while sessions work.
func TestCrash(t *testing.T) {
	kills := 200
	if testing.Short() {
		kills = 10
	}
	crash(t, func(n int) bool { return n < kills })
}

// clients is how many sessions are under way at a time.
const clients = 12

// The guests' shortest nap is longer than the host's patience, so that they are dropped.
const configuration = `version: 1
listen: 127.0.0.1:0
data: ./data
policies: ./policies
edge: true
agents:
  clerk:
    plugin: ./clerk.wasm
    options: {world: %q, nap_ns: 200000000}
    session: {idle: 100ms}
limits: {patience: 150ms, requests: 100000}
http: {allow_private: true}
`

const policies = `
@id("clerks-act") permit (principal, action in [Action::"httpGet", Action::"httpSend"], resource);

@id("writes-need-a-yes")
@needs_approval("writing a file needs a yes")
forbid (principal, action == Action::"fileWrite", resource)
unless { context has approval && context.approval.digest == context.argsDigest };
`

// crash runs sessions on a host that is killed as long as more(kills so far), and until each
// fault was reached, and then looks whether all is well.
func crash(t *testing.T, more func(kills int) bool) {
	w := newWorld(t)
	k := newKiller(t, w.URL)
	o := newOffice(k.client)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan struct{})
	host := k.start(nil, true)
	go func() {
		defer close(done)
		o.work(ctx, clients)
	}()
	o.begun(ctx)
	k.end(host)
	for more(k.counts["kills"]) || !k.reachedAll() {
		k.next()
	}
	close(o.close)
	host = k.start(nil, true)
	select {
	case <-done:
	case <-time.After(2 * time.Minute): // what is not over by now is stuck: the inspection tells
		cancel()
		<-done
	}
	k.end(host)
	host = k.start(nil, true) // which knows no more than is on disk
	counts := inspect(t.Context(), t, o, w)
	k.end(host)
	k.logged()
	maps.Copy(counts, k.counts)
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		t.Logf("%8d %s", counts[name], name)
	}
	if least := counts["kills at intent of once"] + counts["kills at effect of once"]; counts["unknown outcomes"] < least {
		t.Errorf("%d unknown outcomes, of at least %d", counts["unknown outcomes"], least)
	}
}

// killer starts hosts over one folder and kills them.
type killer struct {
	t       *testing.T
	program string
	file    string // configuration
	logs    *os.File
	client  *client
	counts  map[string]int
	faults  []fault // not reached yet, first those that were not tried for longest
}

func newKiller(t *testing.T, world string) *killer {
	t.Helper()
	dir := t.TempDir()
	if _, err := project.Build(t.Context(), "testdata/guest", filepath.Join(dir, "clerk.wasm"), io.Discard); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{config.FileName: fmt.Sprintf(configuration, world), "policies/clerk.cedar": policies}
	for _, name := range []string{"agents.cedar", "approvals.cedar", "files.cedar", "people.cedar"} {
		f, err := cedar.Starter().Open(name)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(f) // embedded
		files["policies/"+name] = string(b)
	}
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	k := &killer{
		t: t, program: program(t), file: filepath.Join(dir, config.FileName), counts: map[string]int{}, faults: faults(),
	}
	cfg, err := config.Load(k.file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		t.Fatal(err)
	}
	_, key, err := app.App{}.CreateKey(t.Context(), cfg, host.APIKeySpec{Name: "crash"})
	if err != nil {
		t.Fatal(err)
	}
	k.client = newClient(key)
	if k.logs, err = os.Create(filepath.Join(dir, "host.log")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = k.logs.Close() })
	return k
}

// start runs a host and, if told so, waits until it serves.
func (k *killer) start(at *fault, ready bool) *process {
	k.t.Helper()
	p := start(k.t, k.program, k.file, k.logs, at)
	k.t.Cleanup(p.kill)
	if !ready {
		return p
	}
	select {
	case url := <-p.ready:
		k.client.to(url)
	case <-p.done:
		if !p.self {
			k.t.Fatalf("a host ended before it served:\n%s", k.tail())
		}
	case <-time.After(time.Minute):
		k.t.Fatalf("a host does not begin to serve:\n%s", k.tail())
	}
	return p
}

// reachedAll tells whether a host died at each fault.
func (k *killer) reachedAll() bool {
	return !slices.ContainsFunc(faults(), func(f fault) bool { return k.counts["kills at "+f.String()] == 0 })
}

// next runs a host until it dies in one of three ways: at a fault, at any moment, or while
// it begins.
func (k *killer) next() {
	k.t.Helper()
	switch n := k.counts["kills"]; {
	case n%10 == 9:
		k.early()
	case n%2 == 0:
		k.atFault()
	default:
		p := k.start(nil, true)
		p.lives(time.Duration(100+rand.IntN(1000)) * time.Millisecond)
		k.end(p)
		k.counts["kills at any moment"]++
	}
}

func (k *killer) early() {
	p := k.start(nil, false)
	p.lives(time.Duration(rand.IntN(300)) * time.Millisecond)
	k.end(p)
	k.counts["kills while it begins"]++
}

// atFault has a host die at the fault that is due. One that does not get there dies too.
func (k *killer) atFault() {
	if len(k.faults) == 0 {
		k.faults = faults()
	}
	at := k.faults[0]
	at.Nth = int64(1 + rand.IntN(16))
	p := k.start(&at, true)
	p.lives(3 * time.Second)
	k.end(p)
	k.faults = k.faults[1:]
	if !p.self {
		k.faults = append(k.faults, at)
		k.counts["kills at any moment"]++
		return
	}
	k.counts["kills at a fault"]++
	k.counts["kills at "+at.String()]++
}

// end kills a host that must not have ended otherwise.
func (k *killer) end(p *process) {
	k.t.Helper()
	k.counts["kills"]++
	p.kill()
	if code := p.cmd.ProcessState.ExitCode(); code >= 0 {
		k.t.Fatalf("a host ended by itself, with code %d:\n%s", code, k.tail())
	}
}

// tail is what the newest hosts logged.
func (k *killer) tail() string {
	b, err := os.ReadFile(k.logs.Name())
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-4000):])
}

// logged checks that the hosts had nothing to complain of but sessions that they died with.
func (k *killer) logged() {
	k.t.Helper()
	b, err := os.ReadFile(k.logs.Name())
	if err != nil {
		k.t.Fatal(err)
	}
	lines := bufio.NewScanner(bytes.NewReader(b))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var line struct{ Level, Msg string }
		if json.Unmarshal(lines.Bytes(), &line) != nil {
			k.t.Errorf("a host wrote: %s", lines.Text())
			continue
		}
		k.counts["logged: "+strings.ToLower(line.Level)+", "+line.Msg]++
		if line.Level == slog.LevelError.String() && line.Msg != "session parked" {
			k.t.Errorf("a host logged: %s", lines.Text())
		}
	}
}
