package audit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vespiary/vespiary/host/store"
)

// maxChains is how many chains the log keeps the ends of in memory, besides those in use.
const maxChains = 4096

type chainKey struct{ tenant, chain string }

// chain is the end of a chain, and what is to be added to it.
type chain struct {
	key   chainKey
	sem   chan struct{} // holds a token while somebody writes
	stale atomic.Bool   // head must be read again
	// unsettled says that the store may not have the newest record yet, or have one that is
	// not known: the chain must not be forgotten.
	unsettled atomic.Bool

	refs int // users; of Log.mu

	// Of whoever holds sem.
	head    head
	loaded  bool
	unknown bool // a commit failed: it may have written all the same

	mu      sync.Mutex
	waiting []*entry
}

// head is the newest record of a chain.
type head struct {
	n    uint64
	hash string
	time time.Time
}

// acquire returns the one chain of a name, until release.
func (l *Log) acquire(tenant, name string) *chain {
	key := chainKey{tenant, name}
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.chains[key]
	if c == nil {
		if c = cmp.Or(l.older[key], l.leaving[key]); c == nil {
			c = &chain{key: key, sem: make(chan struct{}, 1)}
		}
		delete(l.leaving, key)
		l.rotate()
		l.chains[key] = c
	}
	c.refs++
	return c
}

// rotate lets go of the chains that nobody used since it last did, so that the log knows
// between maxChains/2 and maxChains of those used last. One in use stays: there must not
// be two of a name.
func (l *Log) rotate() {
	if len(l.chains) < maxChains/2 {
		return
	}
	next := map[chainKey]*chain{}
	for key, c := range l.older {
		switch {
		case l.chains[key] != nil:
		case c.refs > 0:
			next[key] = c
		case c.unsettled.Load():
			l.leaving[key] = c
		}
	}
	l.older, l.chains = l.chains, next
}

// dismiss lets go of the chains that nobody uses any more and whose newest record is durable
// by now.
func (l *Log) dismiss(ctx context.Context) {
	l.mu.Lock()
	leaving := slices.Collect(maps.Values(l.leaving))
	l.mu.Unlock()
	for _, c := range leaving {
		if !l.settled(ctx, c) {
			continue
		}
		l.mu.Lock()
		if c.refs == 0 && !c.unsettled.Load() {
			delete(l.leaving, c.key) // where it is not any more if it was used
		}
		l.mu.Unlock()
	}
}

// settled reports whether the store has all of a chain that nobody writes to now.
func (l *Log) settled(ctx context.Context, c *chain) bool {
	select {
	case c.sem <- struct{}{}:
		defer c.unlock()
	default:
		return false
	}
	return l.load(ctx, c) == nil && l.durable(ctx, c) == nil
}

func (l *Log) release(c *chain) {
	l.mu.Lock()
	c.refs--
	l.mu.Unlock()
}

func (c *chain) lock(ctx context.Context) error {
	select {
	case c.sem <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (c *chain) unlock() { <-c.sem }

func (c *chain) push(e *entry) {
	c.mu.Lock()
	c.waiting = append(c.waiting, e)
	c.mu.Unlock()
}

func (c *chain) waits() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.waiting) > 0
}

// withdraw takes an entry back, unless somebody is writing it.
func (c *chain) withdraw(e *entry) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.Index(c.waiting, e)
	if i >= 0 {
		c.waiting = slices.Delete(c.waiting, i, i+1)
	}
	return i >= 0
}

// Limits of what one commit adds to a chain.
const (
	maxGroup      = 512
	maxGroupBytes = 4 << 20
)

// take returns what waits first, as far as it fits in one commit.
func (c *chain) take() []*entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, size := 0, 0
	for n < min(len(c.waiting), maxGroup) && (n == 0 || size+c.waiting[n].size <= maxGroupBytes) {
		size += c.waiting[n].size
		n++
	}
	group := c.waiting[:n:n]
	if c.waiting = c.waiting[n:]; len(c.waiting) == 0 {
		c.waiting = nil
	}
	return group
}

// putBack returns entries to where take found them.
func (c *chain) putBack(group []*entry) {
	c.mu.Lock()
	c.waiting = append(group, c.waiting...)
	c.mu.Unlock()
}

// flush writes what waits for the holder of the chain, as far as it fits in one commit. ctx
// does not end it: the outcome would be unknown to the others.
func (l *Log) flush(ctx context.Context, c *chain) error {
	group := c.take()
	if len(group) == 0 {
		return nil
	}
	ctx = context.WithoutCancel(ctx)
	err := l.writeGroup(ctx, c, group)
	l.settle(c, group, err)
	return err
}

// writeGroup numbers the records of a group and commits them.
func (l *Log) writeGroup(ctx context.Context, c *chain, group []*entry) error {
	if err := l.load(ctx, c); err != nil {
		return err
	}
	if err := l.durable(ctx, c); err != nil {
		return err
	}
	ops := make([]store.Op, 0, 2*len(group))
	end := c.head
	for _, e := range group {
		ops = l.number(ops, &end, e.r)
	}
	err := c.write(end, ops, func(ops ...store.Op) error {
		_, err := l.opt.Store.Commit(ctx, store.Batch{Ops: ops})
		return err
	})
	if err == nil {
		c.unsettled.Store(false)
	}
	return err
}

// settle tells those who wait. What nobody waits for stays after an error.
func (l *Log) settle(c *chain, group []*entry, err error) {
	var left []*entry
	written := 0
	for _, e := range group {
		switch {
		case e.done != nil:
			e.done <- err
		case err != nil:
			left = append(left, e)
		default:
			written += e.size
			l.release(c)
		}
	}
	c.putBack(left)
	l.mu.Lock()
	l.waiting -= written
	l.mu.Unlock()
}

// write commits ops that move the chain's end.
func (c *chain) write(end head, ops []store.Op, commit func(...store.Op) error) error {
	c.loaded, c.unknown = false, true // also when commit panics
	c.unsettled.Store(true)
	if err := commit(ops...); err != nil {
		return err
	}
	c.head, c.loaded, c.unknown = end, true, false
	return nil
}

// durable makes sure that a record which the log writes itself does not get ahead of one
// that somebody else is still to write.
func (l *Log) durable(ctx context.Context, c *chain) error {
	if !c.unsettled.Load() {
		return nil
	}
	err := l.opt.Store.View(ctx, func(tx store.Tx) error {
		_, err := tx.Get(recordKey(c.key.tenant, c.key.chain, c.head.n))
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("audit: record %s, the last of its chain, is not durable yet; write the next one with what writes it", recordID(c.key.chain, c.head.n))
	}
	if err != nil {
		return fmt.Errorf("audit: look for the end of chain %s: %w", c.key.chain, err)
	}
	c.unsettled.Store(false)
	return nil
}
