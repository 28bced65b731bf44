//go:build linux

package app

import (
	"context"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/config"
	"github.com/vespiary/vespiary/host/internal/journal"
	"github.com/vespiary/vespiary/host/internal/project"
	"github.com/vespiary/vespiary/host/internal/store"
	hoststore "github.com/vespiary/vespiary/host/store"
	"github.com/vespiary/vespiary/policy/cedar"
)

// durable has the agent of testdata/steady, in Go, which answers at once: in memory for
// good, leaving it at once, and one of the built-in loop.
const durable = `version: 1
data: ./data
policies: ./policies
limits: {patience: 50ms, sessions: 100000, memory: 64GiB}
models:
  main: {provider: offline}
tools:
  files: {plugin: builtin:files}
folders:
  docs: {path: ./docs}
agents:
  awake: {plugin: ./steady.wasm, session: {idle: 24h}}
  sleepy: {plugin: ./steady.wasm, session: {idle: 1ms}}
  loop: {plugin: builtin:loop, model: main, tools: [files], folders: [docs], session: {idle: 24h}}
`

// bench is an assembled host that serves no HTTP: what is measured is the host, not a
// client of it.
type bench struct {
	b   *testing.B
	cfg *config.Config
	*Host
}

// benchFolder makes a project, and a cache of what was compiled that its hosts share.
func benchFolder(b *testing.B) *config.Config {
	b.Helper()
	dir := b.TempDir()
	if _, err := project.Build(b.Context(), "testdata/steady", filepath.Join(dir, "steady.wasm"), io.Discard); err != nil {
		b.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(dir, "policies"), must(fs.Sub(cedar.Starter(), "."))); err != nil {
		b.Fatal(err)
	}
	for name, text := range map[string]string{config.FileName: durable, "docs/wasps.md": "A vespiary is a nest of wasps.\n"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o750); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	cfg, err := config.Load(filepath.Join(dir, config.FileName))
	if err != nil {
		b.Fatal(err)
	}
	return cfg
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// open starts a host over a data folder of its own, with all guests compiled.
func open(b *testing.B, cfg *config.Config) *bench {
	b.Helper()
	own := *cfg
	own.Data = b.TempDir()
	cache := filepath.Join(filepath.Dir(cfg.File), "cache")
	if err := os.MkdirAll(cache, 0o700); err != nil {
		b.Fatal(err)
	}
	if err := os.Symlink(cache, filepath.Join(own.Data, "cache")); err != nil {
		b.Fatal(err)
	}
	h := &bench{b: b, cfg: &own}
	h.start()
	b.Cleanup(h.stop)
	h.turn("awake", "", "x")
	return h
}

func (h *bench) start() {
	h.b.Helper()
	var err error
	if h.Host, err = Open(h.b.Context(), h.cfg, Options{}); err != nil {
		h.b.Fatal(err)
	}
	if err := h.sessions.Resume(h.b.Context()); err != nil {
		h.b.Fatal(err)
	}
}

func (h *bench) stop() {
	if err := h.Close(context.WithoutCancel(h.b.Context())); err != nil {
		h.b.Error(err)
	}
}

// accept returns once the event is durable.
func (h *bench) accept(agent, session, text string) host.Turn {
	t, err := h.sessions.Invoke(h.b.Context(), host.Invocation{
		Caller: Local(), Agent: agent, Session: session,
		Event: abi.Event{Type: abi.EventMessage, Content: []abi.Content{abi.Text(text)}},
	})
	if err != nil {
		h.b.Error(err)
	}
	return t
}

// turn returns once the reply is durable. It returns the session.
func (h *bench) turn(agent, session, text string) string {
	t := h.accept(agent, session, text)
	t, err := h.sessions.Await(h.b.Context(), Local(), t.Session, t.Number)
	if err != nil || t.Status != host.TurnDone {
		h.b.Errorf("%+v %v %v", t, t.Error, err)
	}
	return t.Session
}

// until waits for what is only a matter of time.
func (h *bench) until(what string, f func() bool) {
	h.b.Helper()
	for range 60_000 {
		if f() {
			return
		}
		time.Sleep(time.Millisecond)
	}
	h.b.Fatalf("%s did not happen", what)
}

// written is what the store has written since before, how long that took, and how much
// of all processors.
type written struct {
	store.Stats
	took, cpu time.Duration
}

func (w *written) add(more written) {
	w.Bytes, w.Syncs, w.Commits = w.Bytes+more.Bytes, w.Syncs+more.Syncs, w.Commits+more.Commits
	w.took, w.cpu = w.took+more.took, w.cpu+more.cpu
}

// processors is the time that this process has used of them.
func processors() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// writes measures what the store writes while f runs.
func (h *bench) writes(f func()) written {
	before, cpu, begun := h.store.Stats(), processors(), time.Now()
	f()
	w := written{h.store.Stats(), time.Since(begun), processors() - cpu}
	w.Bytes, w.Syncs, w.Commits = w.Bytes-before.Bytes, w.Syncs-before.Syncs, w.Commits-before.Commits
	return w
}

// syncing is how long a file takes to get the same bytes in as many equal writes, each
// with its fdatasync. It was filled before, as the store's own log is.
func (w written) syncing(b *testing.B) time.Duration {
	b.Helper()
	f, err := os.Create(filepath.Join(b.TempDir(), "file"))
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	one := slices.Repeat([]byte{7}, int(w.Bytes/w.Syncs))
	if _, err := f.Write(make([]byte, w.Bytes)); err != nil {
		b.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		b.Fatal(err)
	}
	begun := time.Now()
	for n := range int64(w.Syncs) {
		if _, err := f.WriteAt(one, n*int64(len(one))); err != nil {
			b.Fatal(err)
		}
		if err := syscall.Fdatasync(int(f.Fd())); err != nil {
			b.Fatal(err)
		}
	}
	return time.Since(begun)
}

// BenchmarkDurableTurns has sessions take turns at the same time. An op is 2,048 turns in
// four parts, each followed by as many bytes in as many groups written to a file with
// nothing else done: both see the same disk and the same neighbours. x-disk is how many
// times longer the turns take.
func BenchmarkDurableTurns(b *testing.B) {
	cfg := benchFolder(b)
	const parts, turns = 4, 512
	for _, n := range []int{1, 16, 256} {
		b.Run(strconv.Itoa(n)+"-sessions", func(b *testing.B) {
			h := open(b, cfg)
			sessions := make([]string, n)
			each(n, n, func(i int) { sessions[i] = h.turn("awake", "", "x") })
			var all written
			var disk time.Duration
			for b.Loop() {
				for range parts {
					w := h.writes(func() { each(n, turns, func(i int) { h.turn("awake", sessions[i], "x") }) })
					all.add(w)
					disk += w.syncing(b)
				}
			}
			made := float64(b.N * parts * turns)
			b.ReportMetric(made/all.took.Seconds(), "turns/s")
			b.ReportMetric(made/disk.Seconds(), "disk-turns/s")
			b.ReportMetric(float64(all.took)/float64(disk), "x-disk")
			b.ReportMetric(float64(all.cpu.Microseconds())/made, "cpu-us/turn")
			b.ReportMetric(float64(all.Syncs)/made, "syncs/turn")
			b.ReportMetric(float64(all.Commits)/made, "commits/turn")
			b.ReportMetric(float64(all.Bytes)/made, "B/turn")
		})
	}
}

// each calls f for every i below n in a goroutine of its own, again and again until it was
// called as often as wanted.
func each(n, times int, f func(i int)) {
	var done atomic.Int64
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			for done.Add(1) <= int64(times) {
				f(i)
			}
		})
	}
	wg.Wait()
}

