package file

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/tool/request"
)

func (f *Files) openMount(ctx context.Context, c *host.Call, p place) (*os.Root, error) {
	root, err := os.OpenRoot(p.mount)
	if err != nil {
		f.opt.Log.WarnContext(ctx, "mounted folder not opened", "folder", p.folder, "error", err)
		return nil, request.Failed(c, abi.CodeUnavailable, "the folder %s cannot be opened on this machine; the host's log says why", p.folder)
	}
	return root, nil
}

// mountError tells why something in a mounted folder cannot be used, without a word
// about where the folder is.
func mountError(c *host.Call, p place, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return notFound(c, p)
	}
	why := "it cannot be read"
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		why = e.Err.Error()
	}
	return request.Failed(c, abi.CodeUnavailable, "%s: %s", p.shown(), why)
}

func (f *Files) readMounted(ctx context.Context, c *host.Call, p place, in abi.FileRead) (abi.FileContent, error) {
	root, err := f.openMount(ctx, c, p)
	if err != nil {
		return abi.FileContent{}, err
	}
	defer func() { _ = root.Close() }()
	file, info, err := openRegular(root, p.rel)
	if err != nil {
		return abi.FileContent{}, mountError(c, p, err)
	}
	defer func() { _ = file.Close() }()
	b, err := io.ReadAll(io.NewSectionReader(file, in.Offset, in.Limit+lookahead))
	if err != nil {
		return abi.FileContent{}, mountError(c, p, err)
	}
	return content(infoOf(p.path, info), in.Offset, b, in.Limit), nil
}

var errSpecial = errors.New("it is no regular file")

// openRegular opens a regular file. It looks before it opens, because opening a pipe
// waits and opening a device may do something, and again at what it opened.
func openRegular(root *os.Root, name string) (*os.File, fs.FileInfo, error) {
	info, err := root.Stat(name)
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, nil, &fs.PathError{Op: "open", Path: name, Err: errSpecial}
	}
	file, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	if info, err = file.Stat(); err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: name, Err: errSpecial}
	}
	if err != nil {
		return nil, nil, errors.Join(err, file.Close())
	}
	return file, info, nil
}

func infoOf(path string, info fs.FileInfo) abi.FileInfo {
	out := abi.FileInfo{Path: path, Folder: info.IsDir(), Modified: info.ModTime().UTC(), ReadOnly: true}
	if !out.Folder {
		out.Size = info.Size()
	}
	return out
}

func (f *Files) listMounted(ctx context.Context, c *host.Call, p place, recursive bool) (abi.FileListing, error) {
	root, err := f.openMount(ctx, c, p)
	if err != nil {
		return abi.FileListing{}, err
	}
	defer func() { _ = root.Close() }()
	info, err := root.Stat(p.rel)
	if err != nil {
		return abi.FileListing{}, mountError(c, p, err)
	}
	if !info.IsDir() {
		return abi.FileListing{}, request.Invalid(c, "%s is a file, not a folder", p.shown())
	}
	w := walk{root: root, mount: p.folder, recursive: recursive}
	if err := w.folder(ctx, p.rel, 0); err != nil {
		return abi.FileListing{}, mountError(c, p, err)
	}
	return w.listing(), nil
}

const (
	maxDepth   = 32     // folders below the one that is listed
	maxEntries = 10_000 // of one folder that are looked at
)

// walk lists a mounted folder.
type walk struct {
	listed

	root      *os.Root
	mount     string
	recursive bool
}

func (w *walk) folder(ctx context.Context, rel string, depth int) error {
	names, more, err := entries(w.root, rel)
	if err != nil {
		return err
	}
	w.truncated = w.truncated || more
	for _, name := range names {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if w.full() {
			return nil
		}
		if err := w.entry(ctx, path.Join(rel, name), depth); err != nil {
			return err
		}
	}
	return nil
}

// entry lists one name. What cannot be reached, leads out of the mounted folder or is
// no file is left out, as if it were not there.
func (w *walk) entry(ctx context.Context, rel string, depth int) error {
	shown := path.Join(w.mount, rel)
	if cleaned, ok := clean(shown); !ok || cleaned != shown {
		return nil // a name that no path of the contract can say
	}
	info, err := w.root.Stat(rel)
	if err != nil || !info.IsDir() && !info.Mode().IsRegular() {
		return nil
	}
	w.add(infoOf(shown, info))
	if !w.recursive || !info.IsDir() || strings.HasPrefix(path.Base(rel), ".") {
		return nil
	}
	if link, err := w.root.Lstat(rel); err != nil || link.Mode()&fs.ModeSymlink != 0 {
		return nil // a linked folder may be the one that it lies in
	}
	if depth == maxDepth {
		w.truncated = true
		return nil
	}
	if err := w.folder(ctx, rel, depth+1); err != nil && ctx.Err() != nil {
		return err
	}
	return nil
}

// entries returns the names in a folder in their order, and whether there are more.
func entries(root *os.Root, rel string) (names []string, more bool, err error) {
	dir, err := root.OpenFile(rel, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, false, err
	}
	defer func() { _ = dir.Close() }()
	names, err = dir.Readdirnames(maxEntries + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, false, err
	}
	slices.Sort(names)
	if len(names) > maxEntries {
		return names[:maxEntries], true, nil
	}
	return names, false, nil
}
