package file

import (
	"context"
	"path"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/tool/request"
	"github.com/vespiary/vespiary/host/store"
)

const (
	maxWrite   = 4 << 20 // bytes of content in one call
	maxRequest = 7 << 20 // bytes of the call's JSON, which the journal keeps
	maxPieces  = 4096    // of one file: what a single turn may append to it
)

// write is the capability file_write.
type write struct{ files *Files }

type writeState struct {
	place place
	op    op
	data  []byte
}

// Classify implements host.Capability.
func (write) Classify(_ context.Context, c *host.Call) (host.Class, error) {
	if len(c.Request) > maxRequest {
		return host.Class{}, request.Invalid(c, "the request has %d bytes, over the limit of %d; write the file in parts with append", len(c.Request), maxRequest)
	}
	var in abi.FileWrite
	if err := request.Decode(c, &in); err != nil {
		return host.Class{}, err
	}
	s := writeState{place: locate(c.Run.Agent, in.Path), op: opReplace, data: in.Data}
	if in.Text != "" {
		s.data = []byte(in.Text)
	}
	switch {
	case in.Append:
		s.op = opAppend
	case in.Remove:
		s.op = opRemove
	}
	if why := check(in, s); why != "" {
		return host.Class{}, request.Invalid(c, "%s", why)
	}
	class := classOf(s.place, "fileWrite", host.Effect, abi.RecoverTxn, s)
	class.Control = []string{in.Path}
	if len(s.data) == 0 {
		class.Data = []string{}
	}
	return class, nil
}

func check(in abi.FileWrite, s writeState) string {
	switch {
	case in.Text != "" && len(in.Data) > 0:
		return "give text or data, not both"
	case in.Remove && (in.Append || len(s.data) > 0):
		return "remove goes with neither content nor append"
	case len(s.data) > maxWrite:
		return "the content is over 4 MiB; write the file in parts with append"
	case s.place.path == "" && s.place.inside():
		return "name a file"
	}
	return ""
}

// Perform implements host.Capability.
func (w write) Perform(ctx context.Context, c *host.Call) (host.Output, error) {
	s, _ := c.Class.State.(writeState)
	switch {
	case !s.place.inside():
		return host.Output{}, outside(c, s.place)
	case s.place.mounted():
		return host.Output{}, request.Invalid(c, "%s is mounted read-only; write to another path, which is the workspace", s.place.folder)
	}
	session, release, err := w.files.forSession(ctx, c)
	if err != nil {
		return host.Output{}, err
	}
	defer release()
	seen, err := w.files.examine(ctx, c, s.place)
	if err != nil {
		return host.Output{}, err
	}
	if s.op == opRemove {
		return w.files.remove(c, session, seen)
	}
	return w.files.put(ctx, c, session, seen, s)
}

// examine loads the file and checks that its path can be one.
func (f *Files) examine(ctx context.Context, c *host.Call, p place) (s *state, err error) {
	err = f.opt.Store.View(ctx, func(tx store.Tx) error {
		if s, err = load(tx, c.Run, p.path); err != nil || s.exists {
			return err
		}
		if found, err := isFolder(tx, c.Run, p.path); err != nil || found {
			return cmpErr(err, request.Invalid(c, "%s is a folder", p.shown()))
		}
		for parent := path.Dir(p.path); parent != "."; parent = path.Dir(parent) {
			if above, err := load(tx, c.Run, parent); err != nil || above.exists {
				return cmpErr(err, request.Invalid(c, "%s is a file, so there is no folder of that name", parent))
			}
		}
		return nil
	})
	return s, err
}

// put replaces the file or adds to it.
func (f *Files) put(ctx context.Context, c *host.Call, w *writer, seen *state, s writeState) (host.Output, error) {
	before := w.before(seen)
	after := extent{exists: true, size: int64(len(s.data)), version: before.version + 1}
	if s.op == opAppend {
		after.size += before.size
	}
	if err := f.allow(c, w, seen.path, before, after); err != nil {
		return host.Output{}, err
	}
	if s.op == opAppend && len(seen.records) >= maxPieces {
		return host.Output{}, full(c, "%s was added to %d times; write it anew as a whole", seen.path, len(seen.records))
	}
	r := record{
		Op: s.op, Size: int64(len(s.data)), Turn: c.Run.Turn,
		Modified: f.opt.Now().UTC(), stamp: f.stamp(seen),
	}
	if s.op == opReplace {
		r.Version = after.version
	}
	ops, err := f.store(ctx, c.Run, seen.path, &r, s.data)
	if err != nil {
		return host.Output{}, err
	}
	more, err := f.tidy(ctx, c.Run, seen, s.op)
	if err != nil {
		return host.Output{}, err
	}
	w.wrote(seen.path, before, after)
	out, err := output(s.place, abi.FileInfo{Path: seen.path, Size: after.size, Version: after.version, Modified: r.Modified})
	out.Ops = append(more, ops...)
	return out, err
}

