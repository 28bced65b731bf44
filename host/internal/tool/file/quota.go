package file

import (
	"context"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/tool/request"
	"github.com/vespiary/vespiary/host/store"
)

// writer knows what a session's workspace will hold once all writes of the turn have
// committed. It serves the quota and the sizes that calls report, while the store
// still lags behind; nothing that is stored depends on it.
type writer struct {
	turn  chan struct{} // holds a token while a write is under way
	root  *host.Run     // the activation of the agent that the rest belongs to
	bytes int64
	files int
	paths map[string]extent // written by this activation
}

// extent is a file's part of the quota.
type extent struct {
	exists  bool
	size    int64
	version int64
}

// maxWriters is how many sessions are remembered that do not write just now.
const maxWriters = 1024

// forSession waits for the session's other writes to be performed, and returns what
// is known of its workspace.
func (f *Files) forSession(ctx context.Context, c *host.Call) (w *writer, release func(), err error) {
	w = f.writer(c.Run.Tenant + "/" + c.Run.Session)
	select {
	case w.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, context.Cause(ctx)
	}
	release = func() { <-w.turn }
	// What the turn's earlier calls wrote is to be seen, and a call of a turn that is
	// over must not write beside the next one.
	if err = c.Settle(ctx); err == nil {
		err = context.Cause(ctx)
	}
	if root := rootOf(c.Run); err == nil && w.root != root {
		// The writes of another activation have committed, or never will.
		err = f.count(ctx, c.Run, w)
		w.root, w.paths = root, map[string]extent{}
	}
	if err != nil {
		w.root = nil
		release()
		return nil, nil, err
	}
	return w, release, nil
}

func (f *Files) writer(session string) *writer {
	f.mu.Lock()
	defer f.mu.Unlock()
	w := f.sessions[session]
	if w == nil {
		f.evict()
		w = &writer{turn: make(chan struct{}, 1)}
		f.sessions[session] = w
	}
	return w
}

// evict forgets sessions that do not write just now, when there are too many.
func (f *Files) evict() {
	if len(f.sessions) < maxWriters {
		return
	}
	for session, w := range f.sessions {
		if len(w.turn) == 0 {
			delete(f.sessions, session)
		}
	}
}

func rootOf(run *host.Run) *host.Run {
	for run.Parent != nil {
		run = run.Parent
	}
	return run
}

// count adds up what the store holds.
func (f *Files) count(ctx context.Context, run *host.Run, w *writer) error {
	w.bytes, w.files = 0, 0
	return f.opt.Store.View(ctx, func(tx store.Tx) error {
		return scan(tx, run, workspaceKey(run.Tenant, run.Session), func(s *state) bool {
			w.bytes += s.size
			w.files++
			return true
		})
	})
}

func (w *writer) touched(path string) bool {
	_, ok := w.paths[path]
	return ok
}

// before is the file as the writes performed so far leave it.
func (w *writer) before(seen *state) extent {
	if e, ok := w.paths[seen.path]; ok {
		return e
	}
	return extent{exists: seen.exists, size: seen.size, version: seen.version}
}

func (w *writer) wrote(path string, before, after extent) {
	w.bytes += after.size - before.size
	if before.exists {
		w.files--
	}
	if after.exists {
		w.files++
	}
	w.paths[path] = after
}

// allow checks the limits for a write that makes after of before.
func (f *Files) allow(c *host.Call, w *writer, path string, before, after extent) error {
	switch {
	case after.size > f.opt.MaxFile:
		return request.Invalid(c, "%s would have %d bytes, over the limit of %d for one file", path, after.size, f.opt.MaxFile)
	case w.bytes+after.size-before.size > f.opt.MaxBytes:
		return full(c, "the workspace would hold more than its %d bytes; remove files first", f.opt.MaxBytes)
	case !before.exists && w.files >= f.opt.MaxFiles:
		return full(c, "the workspace holds %d files, as many as it may; remove some first", w.files)
	}
	return nil
}

func full(c *host.Call, format string, args ...any) error {
	return request.Failed(c, abi.CodeBudgetExceeded, format, args...)
}
