package app

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/cli"
	"github.com/vespiary/vespiary/host/internal/config"
	"github.com/vespiary/vespiary/host/internal/journal"
	"github.com/vespiary/vespiary/host/internal/runtime"
	"github.com/vespiary/vespiary/host/internal/store"
	words "github.com/vespiary/vespiary/host/store"
	"github.com/vespiary/vespiary/registry"
)

// A backup is a tar archive: the store's own backup, and every module. The master key is
// not in it, without which what was said in the sessions cannot be read.
const (
	backupStore   = "store.backup"
	backupModules = "modules/"
	maxModule     = 256 << 20 // bytes; restoring holds one in memory
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
	names, err := moduleFiles(filepath.Join(data, "modules"))
	for _, name := range names {
		if err = ctx.Err(); err == nil {
			err = addModule(out, data, name, now)
		}
		if err != nil {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("back up the modules: %w", err)
	}
	return out.Close()
}

// moduleName is the name of a module in the registry's folder, and its hash. Other files
// there are modules that are being written.
var moduleName = regexp.MustCompile(`^[0-9a-f]{2}/([0-9a-f]{64})\.wasm$`)

// moduleFiles returns the names of the modules in a folder, which need not exist.
func moduleFiles(dir string) ([]string, error) {
	var names []string
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, _ fs.DirEntry, err error) error {
		if err != nil && name == "." && errors.Is(err, fs.ErrNotExist) {
			return fs.SkipAll
		}
		if moduleName.MatchString(name) {
			names = append(names, name)
		}
		return err
	})
	return names, err
}

func addModule(out *tar.Writer, data, name string, now time.Time) error {
	f, err := os.Open(filepath.Join(data, "modules", filepath.FromSlash(name)))
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // it is only read
	return addFile(out, backupModules+name, f, now)
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

// archive reads a backup: the store comes first.
type archive struct {
	tar *tar.Reader
	n   int64 // bytes that were read
	src io.Reader
	end int64 // where the part under way ends
}

// openArchive returns an archive at its store.
func openArchive(r io.Reader) (*archive, error) {
	a := &archive{src: r}
	a.tar = tar.NewReader(a)
	h, err := a.next()
	if err != nil {
		return nil, fmt.Errorf("this is not a backup of a host, or it was cut off: %w; %w", err, errBackup)
	}
	if h.Name != backupStore {
		return nil, fmt.Errorf("this is not a backup of a host, it begins with %q: %w", h.Name, errBackup)
	}
	return a, nil
}

// Read implements io.Reader.
func (a *archive) Read(b []byte) (int, error) {
	n, err := a.src.Read(b)
	a.n += int64(n)
	return n, err
}

// tarBlock is what parts are padded to. Two blocks of zeros end an archive, but for the
// package tar one that is cut off between two parts ends as well.
const tarBlock = 512

func (a *archive) next() (*tar.Header, error) {
	h, err := a.tar.Next()
	if errors.Is(err, io.EOF) && a.n < a.end+2*tarBlock {
		return nil, io.ErrUnexpectedEOF
	}
	if err == nil {
		a.end = a.n + (h.Size+tarBlock-1)/tarBlock*tarBlock
	}
	return h, err
}

// modules calls take with every module. What it reads is checked behind it.
func (a *archive) modules(take func(name string, r io.Reader) error) error {
	for {
		h, err := a.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("the backup was cut off or changed: %w; %w", err, errBackup)
		}
		name, _ := strings.CutPrefix(h.Name, backupModules)
		form := moduleName.FindStringSubmatch(name)
		if form == nil || h.Name == name || h.Typeflag != tar.TypeReg || h.Size > maxModule {
			return fmt.Errorf("the backup holds %q, which no host puts there: %w", h.Name, errBackup)
		}
		sum := sha256.New()
		if err := take(name, io.TeeReader(a.tar, sum)); err != nil {
			return err
		}
		if hex.EncodeToString(sum.Sum(nil)) != form[1] {
			return fmt.Errorf("the module %s in the backup is damaged: install it again on the host that was backed up and %w", name, errBackup)
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
	a, err := openArchive(r)
	if err != nil {
		return cli.Backed{}, err
	}
	b, err := store.VerifyBackup(ctx, a.tar)
	if err != nil {
		return cli.Backed{}, err
	}
	return backed(b), a.modules(func(_ string, r io.Reader) error {
		_, err := io.Copy(io.Discard, r)
		return errors.Join(err, ctx.Err())
	})
}

func backed(b words.Backed) cli.Backed {
	return cli.Backed{Created: b.Created, Keys: b.Keys, Bytes: b.Bytes, Digest: b.Digest}
}

// Restore implements cli.Files. Without all of its modules a store would look whole, so
// they are there first.
func (a App) Restore(ctx context.Context, cfg *config.Config, r io.Reader) (cli.Backed, error) {
	in, err := openArchive(r)
	if err != nil {
		return cli.Backed{}, err
	}
	kept, err := registry.New(registry.Options{Dir: filepath.Join(cfg.Data, "modules"), Tenant: host.DefaultTenant, Now: time.Now}) //nolint:forbidigo // modules without a name have no time
	if err != nil {
		return cli.Backed{}, err
	}
	b, err := store.Restore(ctx, storeOptions(cfg, Options{Version: a.Version}), in.tar, func() error {
		return in.modules(func(_ string, r io.Reader) error {
			module, err := io.ReadAll(r)
			if err == nil {
				_, err = kept.Put(ctx, "", module, "restore")
			}
			return err
		})
	})
	return backed(b), err
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
