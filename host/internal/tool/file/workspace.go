package file

import (
	"bytes"
	"context"
	"fmt"
	"path"
	"strings"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/tool/request"
	"github.com/vespiary/vespiary/host/store"
)

// scan yields the files whose keys begin with prefix, in the order of their paths.
func scan(tx store.Tx, run *host.Run, prefix []byte, yield func(*state) (more bool)) error {
	skip := len(workspaceKey(run.Tenant, run.Session))
	var s *state
	for item, err := range tx.Scan(store.Query{Prefix: prefix}) {
		if err != nil {
			return err
		}
		name, stamp, ok := bytes.Cut(item.Key[skip:], []byte{0})
		if !ok || len(stamp) != stampLen {
			return fmt.Errorf("file: key %q is not of its form", item.Key)
		}
		if s == nil || s.path != string(name) {
			if s != nil && s.exists && !yield(s) {
				return nil
			}
			s = &state{path: string(name)}
		}
		r, err := decodeRecord(item)
		if err != nil {
			return err
		}
		s.take(r)
	}
	if s != nil && s.exists {
		yield(s)
	}
	return nil
}

// load returns a file of the workspace, with all its records even when there is none.
func load(tx store.Tx, run *host.Run, path string) (*state, error) {
	s := &state{path: path}
	for item, err := range tx.Scan(store.Query{Prefix: fileKey(run, path)}) {
		if err != nil {
			return nil, err
		}
		r, err := decodeRecord(item)
		if err != nil {
			return nil, err
		}
		s.take(r)
	}
	return s, nil
}

// isFolder reports whether there are files below the path.
func isFolder(tx store.Tx, run *host.Run, path string) (found bool, err error) {
	err = scan(tx, run, below(run, path), func(*state) bool {
		found = true
		return false
	})
	return found, err
}

func (f *Files) readWorkspace(ctx context.Context, c *host.Call, p place, in abi.FileRead) (abi.FileContent, error) {
	if err := c.Settle(ctx); err != nil {
		return abi.FileContent{}, err
	}
	var s *state
	err := f.opt.Store.View(ctx, func(tx store.Tx) (err error) {
		if s, err = load(tx, c.Run, p.path); err != nil || s.exists {
			return err
		}
		if found, err := isFolder(tx, c.Run, p.path); err != nil || found {
			return cmpErr(err, request.Invalid(c, "%s is a folder; name a file in it", p.shown()))
		}
		return notFound(c, p)
	})
	if err != nil {
		return abi.FileContent{}, err
	}
	b, err := f.section(ctx, c.Run, s, in.Offset, in.Limit+lookahead)
	if err != nil {
		return abi.FileContent{}, err
	}
	return content(s.info(), in.Offset, b, in.Limit), nil
}

// cmpErr prefers a fault to a refusal.
func cmpErr(fault error, refusal *abi.Error) error {
	if fault != nil {
		return fault
	}
	return refusal
}

// section reads up to n bytes of a file from offset on.
func (f *Files) section(ctx context.Context, run *host.Run, s *state, offset, n int64) ([]byte, error) {
	out := make([]byte, 0, max(0, min(n, s.size-offset)))
	at := int64(0)
	for _, piece := range s.pieces {
		from, to := max(offset-at, 0), min(offset+n-at, piece.Size)
		if at += piece.Size; from >= to {
			continue
		}
		b, err := f.opt.Blobs.Open(ctx, run, piece.Digest)
		if err != nil {
			return nil, err
		}
		if int64(len(b)) != piece.Size {
			return nil, fmt.Errorf("file: %s: a piece has %d bytes instead of %d", s.path, len(b), piece.Size)
		}
		out = append(out, b[from:to]...)
	}
	return out, nil
}

func (f *Files) listWorkspace(ctx context.Context, c *host.Call, p place, recursive bool) (abi.FileListing, error) {
	if err := c.Settle(ctx); err != nil {
		return abi.FileListing{}, err
	}
	var l tree
	err := f.opt.Store.View(ctx, func(tx store.Tx) error {
		if s, err := load(tx, c.Run, p.path); err != nil || s.exists {
			return cmpErr(err, request.Invalid(c, "%s is a file, not a folder", p.shown()))
		}
		l = tree{base: p.path, recursive: recursive, folders: map[string]bool{}}
		return scan(tx, c.Run, below(c.Run, p.path), l.take)
	})
	if err != nil {
		return abi.FileListing{}, err
	}
	if p.path == "" {
		for name := range c.Run.Agent.Folders {
			l.add(abi.FileInfo{Path: name, Folder: true, ReadOnly: true})
		}
	} else if len(l.files) == 0 {
		return abi.FileListing{}, notFound(c, p)
	}
	return l.listing(), nil
}

// tree gathers the files of a workspace below base, with the folders that they
// imply: a folder of the workspace is nothing but the beginning of paths.
type tree struct {
	listed

	base      string
	recursive bool
	folders   map[string]bool
}

func (t *tree) take(s *state) bool {
	rel := strings.TrimPrefix(strings.TrimPrefix(s.path, t.base), "/")
	parts := strings.Split(rel, "/")
	at := t.base
	for _, folder := range parts[:len(parts)-1] {
		if at = path.Join(at, folder); !t.folders[at] {
			t.folders[at] = true
			t.add(abi.FileInfo{Path: at, Folder: true})
		}
		if !t.recursive {
			return !t.full()
		}
	}
	t.add(s.info())
	return !t.full()
}
