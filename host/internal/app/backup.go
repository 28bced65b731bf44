package app

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/cli"
	"github.com/vespiary/vespiary/host/internal/config"
	"github.com/vespiary/vespiary/host/internal/journal"
	"github.com/vespiary/vespiary/host/internal/runtime"
	"github.com/vespiary/vespiary/host/internal/store"
	words "github.com/vespiary/vespiary/host/store"
)

// A backup is a tar archive: the store's own backup, and every module. The master key is
// not in it, without which what was said in the sessions cannot be read.
const (
	backupStore   = "store.backup"
	backupModules = "modules/"
)

// Backup writes everything that was acknowledged by now, while the host goes on.
func (a admin) Backup(ctx context.Context, _ host.Caller, w io.Writer) error {
	return writeBackup(ctx, a.h.data, a.h.opt.Now(), a.h.store.Backup, w)
}

func writeBackup(ctx context.Context, data string, now time.Time, backup func(context.Context, io.Writer) (words.Backed, error), w io.Writer) error {
	out := tar.NewWriter(w)
	spool, err := os.CreateTemp(data, "backup-*")
	if err != nil {
		return fmt.Errorf("back up: %w", err)
	}
	defer os.Remove(spool.Name()) //nolint:errcheck // a leftover takes space and harms nothing
	defer spool.Close()           //nolint:errcheck // it is deleted
	if _, err := backup(ctx, spool); err != nil {
		return err
	}
	if err := addFile(out, backupStore, spool, now); err != nil {
		return err
	}
	// Modules are never changed, and one that is added now belongs to no session of the
	// backup.
	dir := filepath.Join(data, "modules")
	err = filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
		name, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		f, err := os.Open(p) //nolint:gosec // a path of our own folder
		if err != nil {
			return err
		}
		defer f.Close() //nolint:errcheck // it is only read
		return addFile(out, backupModules+filepath.ToSlash(name), f, now)
	})
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("back up the modules: %w", err)
	}
	return out.Close()
}

// addFile adds a file, from its beginning, as large as it is now.
func addFile(out *tar.Writer, name string, f *os.File, now time.Time) error {
	size, err := f.Seek(0, io.SeekEnd)
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err == nil {
		err = out.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o600, ModTime: now})
	}
	if err == nil {
		_, err = io.CopyN(out, f, size)
	}
	return err
}

// readBackup gives the parts of a backup to those who take them: the store comes first.
func readBackup(r io.Reader, takeStore func(io.Reader) error, takeModule func(name string, r io.Reader) error) error {
	in := tar.NewReader(r)
	first, err := in.Next()
	if err != nil || first.Name != backupStore {
		return fmt.Errorf("this is not a backup of a host, or it was cut off: %w", errors.Join(err, errBackup))
	}
	if err := takeStore(in); err != nil {
		return err
	}
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("the backup was cut off or changed: %w", err)
		}
		name, ok := strings.CutPrefix(h.Name, backupModules)
		if !ok || h.Typeflag != tar.TypeReg || !filepath.IsLocal(filepath.FromSlash(name)) || path.Clean(name) != name {
			return fmt.Errorf("the backup holds %q, which no host puts there: %w", h.Name, errBackup)
		}
		if err := takeModule(name, in); err != nil {
			return err
		}
	}
}

var errBackup = errors.New("take another backup")

var _ cli.Files = App{}

// Backup implements cli.Files.
func (a App) Backup(ctx context.Context, cfg *config.Config, w io.Writer) error {
	o := Options{Version: a.Version, Now: time.Now} //nolint:forbidigo // the command line lives in real time
	s, err := store.Open(ctx, storeOptions(cfg, o))
	if err != nil {
		return err
	}
	return errors.Join(writeBackup(ctx, cfg.Data, o.Now(), s.Backup, w), s.Close())
}

// VerifyBackup implements cli.Files.
func (App) VerifyBackup(ctx context.Context, r io.Reader) (cli.Backed, error) {
	var out cli.Backed
	err := readBackup(r, func(r io.Reader) error {
		b, err := store.VerifyBackup(ctx, r)
		out = backed(b)
		return err
	}, func(_ string, r io.Reader) error {
		_, err := io.Copy(io.Discard, r)
		return err
	})
	return out, err
}

func backed(b words.Backed) cli.Backed {
	return cli.Backed{Created: b.Created, Keys: b.Keys, Bytes: b.Bytes, Digest: b.Digest}
}

// Restore implements cli.Files.
func (a App) Restore(ctx context.Context, cfg *config.Config, r io.Reader) (cli.Backed, error) {
	var out cli.Backed
	o := storeOptions(cfg, Options{Version: a.Version})
	restored := false
	err := readBackup(r, func(r io.Reader) error {
		b, err := store.Restore(ctx, o, r)
		out, restored = backed(b), err == nil
		return err
	}, func(name string, r io.Reader) error { return writeModule(filepath.Join(cfg.Data, "modules"), name, r) })
	if err != nil && restored { // without all of its modules it would look whole
		err = errors.Join(err, os.RemoveAll(o.Dir))
	}
	return out, err
}

func writeModule(dir, name string, r io.Reader) error {
	target := filepath.Join(dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(target), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(target, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Sync(), f.Close())
}

// VerifyExport implements cli.Files.
func (App) VerifyExport(_ context.Context, r io.Reader) (cli.Exported, error) {
	s, err := journal.VerifyExport(r)
	return cli.Exported{
		Session: s.Session, Agent: s.Open.Session.Agent, Module: s.Open.Session.Module,
		Entries: s.Entries, Turns: s.Turns, Digest: s.Root,
	}, err
}

// Image implements cli.Files.
func (App) Image(ctx context.Context, module []byte) (cli.Image, error) {
	engine, err := runtime.NewNative(runtime.Options{Imports: imports()}) //nolint:contextcheck // making an engine waits for nothing
	if err != nil {
		return cli.Image{}, err
	}
	defer engine.Close(context.WithoutCancel(ctx)) //nolint:errcheck // it never fails
	m, err := engine.Load(ctx, module)
	if err != nil {
		return cli.Image{}, err
	}
	i := m.Info()
	return cli.Image{NoImage: i.NoImage, Reseeds: i.Reseeds, Prepared: i.Prepared}, nil
}
