package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/vespiary/vespiary/host/store"
)

// Version is what a name led to from Time on.
type Version struct {
	Name     string    `json:"name"`
	Number   int       `json:"version"` // counts from 1 for each name
	Digest   Digest    `json:"digest"`
	Previous Digest    `json:"previous,omitempty"`
	By       string    `json:"by,omitempty"` // who set it
	Time     time.Time `json:"time"`
	Size     int64     `json:"size"` // bytes
}

// names keeps two keys for each version: name/<name> holds the newest, and
// version/<name>/<number> all.
type names struct {
	store  store.Store
	prefix string
	now    func() time.Time
}

var errNoNames = fmt.Errorf("%w: this registry keeps no names; use the digest", ErrNotFound)

// attempts bounds how often set starts again after others set the same name.
const attempts = 16

func (n names) set(ctx context.Context, v Version) error {
	if n.store == nil {
		return errNoNames
	}
	var err error
	for range attempts {
		if err = n.trySet(ctx, v); !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
	return err
}

func (n names) trySet(ctx context.Context, v Version) error {
	old, revision, err := n.current(ctx, v.Name)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	if old.Digest == v.Digest {
		return nil
	}
	v.Number, v.Previous, v.Time = old.Number+1, old.Digest, n.now().UTC()
	value, err := json.Marshal(v)
	if err != nil {
		return err
	}
	key := n.nameKey(v.Name)
	_, err = n.store.Commit(ctx, store.Batch{
		Ops:   []store.Op{{Key: key, Value: value}, {Key: n.versionKey(v), Value: value}},
		Conds: []store.Cond{{Key: key, Revision: revision}},
	})
	return err
}

// current returns the newest version of name with its revision. A name that leads
// nowhere is ErrNotFound, and revision 0.
func (n names) current(ctx context.Context, name string) (v Version, revision store.Revision, err error) {
	if n.store == nil {
		return v, 0, errNoNames
	}
	err = n.store.View(ctx, func(tx store.Tx) error {
		item, err := tx.Get(n.nameKey(name))
		if err != nil {
			return err
		}
		revision = item.Revision
		return json.Unmarshal(item.Value, &v)
	})
	if errors.Is(err, store.ErrNotFound) {
		return v, 0, fmt.Errorf("%w; install it under this name", ErrNotFound)
	}
	return v, revision, err
}

func (n names) list(ctx context.Context, under string) ([]Version, error) {
	if n.store == nil {
		return nil, errNoNames
	}
	var out []Version
	err := n.store.View(ctx, func(tx store.Tx) error {
		for item, err := range tx.Scan(store.Query{Prefix: []byte(n.prefix + under)}) {
			if err != nil {
				return err
			}
			var v Version
			if err := json.Unmarshal(item.Value, &v); err != nil {
				return fmt.Errorf("read %s: %w", item.Key, err)
			}
			out = append(out, v)
		}
		return nil
	})
	return out, err
}

func (n names) nameKey(name string) []byte { return []byte(n.prefix + "name/" + name) }

// versionKey orders versions by number.
func (n names) versionKey(v Version) []byte {
	return fmt.Appendf(nil, "%sversion/%s/%08x", n.prefix, v.Name, v.Number)
}
