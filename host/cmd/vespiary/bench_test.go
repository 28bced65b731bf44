package main_test

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// BenchmarkServe starts an idle host with the demonstration installed and a warm cache,
// and reports the time until it answers and the memory that it then holds.
func BenchmarkServe(b *testing.B) {
	bin := filepath.Join(b.TempDir(), "vespiary")
	if out, err := exec.CommandContext(b.Context(), "go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		b.Fatalf("build: %v\n%s", err, out)
	}
	dir := filepath.Join(b.TempDir(), "demo")
	if out, err := exec.CommandContext(b.Context(), bin, "demo", "--dir", dir).CombinedOutput(); err != nil {
		b.Fatalf("demo: %v\n%s", err, out)
	}
	free := filepath.Join(dir, "vespiary.yaml")
	yaml, err := os.ReadFile(free)
	if err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(free, []byte(strings.Replace(string(yaml), "127.0.0.1:7070", "127.0.0.1:0", 1)), 0o600); err != nil {
		b.Fatal(err)
	}
	var rss float64
	for b.Loop() {
		cmd := exec.CommandContext(b.Context(), bin, "--config", free, "serve")
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		for !answers(dir, cmd.Process.Pid) {
			time.Sleep(time.Millisecond)
		}
		b.StopTimer()
		rss = max(rss, resident(b, cmd.Process.Pid))
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
		b.StartTimer()
	}
	b.ReportMetric(rss, "MiB-idle")
}

func answers(dir string, pid int) bool {
	var at struct{ PID int }
	raw, err := os.ReadFile(filepath.Join(dir, "data", "server.json"))
	return err == nil && json.Unmarshal(raw, &at) == nil && at.PID == pid
}

// resident returns the MiB of memory that a process holds.
func resident(b *testing.B, pid int) float64 {
	b.Helper()
	f, err := os.Open("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		b.Skipf("the memory of a process is only read on Linux: %v", err)
	}
	defer func() { _ = f.Close() }()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if kib, ok := strings.CutPrefix(lines.Text(), "VmRSS:"); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(kib, "kB")), 64)
			if err != nil {
				b.Fatal(err)
			}
			return n / 1024
		}
	}
	b.Fatal("the kernel tells no VmRSS")
	return 0
}
