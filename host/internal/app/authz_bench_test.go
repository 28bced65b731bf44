//go:build linux

package app

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/config"
	"github.com/vespiary/vespiary/policy"
	"github.com/vespiary/vespiary/policy/audit"
)

// callers is a host whose agent is a program elsewhere, and the holders of n tasks of it.
// The audit is brought into its tree meanwhile, as in a host that serves.
func callers(b *testing.B, n int) (*bench, []host.Caller) {
	b.Helper()
	cfg := benchFolder(b)
	yaml := durable + "  scout: {plugin: external, budget: {calls: 1000000000}, session: {idle: 24h}}\n"
	if err := os.WriteFile(cfg.File, []byte(yaml), 0o600); err != nil {
		b.Fatal(err)
	}
	h := open(b, must(config.Load(cfg.File)))
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.audit.Run(ctx)
	}()
	b.Cleanup(func() { cancel(); <-done })
	out := make([]host.Caller, n)
	for i := range out {
		_, token, err := h.sessions.OpenTask(b.Context(), Local(), "scout", host.TaskSpec{Grants: []policy.Grant{{Actions: []string{"fileWrite"}}}})
		if err != nil {
			b.Fatal(err)
		}
		if out[i], err = h.sessions.Holder(b.Context(), token); err != nil {
			b.Fatal(err)
		}
	}
	return h, out
}

// recorded counts the records of the audit, and the bytes of one.
func (h *bench) recorded() (n int, size int) {
	h.b.Helper()
	if err := h.audit.Integrate(h.b.Context()); err != nil {
		h.b.Fatal(err)
	}
	var last policy.Record
	for r, err := range h.audit.Search(h.b.Context(), audit.Query{Tenant: host.DefaultTenant}) {
		if err != nil {
			h.b.Fatal(err)
		}
		if n++; r.Decision != nil && r.Action == "fileWrite" {
			last = r
		}
	}
	return n, len(must(json.Marshal(last)))
}

// alone is how many records of a size a file takes in a second, each written and synced by
// itself.
func alone(b *testing.B, size int) float64 {
	b.Helper()
	const times = 200
	f, err := os.Create(filepath.Join(b.TempDir(), "file"))
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	one := slices.Repeat([]byte{7}, size)
	if _, err := f.Write(make([]byte, times*size)); err != nil {
		b.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		b.Fatal(err)
	}
	begun := time.Now()
	for n := range int64(times) {
		if _, err := f.WriteAt(one, n*int64(size)); err != nil {
			b.Fatal(err)
		}
		if err := syscall.Fdatasync(int(f.Fd())); err != nil {
			b.Fatal(err)
		}
	}
	return times / time.Since(begun).Seconds()
}

// BenchmarkAuditRecords has programs elsewhere write files at the same time, each write
// decided, on record before it is made, and its outcome recorded. An op is 4 parts of 256
// calls, each followed by as many bytes in as many groups written to a file with nothing
// else done: x-disk is how many times longer the calls take. bare-records/s are records
// that are written and synced one by one with nothing else done, and x-bare is how many
// times more records the host makes durable in the same time.
func BenchmarkAuditRecords(b *testing.B) {
	const parts, calls = 4, 256
	for _, n := range []int{1, 16, 64} {
		b.Run(strconv.Itoa(n)+"-callers", func(b *testing.B) {
			h, holders := callers(b, n)
			tasks := h.guard.Tasks(h.sessions)
			call := host.TaskCall{Name: "file_write", Request: []byte(`{"path":"a.txt","text":"A vespiary is a nest of wasps."}`)}
			write := func(i int) {
				out, err := tasks.CallTask(b.Context(), holders[i], holders[i].Task, call)
				if err != nil || bytes.Contains(out, []byte(`"error"`)) {
					b.Errorf("%s %v", out, err)
				}
			}
			each(n, n, write)
			before, size := h.recorded()
			var all written
			var disk time.Duration
			var bare float64
			for b.Loop() {
				for range parts {
					w := h.writes(func() { each(n, calls, write) })
					all.add(w)
					disk += w.syncing(b)
					bare += alone(b, size)
				}
			}
			after, _ := h.recorded()
			made := float64(after - before)
			bare /= float64(b.N * parts)
			b.ReportMetric(made/all.took.Seconds(), "records/s")
			b.ReportMetric(bare, "bare-records/s")
			b.ReportMetric(made/all.took.Seconds()/bare, "x-bare")
			b.ReportMetric(float64(all.took)/float64(disk), "x-disk")
			b.ReportMetric(made/float64(b.N*parts*calls), "records/call")
			b.ReportMetric(float64(all.Syncs)/made, "syncs/record")
			b.ReportMetric(float64(all.Bytes)/made, "B/record")
			b.ReportMetric(float64(size), "B/decision")
			b.ReportMetric(float64(all.cpu.Microseconds())/made, "cpu-us/record")
		})
	}
}
