package journal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/store"
)

// ImportOptions say what becomes of an imported file.
type ImportOptions struct {
	Session string // id of the new session, which nobody may have yet
	Owner   string
	// Dir is where a file that cannot be read twice is kept meanwhile, encrypted; empty:
	// the system's folder for such files.
	Dir string
	// Entry, when set, is called with every entry in order, and its payload, nil for none.
	// It may change the entry's body, such as the agent and module that an open entry names;
	// an error ends the import. What a file says of callers and labels is the word of
	// whoever made it.
	Entry func(e *host.Entry, payload []byte) error
	// Ops, when set, is called once all entries are there and returns what is written
	// together with what makes the session visible.
	Ops func(Summary) ([]store.Op, error)
}

// Import makes a new session of a file that Export wrote, with the entries' numbers,
// times, turns and paths, and payloads sealed under a key of its own. The file is checked
// to its end before anything of it is written; the session is there whole or not at all.
// Its entry open names it and, as parent, the file's root; its epoch is above all in the
// file, so that no idempotency key is used again.
func (j *Journals) Import(ctx context.Context, tenant string, r io.Reader, o ImportOptions) (Summary, error) {
	src, done, err := twice(r, o.Dir)
	if err != nil {
		return Summary{}, fmt.Errorf("import session %s: %w", o.Session, err)
	}
	defer done()
	sum, h, err := survey(src, func(*fileEntry) error { return ctx.Err() })
	if err == nil {
		err = src.rewind()
	}
	if errors.Is(err, errFile) {
		return Summary{}, host.Errorf(host.ErrInvalid, "import session %s: %w; export it again", o.Session, err)
	}
	if err != nil {
		return Summary{}, fmt.Errorf("import session %s: %w", o.Session, err)
	}
	im := &importing{j: j, tenant: tenant, opt: o, root: sum.Root}
	return im.run(ctx, src, h)
}

// importing is an import whose file was found good.
type importing struct {
	j      *Journals
	tenant string
	opt    ImportOptions
	root   string
	log    *Log
	open   host.Open
}

// staged is the mark of an import that has not ended.
type staged struct {
	Tenant  string `json:"tenant"`
	Session string `json:"session"`
}

// run claims the id, writes everything and ends the import, or removes what it wrote. The
// mark is written with the claim and removed with the end, so that it tells Tidy of every
// import that a crash cut off.
func (im *importing) run(ctx context.Context, src io.Reader, h fileHead) (Summary, error) {
	mark, err := json.Marshal(staged{im.tenant, im.opt.Session})
	if err != nil {
		return Summary{}, err
	}
	id := key('i', im.tenant, im.opt.Session)
	log, wrapped, err := im.j.begin(ctx, im.tenant, im.opt.Session, h.HashKey, store.Op{Key: id, Value: mark})
	if errors.Is(err, ErrFenced) {
		return Summary{}, host.Errorf(host.ErrConflict, "import session %s: there is one with this id", im.opt.Session)
	}
	if err != nil {
		return Summary{}, err
	}
	im.log, log.observer = log, nil
	sum, err := im.fill(ctx, src)
	if err == nil {
		err = im.finish(ctx, sum, wrapped)
	}
	if err != nil {
		return Summary{}, errors.Join(err, im.j.discard(context.WithoutCancel(ctx), staged{im.tenant, im.opt.Session}))
	}
	im.j.keys.remember(im.tenant, im.opt.Session, log.domain)
	return sum, nil
}

// fill writes the entries, which nobody sees as long as the session has no head.
func (im *importing) fill(ctx context.Context, src io.Reader) (Summary, error) {
	sum, _, err := survey(src, func(f *fileEntry) error { return im.entry(ctx, f) })
	if err == nil && sum.Root != im.root {
		err = fmt.Errorf("%w: it changed while it was read", errFile)
	}
	if err != nil {
		return Summary{}, fmt.Errorf("import session %s: %w", im.opt.Session, err)
	}
	sum.Open = im.open
	return sum, im.log.Commit(ctx)
}

