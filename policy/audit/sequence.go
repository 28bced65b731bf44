package audit

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/vespiary/vespiary/host/store"
)

// Run makes durable what Later keeps, brings records into the tree and signs it, every
// second and once more after ctx ended. What the store refuses stays for the next time.
func (l *Log) Run(ctx context.Context) {
	ticker := time.NewTicker(l.opt.Every)
	defer ticker.Stop()
	last := ""
	for {
		err := l.Integrate(ctx)
		if err != nil && ctx.Err() == nil && err.Error() != last {
			l.opt.Log.ErrorContext(ctx, "the audit does not get on; it will be tried again", "error", err)
		}
		if last = ""; err != nil {
			last = err.Error()
		}
		select {
		case <-ticker.C:
		case <-l.wake:
		case <-ctx.Done():
			l.finish(ctx)
			return
		}
	}
}

// finish is the last work of a log that ends, for which it has a little time.
func (l *Log) finish(ctx context.Context) {
	const patience = 10 * time.Second
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	if err := l.Integrate(ctx); err != nil {
		l.opt.Log.ErrorContext(ctx, "the audit ends with work undone; what is durable comes into its tree at the next start", "error", err)
	}
}

// Integrate does what Run does each second: when it returns nil, every record that was noted
// or handed over before is durable, and with a signer also in the signed tree.
func (l *Log) Integrate(ctx context.Context) error {
	l.sequencing.Lock() // another one may be writing what was handed over before
	defer l.sequencing.Unlock()
	l.dismiss(ctx)
	err := l.flushAll(ctx)
	if l.opt.Signer == nil {
		return err
	}
	for tenant := ""; ; {
		next, e := l.nextTenant(ctx, tenant)
		if e != nil || next == "" {
			return errors.Join(err, e)
		}
		tenant = next
		err = errors.Join(err, l.integrate(ctx, tenant))
	}
}

// flushAll writes what waits, of several chains at a time so that they share the store's
// commits.
func (l *Log) flushAll(ctx context.Context) error {
	const parallel = 32
	l.mu.Lock()
	chains := l.dirty
	l.dirty = map[*chain]struct{}{}
	l.mu.Unlock()
	var wg sync.WaitGroup
	var mu sync.Mutex
	var failed error
	slots := make(chan struct{}, parallel)
	for c := range chains {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := l.drain(ctx, c); err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed = err
			}
		})
	}
	wg.Wait()
	return failed // one of them will do
}

// drain writes all that waits for a chain. After an error the chain stays dirty.
func (l *Log) drain(ctx context.Context, c *chain) error {
	err := c.lock(ctx)
	if err == nil {
		defer c.unlock()
		for err == nil && c.waits() {
			err = l.flush(ctx, c)
		}
	}
	if err != nil {
		l.mu.Lock()
		l.dirty[c] = struct{}{}
		l.mu.Unlock()
	}
	return err
}

