package api

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// TLS names PEM files with the server's certificate chain and key. Both empty:
// no TLS.
type TLS struct {
	Cert, Key string
}

// reloadEvery bounds how often handshakes look at the files.
const reloadEvery = time.Second

// certificate is a key pair that is read again when its files change, so that a
// renewed certificate needs no restart.
type certificate struct {
	files TLS
	now   func() time.Time
	log   *slog.Logger

	mu      sync.Mutex
	pair    *tls.Certificate
	stamp   [2]time.Time // when the files were changed that pair is from
	checked time.Time
}

// loadCertificate returns nil without an error when TLS is off.
func loadCertificate(files TLS, now func() time.Time, log *slog.Logger) (*certificate, error) {
	if files == (TLS{}) {
		return nil, nil
	}
	if files.Cert == "" || files.Key == "" {
		return nil, errors.New("tls: only one of certificate and key is configured; name both files")
	}
	c := &certificate{files: files, now: now, log: log}
	return c, c.load()
}

// load reads the files. The times are taken before the contents: a change in
// between is then seen again, and not missed.
func (c *certificate) load() error {
	stamp, err := c.stamps()
	if err != nil {
		return fmt.Errorf("tls: %w; check the paths in the configuration", err)
	}
	pair, err := tls.LoadX509KeyPair(c.files.Cert, c.files.Key)
	if err != nil {
		return fmt.Errorf("tls: load %s and %s: %w", c.files.Cert, c.files.Key, err)
	}
	c.pair, c.stamp, c.checked = &pair, stamp, c.now()
	return nil
}

func (c *certificate) stamps() (stamp [2]time.Time, err error) {
	for i, name := range []string{c.files.Cert, c.files.Key} {
		info, err := os.Stat(name)
		if err != nil {
			return stamp, err
		}
		stamp[i] = info.ModTime()
	}
	return stamp, nil
}

// current returns the newest pair that loads: while the files are half replaced
// the old one serves on.
func (c *certificate) current() *tls.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if now.Sub(c.checked) < reloadEvery {
		return c.pair
	}
	c.checked = now
	if stamp, err := c.stamps(); err == nil && stamp == c.stamp {
		return c.pair
	}
	if err := c.load(); err != nil {
		c.log.Warn("the changed certificate does not load, the old one serves on", "error", err)
	}
	return c.pair
}

// config leaves curves, suites and versions above 1.2 to the standard library.
func (c *certificate) config() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.current(), nil },
	}
}