// entry writes one entry, and all that wait once these are enough for a batch.
func (im *importing) entry(ctx context.Context, f *fileEntry) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	e, payload := f.entry(), f.payload()
	if e.Kind == host.EntryOpen {
		if err := im.adopt(&e); err != nil {
			return err
		}
	}
	if im.opt.Entry != nil {
		if err := im.opt.Entry(&e, payload); err != nil {
			return err
		}
	}
	if e.Kind == host.EntryOpen {
		im.open = host.Open{}
		if err := json.Unmarshal(e.Body, &im.open); err != nil {
			return err
		}
	}
	if err := im.log.restore(ctx, e, payload); err != nil {
		return err
	}
	if im.log.Waiting() < store.MaxBatch/4 {
		return nil
	}
	return im.log.Commit(ctx)
}

// adopt makes an open entry that of the new session.
func (im *importing) adopt(e *host.Entry) error {
	var o host.Open
	if err := json.Unmarshal(e.Body, &o); err != nil {
		return fmt.Errorf("%w: %w", errFile, err)
	}
	o.Parent, o.At = "", 0
	o.Session.ID, o.Session.Tenant, o.Session.Owner = im.opt.Session, im.tenant, im.opt.Owner
	o.Session.Parent, o.Session.At = im.root, 0
	var err error
	e.Body, err = json.Marshal(o)
	return err
}

// finish writes the head and the key, which make the session visible.
func (im *importing) finish(ctx context.Context, sum Summary, wrapped store.Op) error {
	raw, err := json.Marshal(head{Epoch: sum.Epoch + 1, Sparse: true})
	if err != nil {
		return err
	}
	var ops []store.Op
	if im.opt.Ops != nil {
		if ops, err = im.opt.Ops(sum); err != nil {
			return err
		}
	}
	ops = append(ops, wrapped, store.Op{Key: key('h', im.tenant, im.opt.Session), Value: raw}, store.Op{Key: key('i', im.tenant, im.opt.Session)})
	_, err = im.j.store.Commit(context.WithoutCancel(ctx), store.Batch{Ops: ops, Conds: []store.Cond{im.log.cond}})
	return err
}

// restore appends an entry that has its number and time. It begins no new numbers: the log
// of an import ends with it.
func (l *Log) restore(ctx context.Context, e host.Entry, payload []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed != nil {
		return l.failed
	}
	var ops []store.Op
	var parts []part
	if payload != nil {
		var err error
		if ops, parts, err = l.attach(ctx, &e, payload); err != nil {
			return err
		}
	}
	return l.hold(e, parts, ops)
}

// Tidy removes what is left of imports that a crash ended. No import may be under way.
func (j *Journals) Tidy(ctx context.Context) error {
	marks, err := j.scan(ctx, store.Query{Prefix: []byte("i/")})
	for _, m := range marks {
		var s staged
		if err := json.Unmarshal(m.Value, &s); err != nil {
			return fmt.Errorf("%w: mark %q of an import: %w", errCodec, m.Key, err)
		}
		if err := j.discard(ctx, s); err != nil {
			return err
		}
	}
	return err
}

// discard removes what an import has written, its mark last, so that a crash meanwhile
// leaves the rest to Tidy. It takes several batches: nobody sees the session.
func (j *Journals) discard(ctx context.Context, s staged) error {
	for _, prefix := range append(Prefixes(s.Tenant, s.Session), key('i', s.Tenant, s.Session)) {
		q := store.Query{Prefix: prefix, KeysOnly: true, Limit: 1000}
		for {
			items, err := j.scan(ctx, q)
			if err != nil || len(items) == 0 {
				if err != nil {
					return err
				}
				break
			}
			var ops []store.Op
			for _, item := range items {
				ops = append(ops, store.Op{Key: item.Key})
			}
			if _, err := j.store.Commit(ctx, store.Batch{Ops: ops}); err != nil {
				return err
			}
		}
	}
	return nil
}

func (j *Journals) scan(ctx context.Context, q store.Query) (out []store.Item, err error) {
	err = j.store.View(ctx, func(tx store.Tx) error {
		for item, err := range tx.Scan(q) {
			if err != nil {
				return err
			}
			out = append(out, item)
		}
		return nil
	})
	return out, err
}
