package crashtest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/app"
	"github.com/vespiary/vespiary/host/internal/config"
	"github.com/vespiary/vespiary/host/internal/gate"
)

// childEnv holds the configuration of the host that this process is to be; faultEnv a
// fault in JSON, at which it kills itself.
const (
	childEnv = "VESPIARY_CRASH_HOST"
	faultEnv = "VESPIARY_CRASH_FAULT"
)

func TestMain(m *testing.M) {
	if file := os.Getenv(childEnv); file != "" {
		if err := serve(file); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(3)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// fault is a place at which a host ends: the Nth time that a call with a recovery class
// gets to a point of the gate.
type fault struct {
	Point    string       `json:"point"`
	Recovery abi.Recovery `json:"recovery"`
	Nth      int64        `json:"nth"`
}

func (f fault) String() string { return f.Point + " of " + string(f.Recovery) }

// faults are all places.
func faults() []fault {
	var out []fault
	for _, point := range []string{gate.FaultIntent, gate.FaultEffect, gate.FaultResult} {
		for _, recovery := range []abi.Recovery{abi.RecoverOnce, abi.RecoverKeyed, abi.RecoverTxn, abi.RecoverRead} {
			out = append(out, fault{Point: point, Recovery: recovery})
		}
	}
	return out
}

// serve is a host in a process of its own. It says in lines on standard output where it
// answers and where it kills itself, and ends with its standard input.
func serve(file string) error {
	cfg, err := config.Load(file)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	h, err := app.Open(ctx, cfg, app.Options{
		Log:   slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
		Fault: suicide(os.Getenv(faultEnv)),
	})
	if err != nil {
		return err
	}
	return h.Serve(ctx, func(url string) { fmt.Println("ready " + url) })
}

// suicide kills the process at a fault, nil for none.
func suicide(text string) func(string, *host.Call) {
	var at fault
	if json.Unmarshal([]byte(text), &at) != nil {
		return nil
	}
	var hits atomic.Int64
	return func(point string, c *host.Call) {
		if point != at.Point || c.Class.Recovery != at.Recovery || hits.Add(1) != at.Nth {
			return
		}
		fmt.Println("killed")
		if p, err := os.FindProcess(os.Getpid()); err == nil {
			_ = p.Kill()
		}
		select {} // until the signal is delivered: nothing comes after the fault
	}
}

// process is a host that runs.
type process struct {
	cmd   *exec.Cmd
	stdin io.Closer
	ready chan string // gets the URL once
	done  chan struct{}
	self  bool // it reached its fault; valid after done
}

// program is what hosts run: this program, or where that has the race detector in it, which
// takes too long to get to work, the same one without.
func program(t *testing.T) string {
	t.Helper()
	if !raced {
		return os.Args[0]
	}
	path := filepath.Join(t.TempDir(), "crash.test")
	if out, err := exec.CommandContext(t.Context(), "go", "test", "-c", "-o", path, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

// start runs a host over a configuration. What it logs is appended to a file.
func start(t *testing.T, program, file string, logs *os.File, at *fault) *process {
	t.Helper()
	p := &process{cmd: exec.Command(program), ready: make(chan string, 1), done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), childEnv+"="+file)
	if at != nil {
		b, err := json.Marshal(at)
		if err != nil {
			t.Fatal(err)
		}
		p.cmd.Env = append(p.cmd.Env, faultEnv+"="+string(b))
	}
	p.cmd.Stderr = logs
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go p.watch(out)
	return p
}

func (p *process) watch(out io.Reader) {
	defer close(p.done)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var url string
		if _, err := fmt.Sscanf(lines.Text(), "ready %s", &url); err == nil {
			p.ready <- url
		}
		p.self = p.self || lines.Text() == "killed"
	}
	_ = p.cmd.Wait() // how it ended is for the journals to show
	_ = p.stdin.Close()
}

// kill ends the process as a crash does.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// lives returns when the process has died, or after d.
func (p *process) lives(d time.Duration) {
	select {
	case <-p.done:
	case <-time.After(d):
	}
}