// store seals the content and returns the ops that write it and its record.
func (f *Files) store(ctx context.Context, run *host.Run, path string, r *record, data []byte) ([]store.Op, error) {
	var ops []store.Op
	if len(data) > 0 {
		var err error
		if r.Digest, ops, err = f.opt.Blobs.Seal(ctx, run, data); err != nil {
			return nil, err
		}
	}
	put, err := r.put(run, path)
	return append(ops, put), err
}

// tidy returns the ops that make room for a write: one that replaces the file deletes
// what it sees of it.
func (f *Files) tidy(ctx context.Context, run *host.Run, seen *state, o op) ([]store.Op, error) {
	if o == opReplace {
		return forget(run, seen.path, seen.records), nil
	}
	return f.merge(ctx, run, seen)
}

func forget(run *host.Run, path string, records []record) []store.Op {
	var ops []store.Op
	for _, r := range records {
		ops = append(ops, store.Op{Key: recordKey(run, path, r.stamp)})
	}
	return ops
}

// remove deletes the file. Where the turn wrote it before, that write may commit
// later than this one, and the record that stays behind says which of them counts.
func (f *Files) remove(c *host.Call, w *writer, seen *state) (host.Output, error) {
	before := w.before(seen)
	if !before.exists {
		return host.Output{}, notFound(c, place{path: seen.path})
	}
	now := f.opt.Now().UTC()
	ops := forget(c.Run, seen.path, seen.records)
	if w.touched(seen.path) {
		r := record{Op: opRemove, Turn: c.Run.Turn, Modified: now, stamp: f.stamp(seen)}
		put, err := r.put(c.Run, seen.path)
		if err != nil {
			return host.Output{}, err
		}
		ops = append(ops, put)
	}
	w.wrote(seen.path, before, extent{})
	out, err := output(place{path: seen.path}, abi.FileInfo{Path: seen.path, Modified: now})
	out.Ops = ops
	return out, err
}

// stamp orders a write after all that its call can have seen: what the store holds,
// and what this host gave out.
func (f *Files) stamp(seen *state) uint64 {
	for {
		now := f.clock.Load()
		next := max(now, seen.last()) + 1
		if f.clock.CompareAndSwap(now, next) {
			return next
		}
	}
}

const (
	mergeFrom = 32      // pieces of earlier turns that are worth merging
	mergeSize = 1 << 20 // bytes that one merged piece may have
)

// merge returns the ops that put small pieces at the file's end together, under the
// stamp of the last of them. It takes only those of earlier turns: all of these have
// committed, so that no write can come to stand between them.
func (f *Files) merge(ctx context.Context, run *host.Run, seen *state) ([]store.Op, error) {
	settled := seen.pieces
	for len(settled) > 0 && settled[len(settled)-1].Turn >= run.Turn {
		settled = settled[:len(settled)-1]
	}
	from, size := len(settled), int64(0)
	for from > 0 && size+settled[from-1].Size <= mergeSize {
		from--
		size += settled[from].Size
	}
	merging := settled[from:]
	if len(merging) < mergeFrom {
		return nil, nil
	}
	data, err := f.section(ctx, run, &state{path: seen.path, pieces: merging, size: size}, 0, size)
	if err != nil {
		return nil, err
	}
	first, last := merging[0], merging[len(merging)-1]
	merged := record{Op: first.Op, Size: size, Turn: last.Turn, Modified: last.Modified, stamp: last.stamp}
	writes := int64(0)
	for _, r := range merging {
		writes += max(1, r.Writes)
	}
	if merged.Op == opReplace {
		merged.Version = first.Version + writes - 1
	} else {
		merged.Writes = writes
	}
	ops, err := f.store(ctx, run, seen.path, &merged, data)
	return append(forget(run, seen.path, merging[:len(merging)-1]), ops...), err
}
