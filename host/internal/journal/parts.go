package journal

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/store"
)

// nameSize is the length of a keyed digest, in bytes.
const nameSize = 32

// name is the keyed digest of a payload or a part.
type name [nameSize]byte

func (n name) String() string { return base64.RawURLEncoding.EncodeToString(n[:]) }

// maxKnown bounds the memory for the names of parts that need not be looked up.
const maxKnown = 1 << 16

// part is a piece of a payload that was not known to be stored.
type part struct {
	name    name
	content []byte
}

// form returns the stored form of a payload, and the parts of it that are to be written
// with it.
func (l *Log) form(ctx context.Context, payload []byte) ([]byte, []part, error) {
	if len(payload) < shareMin {
		return l.keys.packer.whole(payload), nil, nil
	}
	var parts []part
	// A part that occurs twice in one payload is written once.
	met := map[name]bool{}
	c := cutter{raw: payload, part: func(kind byte, content []byte) name {
		n := l.domain.name(kindOf(kind), content)
		if !l.known[n] && !met[n] {
			met[n] = true
			parts = append(parts, part{n, slices.Clone(content)})
		}
		return n
	}}
	cuttings := c.cut()
	if len(cuttings) == 1 && cuttings[0].kind == portionLiteral {
		return l.keys.packer.whole(payload), nil, nil
	}
	recipe := appendRecipe(nil, payload, cuttings)
	missing, err := l.missing(ctx, parts)
	return l.keys.packer.pack(recipe, formPackedRecipe, formRecipe), missing, err
}

// missing returns those of the parts that are not in the store and remembers the others.
// A part is written together with the first entry that needs it, so one that is there can
// be relied on.
func (l *Log) missing(ctx context.Context, parts []part) ([]part, error) {
	if len(parts) == 0 {
		return nil, nil
	}
	var out []part
	err := l.store.View(ctx, func(tx store.Tx) error {
		for _, p := range parts {
			_, err := tx.Get(chunkKey(l.tenant, l.session, p.name.String(), 0))
			switch {
			case errors.Is(err, store.ErrNotFound):
				out = append(out, p)
			case err != nil:
				return err
			default:
				l.know(p.name)
			}
		}
		return nil
	})
	return out, err
}

// know remembers that a part is stored, or is written before what comes next.
func (l *Log) know(n name) {
	if len(l.known) >= maxKnown {
		clear(l.known)
	}
	l.known[n] = true
}

// opsOf returns the ops that write parts. Their form always begins with its byte, whatever
// the content begins with, because a node's first byte is one of the forms.
func (l *Log) opsOf(parts []part) []store.Op {
	var ops []store.Op
	for _, p := range parts {
		ops = append(ops, l.domain.parts(l.tenant, l.session, p.name.String(), l.keys.packer.pack(p.content, formPacked, formVerbatim))...)
	}
	return ops
}

// shelf reads the parts of one session.
type shelf struct {
	keys    *Keys
	domain  *domain
	tx      store.Tx
	tenant  string
	session string
	load    func(name) ([]byte, error) // a part's content
}

// shelve calls fn with the parts of a session.
func (k *Keys) shelve(ctx context.Context, tenant, session string, fn func(*shelf) error) error {
	d, err := k.get(ctx, tenant, session)
	if err != nil {
		return err
	}
	return k.store.View(ctx, func(tx store.Tx) error {
		s := &shelf{keys: k, domain: d, tx: tx, tenant: tenant, session: session}
		s.load = s.part
		return fn(s)
	})
}

// part reads a part from the store. That the store holds it under its own name is
// authenticated; that the name is a digest of it, Verify checks.
func (s *shelf) part(n name) ([]byte, error) {
	stored, err := s.chunked(n.String())
	if err != nil {
		return nil, err
	}
	content, _, err := s.keys.packer.unpack(stored)
	return content, err
}

// portion is one step of a recipe: a length, and bytes or a name.
type portion struct {
	kind    byte
	size    int
	literal []byte
	name    name
}

// portions takes a recipe apart.
func portions(recipe []byte) ([]portion, error) {
	var out []portion
	for r := (reader{b: recipe}); len(r.b) > 0; {
		head := r.uvarint()
		if head>>2 > host.MaxPayload {
			r.bad = true
		}
		p := portion{kind: byte(head & 3), size: int(head >> 2)}
		if p.kind == portionLiteral {
			p.literal = r.take(head >> 2)
		} else {
			copy(p.name[:], r.take(nameSize))
		}
		if r.bad {
			return nil, fmt.Errorf("%w: a recipe does not fit its length", errCodec)
		}
		out = append(out, p)
	}
	return out, nil
}

// join appends what a recipe is of. Its parts are authenticated, so its bounds only guard
// against a fault of this program.
func (s *shelf) join(out, recipe []byte, depth int) ([]byte, error) {
	all, err := portions(recipe)
	if err == nil && depth > maxDepth {
		err = fmt.Errorf("%w: recipes lie %d deep", errCodec, depth)
	}
	if err != nil {
		return nil, err
	}
	for _, p := range all {
		was := len(out)
		if out, err = s.portion(out, p, depth); err != nil {
			return nil, err
		}
		if len(out)-was != p.size || len(out) > host.MaxPayload {
			return nil, fmt.Errorf("%w: part %s has %d bytes, not %d", errCodec, p.name, len(out)-was, p.size)
		}
	}
	return out, nil
}

func (s *shelf) portion(out []byte, p portion, depth int) ([]byte, error) {
	switch p.kind {
	case portionLiteral:
		return append(out, p.literal...), nil
	case portionChain:
		return s.chain(out, p, depth)
	}
	content, err := s.load(p.name)
	if p.kind == portionEscaped {
		content = escape(content)
	}
	return append(out, content...), err
}

// chain appends the elements of a chain's nodes, which are found from the last one back.
func (s *shelf) chain(out []byte, p portion, depth int) ([]byte, error) {
	var recipes [][]byte
	for n := (&p.name); n != nil; {
		content, err := s.load(*n)
		if err != nil {
			return nil, err
		}
		before, recipe, err := nodeOf(content)
		if err == nil && len(recipes) > p.size { // each node is of one byte or more
			err = fmt.Errorf("%w: chain %s is too long", errCodec, p.name)
		}
		if err != nil {
			return nil, err
		}
		recipes, n = append(recipes, recipe), before
	}
	var err error
	for _, recipe := range slices.Backward(recipes) {
		if out, err = s.join(out, recipe, depth+1); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// nodeOf returns the name of the node before, nil for none, and the recipe.
func nodeOf(content []byte) (before *name, recipe []byte, err error) {
	switch {
	case len(content) > 1 && content[0] == firstNode:
		return nil, content[1:], nil
	case len(content) > 1+nameSize && content[0] == laterNode:
		n := name(content[1 : 1+nameSize])
		return &n, content[1+nameSize:], nil
	}
	return nil, nil, fmt.Errorf("%w: a chain has a node that is none", errCodec)
}