// BenchmarkWake has a session answer whose image is on disk and nothing of which is in
// memory, beside one that is in memory and one that is new. An op is 50 of each, in turns;
// all times are medians, and minima, from the event's arrival to its reply, both durable. restarted-ms
// is the first answer of a host that was just started, which loads the module too.
func BenchmarkWake(b *testing.B) {
	h := open(b, benchFolder(b))
	live, asleep := h.turn("awake", "", "x"), h.turn("sleepy", "", "x")
	memory := h.engines.Memory()
	quiet := func() { h.until("hibernation", func() bool { return h.engines.Memory() <= memory }) }
	h.until("hibernation", func() bool { memory = min(memory, h.engines.Memory()); return h.images(asleep) > 0 })
	times := map[string][]time.Duration{}
	took := func(what, agent, session string) {
		quiet()
		begun := time.Now()
		h.turn(agent, session, "x")
		times[what] = append(times[what], time.Since(begun))
	}
	for b.Loop() {
		for range 50 {
			took("live", "awake", live)
			took("wake", "sleepy", asleep)
			took("new", "sleepy", "")
		}
	}
	quiet()
	h.stop()
	h.start()
	begun := time.Now()
	h.turn("sleepy", asleep, "x")
	b.ReportMetric(ms(time.Since(begun)), "restarted-ms")
	for what, all := range times {
		slices.Sort(all)
		b.ReportMetric(ms(all[len(all)/2]), what+"-ms")
		b.ReportMetric(ms(all[0]), what+"-min-ms")
	}
	b.ReportMetric(ms(times["wake"][len(times["wake"])/2])/ms(times["live"][len(times["live"])/2]), "wake/live")
	b.ReportMetric(ms(times["wake"][len(times["wake"])/2])/ms(times["new"][len(times["new"])/2]), "wake/new")
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// images counts the snapshots on record.
func (h *bench) images(session string) int {
	n := 0
	for _, e := range h.entries(session) {
		if e.Kind == host.EntrySnapshot {
			n++
		}
	}
	return n
}

func (h *bench) entries(session string) []host.Record {
	h.b.Helper()
	all, err := h.sessions.Journal(h.b.Context(), Local(), session, 1, 100_000)
	if err != nil {
		h.b.Fatal(err)
	}
	return all
}

// BenchmarkSessionMemory counts what 1,000 sessions of a guest in Go take of memory, in
// every state that they can be in for long. KB/session is of the process's proportional
// set, in which pages that guests share count once, without mapped files: those are the
// store's tables, which the kernel drops when it needs the space, as file-KB/session. The
// sessions before them fill what the store takes for itself, however many sessions it has.
func BenchmarkSessionMemory(b *testing.B) {
	cfg := benchFolder(b)
	const sessions = 1000
	for _, state := range []struct {
		name, agent, text string
		before            int
		status            host.SessionStatus
	}{
		{"live", "awake", "x", 200, host.SessionIdle},
		{"hibernated", "sleepy", "x", 1200, host.SessionIdle},
		{"blocked", "awake", "signal go", 200, host.SessionRunning},
		{"suspended", "sleepy", "signal go", 200, host.SessionSuspended},
	} {
		b.Run(state.name, func(b *testing.B) {
			h := open(b, cfg)
			for b.Loop() {
				h.populate(state.before, state.agent, state.text, state.status)
				before, goroutines := memoryOfProcess(b), runtime.NumGoroutine()
				h.populate(sessions, state.agent, state.text, state.status)
				after := memoryOfProcess(b)
				b.ReportMetric((after.own-before.own)/sessions, "KB/session")
				b.ReportMetric((after.file-before.file)/sessions, "file-KB/session")
				b.ReportMetric((after.rss-before.rss)/sessions, "rss-KB/session")
				b.ReportMetric((after.heap-before.heap)/sessions, "heap-KB/session")
				b.ReportMetric(float64(runtime.NumGoroutine()-goroutines)/sessions, "goroutines/session")
			}
		})
	}
}

// populate makes sessions and waits until all of them are in a state. Those of sleepy
// leave the memory, and so does the guest of those that wait.
func (h *bench) populate(n int, agent, text string, status host.SessionStatus) {
	h.b.Helper()
	memory := h.engines.Memory()
	made := make([]string, n)
	var next atomic.Int64
	each(8, n, func(int) {
		t := h.accept(agent, "", text)
		if status == host.SessionIdle {
			_, _ = h.sessions.Await(h.b.Context(), Local(), t.Session, t.Number)
		}
		made[next.Add(1)-1] = t.Session
	})
	for _, id := range made {
		h.until("the state "+string(status), func() bool {
			head, err := h.sessions.Get(h.b.Context(), Local(), id)
			return err == nil && head.Status == status && (agent != "sleepy" || status != host.SessionIdle || h.images(id) > 0)
		})
	}
	if agent == "sleepy" || status != host.SessionIdle {
		h.until("that guests leave the memory", func() bool { return h.engines.Memory() <= memory })
	}
}

// memoryUse is the memory of this process in KB.
type memoryUse struct{ own, file, rss, heap float64 }

// memoryOfProcess leaves out what the garbage collector has found to be free. It is the
// least of some looks, for Badger takes tens of MB while it writes a table.
func memoryOfProcess(b *testing.B) memoryUse {
	b.Helper()
	least := memoryUse{own: math.MaxFloat64}
	for range 8 {
		debug.FreeOSMemory()
		if u := memoryNow(b); u.own < least.own {
			least = u
		}
		time.Sleep(200 * time.Millisecond)
	}
	return least
}

func memoryNow(b *testing.B) memoryUse {
	b.Helper()
	all, err := os.ReadFile("/proc/self/smaps_rollup")
	if err != nil {
		b.Skip(err)
	}
	kb := map[string]float64{}
	for line := range strings.Lines(string(all)) {
		if f := strings.Fields(line); len(f) == 3 && f[2] == "kB" {
			kb[f[0]], _ = strconv.ParseFloat(f[1], 64)
		}
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return memoryUse{own: kb["Pss_Anon:"] + kb["Pss_Shmem:"], file: kb["Pss_File:"], rss: kb["Rss:"], heap: float64(m.HeapAlloc) / 1024}
}

// BenchmarkJournal counts what a turn leaves behind: bytes of keys and values under the
// session's prefixes without its images, and all that the store was given to write for it.
func BenchmarkJournal(b *testing.B) {
	cfg := benchFolder(b)
	const turns = 32 // fewer than make an image due
	for _, agent := range []struct{ name, text string }{{"awake", "x"}, {"loop", "What is a vespiary?"}} {
		b.Run(agent.name, func(b *testing.B) {
			h := open(b, cfg)
			for b.Loop() {
				id := h.turn(agent.name, "", agent.text)
				kept, entries := h.kept(id), len(h.entries(id))
				w := h.writes(func() {
					for range turns {
						h.turn(agent.name, id, agent.text)
					}
				})
				b.ReportMetric(float64(h.kept(id)-kept)/turns, "journal-B/turn")
				b.ReportMetric(float64(w.Bytes)/turns, "written-B/turn")
				b.ReportMetric(float64(len(h.entries(id))-entries)/turns, "entries/turn")
				b.ReportMetric(float64(w.Commits)/turns, "commits/turn")
				b.ReportMetric(float64(w.cpu.Microseconds())/turns, "cpu-us/turn")
				if n := h.images(id); n > 0 {
					b.Errorf("%d images are counted as journal", n)
				}
			}
		})
	}
}

// kept is the size of a session's journal in the store.
func (h *bench) kept(session string) int {
	h.b.Helper()
	size := 0
	err := h.store.View(h.b.Context(), func(tx hoststore.Tx) error {
		for _, prefix := range journal.Prefixes(host.DefaultTenant, session) {
			for item, err := range tx.Scan(hoststore.Query{Prefix: prefix}) {
				if err != nil {
					return err
				}
				size += len(item.Key) + len(item.Value)
			}
		}
		return nil
	})
	if err != nil {
		h.b.Fatal(err)
	}
	return size
}
