package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/config"
	"github.com/vespiary/vespiary/host/internal/config/strict"
)

// running is what a host that answers has in its data folder, for the commands of
// its user.
type running struct {
	URL string `json:"url"`
	PID int    `json:"pid"`
}

func serverFile(cfg *config.Config) string { return filepath.Join(cfg.Data, "server.json") }
func keyFile(cfg *config.Config) string    { return filepath.Join(cfg.Data, "cli.key") }

// dialTime is long enough for a host on the same machine.
const dialTime = 2 * time.Second

// find returns the running host of the configuration, or nil. A file that a host
// left when it was killed names a process that is gone or a port that is closed.
func find(ctx context.Context, cfg *config.Config) (*running, error) {
	b, err := os.ReadFile(serverFile(cfg))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for the running host: %w", err)
	}
	var r running
	if json.Unmarshal(b, &r) != nil || !alive(r.PID) {
		return nil, nil
	}
	u, err := url.Parse(r.URL)
	if err != nil {
		return nil, nil //nolint:nilerr // a damaged file tells of no host
	}
	dialer := net.Dialer{Timeout: dialTime}
	conn, err := dialer.DialContext(ctx, "tcp", u.Host)
	if err != nil {
		return nil, ctx.Err()
	}
	return &r, conn.Close()
}

// key reads the key by which the commands of this machine's user are known.
func key(cfg *config.Config) (string, error) {
	b, err := os.ReadFile(keyFile(cfg))
	if err != nil {
		return "", fmt.Errorf("read the key of this command: %w; stop the host and start it again to make one", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// ensureKey makes the key where there is none, and says whether it did.
func (r *runner) ensureKey(ctx context.Context, cfg *config.Config) (made bool, err error) {
	if _, err := os.Stat(keyFile(cfg)); err == nil {
		return false, nil
	}
	_, token, err := r.app.CreateKey(ctx, cfg, host.APIKeySpec{Name: "cli"})
	if err != nil {
		return false, fmt.Errorf("make a key for this command: %w", err)
	}
	f, err := os.OpenFile(keyFile(cfg), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return false, fmt.Errorf("keep the key of this command: %w", err)
	}
	_, err = f.WriteString(token + "\n")
	return true, errors.Join(err, f.Close())
}

// connect returns a client of the running host, or an error that says how to
// start one.
func (r *runner) connect(ctx context.Context) (*client, error) {
	cfg, err := r.load()
	if err != nil {
		return nil, err
	}
	c, err := reach(ctx, cfg)
	if err == nil && c == nil {
		err = fmt.Errorf("reach the host of %s: none is running; start one with vespiary serve", cfg.File)
	}
	return c, err
}

// reach returns a client of the running host of the configuration, nil where none runs.
func reach(ctx context.Context, cfg *config.Config) (*client, error) {
	at, err := find(ctx, cfg)
	if err != nil || at == nil {
		return nil, err
	}
	return newClient(cfg, at.URL)
}

// service returns the running host's state, or opens that of one that does not run.
func (r *runner) service(ctx context.Context) (Service, *config.Config, error) {
	cfg, err := r.load()
	if err != nil {
		return nil, nil, err
	}
	c, err := reach(ctx, cfg)
	if err != nil {
		return nil, nil, err
	}
	if c != nil {
		return c, cfg, nil
	}
	s, err := r.app.Open(ctx, cfg)
	return s, cfg, err
}

// optional reads the configuration, nil where there is none and none was named.
func (r *runner) optional() (*config.Config, error) {
	if _, err := os.Stat(r.configFile); errors.Is(err, fs.ErrNotExist) && r.configFile == config.FileName {
		return nil, nil
	}
	return r.load()
}

// explainLoad says what to do where there is no configuration at all.
func (r *runner) explainLoad(err error) error {
	if _, ok := errors.AsType[*strict.Error](err); !ok && errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read the configuration: there is no %s; write one with vespiary init, or name one with --config", r.configFile)
	}
	return err
}
