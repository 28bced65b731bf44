package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/vespiary/vespiary/host/internal/config"
)

// child is a host in a process of its own, so that it can be killed.
type child struct {
	cmd     *exec.Cmd
	command string
	url     string
	gone    chan struct{}
}

func (d *demo) logFile() string { return filepath.Join(d.dir, "host.log") }

// start runs a host and waits until it answers.
func (d *demo) start(ctx context.Context, cfg *config.Config) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	log, err := os.OpenFile(d.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()                                                                                                 //nolint:errcheck // the process has it
	h := &child{cmd: exec.Command(self, "--config", d.configFile, "serve"), command: self, gone: make(chan struct{})} //nolint:gosec,noctx // this program itself, which is ended by kill or stop
	h.cmd.Stdout, h.cmd.Stderr = log, log
	if err := h.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(h.gone)
		_ = h.cmd.Wait()
	}()
	if err := h.answers(ctx, cfg); err != nil {
		h.kill()
		return nil, err
	}
	return h, nil
}

// answers waits until the host of this process is the one that others find.
func (h *child) answers(ctx context.Context, cfg *config.Config) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		at, err := find(ctx, cfg)
		if err != nil {
			return err
		}
		if at != nil && at.PID == h.pid() {
			h.url = at.URL
			return nil
		}
		select {
		case <-tick.C:
		case <-h.gone:
			return errors.New("start the host: it ended at once")
		case <-ctx.Done():
			return fmt.Errorf("start the host: %w", ctx.Err())
		}
	}
}

func (h *child) pid() int { return h.cmd.Process.Pid }

// kill ends the host as a crash would (SIGKILL). It may be nil or gone.
func (h *child) kill() {
	if h == nil {
		return
	}
	_ = h.cmd.Process.Kill()
	<-h.gone
}

// stop ends the host in good order.
func (h *child) stop(ctx context.Context) error {
	if err := h.cmd.Process.Signal(os.Interrupt); err != nil {
		return err
	}
	select {
	case <-h.gone:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stop the host: %w", ctx.Err())
	}
}

// note keeps the most memory that a host has used, where the system tells.
func (d *demo) note(h *child) {
	f, err := os.Open("/proc/" + strconv.Itoa(h.pid()) + "/status")
	if err != nil {
		return
	}
	defer f.Close() //nolint:errcheck // it was only read
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if kib, ok := strings.CutPrefix(lines.Text(), "VmHWM:"); ok {
			n, _ := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(kib, "kB")), 10, 64)
			d.peak = max(d.peak, n<<10)
		}
	}
}
