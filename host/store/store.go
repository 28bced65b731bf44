// Package store holds the words of storage: what the host asks of the engine that
// keeps its state, whichever it is. Implementations are in host/internal/store,
// and every one of them passes the suite storetest.
package store

import (
	"context"
	"errors"
	"iter"
)

// Limits on what one batch may hold, the same for every implementation.
const (
	MaxKey   = 1 << 10  // bytes
	MaxValue = 1 << 20  // bytes; larger payloads are split by the writer
	MaxBatch = 16 << 20 // bytes of keys and values together
)

// The errors that callers branch on. Others are faults of the engine.
var (
	ErrNotFound = errors.New("store: no such key")
	// ErrConflict: a precondition did not hold; nothing was written. Read again and retry.
	ErrConflict = errors.New("store: a precondition does not hold")
	// ErrFull: free space is below the watermark; nothing was written. Reads go on.
	ErrFull = errors.New("store: too little free space; free some or move the data folder")
	// ErrTooLarge: a key, value or batch is over its limit; nothing was written.
	ErrTooLarge = errors.New("store: key, value or batch is over the limit")
	// ErrClosed: the store was closed, or failed and accepts nothing more.
	ErrClosed = errors.New("store: closed")
)

// Revision numbers commits. It grows with every commit and survives restarts.
type Revision uint64

// Item is a key with its value and the revision that wrote it.
type Item struct {
	Key      []byte
	Value    []byte
	Revision Revision
}

// Op writes one key. A nil Value deletes it; an empty one is a value.
type Op struct {
	Key   []byte
	Value []byte
}

// Cond is a precondition of a batch: the key was last written by Revision. 0
// means that the key must not exist.
type Cond struct {
	Key      []byte
	Revision Revision
}

// Batch is written whole or not at all. Of two ops on one key the later wins.
type Batch struct {
	Ops   []Op
	Conds []Cond
}

// Tx is a consistent view of the store at one revision. It is valid until the
// function it was passed to returns and is not safe for concurrent use; byte
// slices it returns are the caller's to keep.
type Tx interface {
	// Get returns ErrNotFound for a key that does not exist.
	Get(key []byte) (Item, error)
	// Scan yields the items whose keys begin with Prefix, in the order of their
	// keys. It stops at the first error.
	Scan(q Query) iter.Seq2[Item, error]
}

// Query selects items. From and Reverse: the first item is the first key at or
// after From, or with Reverse the last one at or before it; an empty From begins
// at the end of the range that the direction asks for. Limit 0 means all.
type Query struct {
	Prefix   []byte
	From     []byte
	Reverse  bool
	KeysOnly bool
	Limit    int
}

// Change tells of one committed batch: the ops that touch the watched prefix.
type Change struct {
	Revision Revision
	Ops      []Op
}

// Store keeps keys in order. All methods are safe for concurrent use.
type Store interface {
	// View calls fn with a view of the newest revision.
	View(ctx context.Context, fn func(Tx) error) error
	// Commit checks the preconditions and writes the batch. When it returns nil the
	// batch is durable and every later View sees it. An error other than the ones
	// of this package leaves the outcome unknown until the store is opened again.
	// The batch must not be changed afterwards.
	Commit(ctx context.Context, b Batch) (Revision, error)
	// Watch yields the commits after it was called, in order, that touch keys with
	// the prefix, until ctx ends (the sequence ends), the watcher falls too far
	// behind, or the store closes (the last pair holds the error).
	Watch(ctx context.Context, prefix []byte) iter.Seq2[Change, error]
	// Close waits for commits under way. It is idempotent.
	Close() error
}