// nextTenant returns the first tenant after another one that has records in the queue, or "".
func (l *Log) nextTenant(ctx context.Context, after string) (tenant string, err error) {
	q := store.Query{Prefix: []byte("audit/q/"), KeysOnly: true, Limit: 1}
	if after != "" {
		q.From = append([]byte("audit/q/"+after), '/'+1)
	}
	err = l.opt.Store.View(ctx, func(tx store.Tx) error {
		for item, err := range tx.Scan(q) {
			if err != nil {
				return err
			}
			name, _, _ := bytes.Cut(item.Key[len(q.Prefix):], []byte("/"))
			tenant = string(name)
		}
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("audit: find the tenants with new records: %w", err)
	}
	return tenant, nil
}

func (l *Log) integrate(ctx context.Context, tenant string) error {
	for {
		n, err := l.sequence(ctx, tenant)
		if errors.Is(err, store.ErrConflict) {
			continue // another process was faster
		}
		if err != nil {
			return fmt.Errorf("audit: extend the tree of %s: %w", tenant, err)
		}
		if n < maxLeaves {
			return nil
		}
	}
}

// maxLeaves is how many leaves a commit adds: far below store.MaxBatch with the longest names.
const maxLeaves = 2048

// sequence moves records from the queue into the tree and signs it, in one commit.
func (l *Log) sequence(ctx context.Context, tenant string) (moved int, err error) {
	var b store.Batch
	var size int64
	err = l.opt.Store.View(ctx, func(tx store.Tx) error {
		t, revision, err := l.signedTree(tx, tenant)
		if err != nil {
			return err
		}
		size = t.size
		if b.Ops, err = extend(t); err != nil || t.size == size {
			return err
		}
		moved, size = int(t.size-size), t.size
		op, err := l.sign(t)
		b.Ops = append(b.Ops, op)
		b.Conds = []store.Cond{{Key: op.Key, Revision: revision}}
		return err
	})
	if err != nil || moved == 0 {
		return 0, err
	}
	// Its outcome must be known, or the next one would not know what it extends.
	if _, err := l.opt.Store.Commit(context.WithoutCancel(ctx), b); err != nil {
		return 0, err
	}
	l.grown[tenant] = size
	return moved, nil
}

// signedTree opens the tree at its newest checkpoint, if that is what the key signed: what
// somebody else has put there must not become the log's by its signature.
func (l *Log) signedTree(tx store.Tx, tenant string) (*tree, store.Revision, error) {
	c, revision, err := l.newest(tx, tenant)
	if err != nil {
		return nil, 0, err
	}
	if was := l.grown[tenant]; c.size < was {
		return nil, 0, fmt.Errorf("%w: it had %d leaves and now has %d", ErrTampered, was, c.size)
	}
	t := openTree(tx, tenant, c.size)
	root, err := t.root()
	switch {
	case errors.Is(err, errTreeHash) || err == nil && c.size > 0 && root != c.root:
		return nil, 0, fmt.Errorf("%w: its hashes are not those that its checkpoint of %d leaves was signed over", ErrTampered, c.size)
	case err != nil:
		return nil, 0, err
	}
	return t, revision, nil
}

// ErrTampered tells that somebody else changed what the log keeps. It signs nothing more
// for that tenant until the store is as it was; Verify names what differs.
var ErrTampered = errors.New("the tree was tampered with, see audit verify")

// newest reads and checks the newest checkpoint. Without one the tree is empty.
func (l *Log) newest(tx store.Tx, tenant string) (checkpoint, store.Revision, error) {
	item, err := tx.Get(checkpointKey(tenant))
	if errors.Is(err, store.ErrNotFound) {
		for _, err := range tx.Scan(store.Query{Prefix: prefix(leaves, tenant), KeysOnly: true, Limit: 1}) {
			if err != nil {
				return checkpoint{}, 0, err
			}
			return checkpoint{}, 0, fmt.Errorf("%w: it has leaves and no checkpoint", ErrTampered)
		}
		return checkpoint{origin: l.origin(tenant)}, 0, nil
	}
	if err != nil {
		return checkpoint{}, 0, err
	}
	c, err := openCheckpoint(item.Value, l.opt.Signer.PublicKey())
	if err == nil && c.origin != l.origin(tenant) {
		err = fmt.Errorf("it is the checkpoint of %s", c.origin)
	}
	if err != nil {
		return checkpoint{}, 0, fmt.Errorf("%w: its checkpoint cannot be trusted: %w; if this log signed with another key before, put that back", ErrTampered, err)
	}
	return c, item.Revision, nil
}

// extend adds the first records of the queue to the tree and returns the ops that do so.
func extend(t *tree) ([]store.Op, error) {
	var ops []store.Op
	from := prefix(queue, t.tenant)
	for item, err := range t.tx.Scan(store.Query{Prefix: from, Limit: maxLeaves}) {
		if err != nil {
			return nil, err
		}
		p, err := parsePlace(item.Key[len(from):])
		if err != nil || len(item.Value) != len(leaf{}.hash) {
			return nil, fmt.Errorf("%w: %q in its queue is no record", ErrTampered, item.Key)
		}
		f := leaf{[32]byte(item.Value), p}
		ops = append(ops,
			store.Op{Key: numberKey(leaves, t.tenant, t.size), Value: f.append(nil)},
			store.Op{Key: p.key(index, t.tenant), Value: binary.BigEndian.AppendUint64(nil, uint64(t.size))}, //nolint:gosec // not negative
			store.Op{Key: item.Key})
		if err := t.add(f.treeHash()); err != nil {
			return nil, err
		}
	}
	return append(ops, t.ops()...), nil
}

// sign returns the op that makes the tree as it now is the newest one.
func (l *Log) sign(t *tree) (store.Op, error) {
	root, err := t.root()
	if err != nil {
		return store.Op{}, err
	}
	signed, err := checkpoint{l.origin(t.tenant), t.size, root}.sign(l.opt.Signer)
	return store.Op{Key: checkpointKey(t.tenant), Value: signed}, err
}
