package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// ErrNewer says that a folder or backup was made by a host newer than this one.
var ErrNewer = errors.New("store: made by a newer version of vespiary")

// upgrade leads from one format of the folder to the next. It works on a folder
// that is locked and not open. A crash may end it anywhere, and then it runs again
// on what it left; it also runs on a restored folder, which is in today's layout
// while its items are in the older format. So what is done already must not harm.
type upgrade struct {
	change string // for the log
	run    func(ctx context.Context, dir string) error
}

// upgrades holds at i the one that leads from format i+1 to i+2.
var upgrades = []upgrade{
	{"a file says which format the folder has", func(context.Context, string) error { return nil }},
}

// format is the one that this host reads and writes.
func (o Options) format() int {
	if o.upgrades != nil {
		return len(o.upgrades) + 1
	}
	return len(upgrades) + 1
}

func newer(what, host string, has, reads int) error {
	want := "a newer version of vespiary"
	if host != "" {
		want = "vespiary " + host + " or newer"
	}
	return fmt.Errorf("%w: %s has format %d, and this version reads formats up to %d; use %s", ErrNewer, what, has, reads, want)
}

// marker is what the file FORMAT says: the folder's format, and the version of the
// host that brought it there, which an older one can name as the one it takes.
//
//	vespiary store
//	format 2
//	host v1.0.0
//
// Later formats may add lines.
type marker struct {
	format int
	host   string
}

const (
	markerName  = "FORMAT"
	markerTitle = "vespiary store"
)

func (m marker) String() string {
	return fmt.Sprintf("%s\nformat %d\nhost %s\n", markerTitle, m.format, m.host)
}

func parseMarker(text string) (m marker, err error) {
	title, rest, _ := strings.Cut(text, "\n")
	format, rest, _ := strings.Cut(rest, "\n")
	host, _, whole := strings.Cut(rest, "\n")
	number, isFormat := strings.CutPrefix(format, "format ")
	m.format, err = strconv.Atoi(number)
	name, isHost := strings.CutPrefix(host, "host ")
	m.host = hostName(name)
	if !whole || title != markerTitle || !isFormat || !isHost || err != nil || m.format < 1 {
		return marker{}, errors.New("it does not name a format; restore the data folder from a backup")
	}
	return m, nil
}

// hostName is a host's version as markers and backups can hold it, and as a person
// can be shown what a file says it is.
func hostName(version string) string {
	name := strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return -1
		}
		return r
	}, version)
	return name[:min(len(name), maxHost)]
}

// readMarker returns what FORMAT says. A folder without it has format 1, which had
// no marker, or is new: then it gets format 0.
func (s *Local) readMarker() (marker, error) {
	path := filepath.Join(s.opts.Dir, markerName)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		inDB, err := os.ReadDir(filepath.Join(s.opts.Dir, dbName))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return marker{}, err
		}
		if len(inDB) > 0 || len(s.redoFiles()) > 0 {
			return marker{format: 1}, nil
		}
		return marker{}, nil
	}
	if err != nil {
		return marker{}, err
	}
	m, err := parseMarker(string(b))
	if err != nil {
		return marker{}, fmt.Errorf("%s is damaged: %w", path, err)
	}
	return m, nil
}

// writeMarker replaces FORMAT so that a crash leaves the old one or the new one.
func writeMarker(o Options, m marker) error {
	path := filepath.Join(o.Dir, markerName)
	f, err := os.OpenFile(path+".tmp", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if _, err = f.WriteString(m.String()); err == nil {
		err = o.sync(f)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		return err
	}
	return syncDir(o.Dir)
}

func (o Options) sync(f *os.File) error {
	if o.syncFile != nil {
		return o.syncFile(f)
	}
	return f.Sync()
}

// upgrade brings the folder to this host's format, one step after the other. The
// marker moves after each step, so that a crash repeats that step only.
func (s *Local) upgrade(ctx context.Context) error {
	m, err := s.readMarker()
	current := s.opts.format()
	switch {
	case err != nil:
		return err
	case m.format > current:
		return newer("the folder", m.host, m.format, current)
	case m.format == 0:
		return writeMarker(s.opts, marker{current, hostName(s.opts.Host)})
	}
	steps := s.opts.upgrades
	if steps == nil {
		steps = upgrades
	}
	for ; m.format < current; m.format++ {
		if err := s.step(ctx, m.format, steps[m.format-1]); err != nil {
			return fmt.Errorf("upgrade from format %d to %d: %w; open it again to go on", m.format, m.format+1, err)
		}
	}
	return nil
}

func (s *Local) step(ctx context.Context, from int, u upgrade) error {
	s.opts.Log.InfoContext(ctx, "upgrading the store", "dir", s.opts.Dir, "from", from, "to", from+1, "change", u.change)
	if err := u.run(ctx, s.opts.Dir); err != nil {
		return err
	}
	return writeMarker(s.opts, marker{from + 1, hostName(s.opts.Host)})
}

// syncDir makes a folder's names durable.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
