package journal

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/vespiary/vespiary/host"
)

// Verify reads everything that a session consists of, what it shares with its ancestors
// and what a revert hid included: that no entry is missing, damaged or in another's
// place, that every link of the chain follows the one before, and that every payload is
// what its digest names. Payloads whose key was destroyed are counted. The error names
// the first entry that is not what was written; what was found before it is returned too.
//
// The chain tells of a change only to those who know one of its later links: they can
// keep Verified.Chain elsewhere. Entries from before there was a chain are checked
// without it.
func (j *Journals) Verify(ctx context.Context, tenant, session string) (host.Verified, error) {
	v := &verifier{j: j, tenant: tenant, out: host.Verified{Session: session}, next: 1, seen: map[name]bool{}}
	err := v.walk(ctx, session, noLimit)
	if v.began {
		v.out.Chain = digestOf(v.link)
	}
	if errors.Is(err, errCodec) {
		err = host.Errorf(host.ErrInternal, "verify session %s: %w; restore the data folder from a backup", session, err)
	}
	return v.out, err
}

func digestOf(l link) string { return "sha256:" + hex.EncodeToString(l[:]) }

type verifier struct {
	j      *Journals
	tenant string
	out    host.Verified
	began  bool // there was an entry with a link
	link   link // the newest one
	next   uint64
	seen   map[name]bool // parts of the session that is walked
}

// walk checks the entries up to and including to.
func (v *verifier) walk(ctx context.Context, session string, to uint64) error {
	h, err := v.j.head(ctx, v.tenant, session)
	if err != nil {
		return notFound(session, err)
	}
	if h.Parent != "" {
		if err := v.walk(ctx, h.Parent, min(h.At, to)); err != nil {
			return err
		}
		if to <= h.At {
			return nil
		}
	}
	clear(v.seen)
	page, err := v.j.page(ctx, v.tenant, session, v.next, to)
	for ; err == nil && len(page) > 0; page, err = v.j.page(ctx, v.tenant, session, v.next, to) {
		if err := v.entries(ctx, session, h.Sparse, page); err != nil {
			return err
		}
	}
	if err == nil && to != noLimit && v.next != to+1 && !h.Sparse {
		err = fmt.Errorf("session %s, entry %d: %w: it is missing", session, v.next, errCodec)
	}
	return err
}

// entries checks a page of one session's own entries. They are told apart by their numbers
// and links alone where nothing can be decrypted any more.
func (v *verifier) entries(ctx context.Context, session string, sparse bool, page []record) error {
	check := func(s *shelf) error {
		for i := range page {
			err := v.entry(&page[i], sparse)
			if err == nil {
				err = v.payload(s, page[i].Entry)
			}
			if err != nil {
				return fmt.Errorf("session %s, entry %d: %w", session, page[i].Seq, err)
			}
		}
		return nil
	}
	err := v.j.keys.shelve(ctx, v.tenant, session, check)
	if errors.Is(err, ErrErased) {
		return check(nil)
	}
	return err
}

// entry checks an entry's place. In a sparse journal, which was imported, numbers may be
// missing: there the link tells whether an entry was removed.
func (v *verifier) entry(r *record, sparse bool) error {
	switch {
	case r.Seq != v.next && (!sparse || !r.chained):
		return fmt.Errorf("%w: entry %d before it is missing", errCodec, v.next)
	case !r.chained && v.began:
		return fmt.Errorf("%w: it has no link and the entries before it have", errCodec)
	case r.chained && !r.follows(v.link):
		return fmt.Errorf("%w: its link does not follow the entry before it", errCodec)
	}
	v.began, v.link, v.next = r.chained, r.link, r.Seq+1
	v.out.Entries++
	return nil
}

// payload decrypts an entry's payload and compares it with its digest. A recipe names its
// parts by their digests, so with each of them checked once the payload is too. s is nil
// when the key is gone.
func (v *verifier) payload(s *shelf, e host.Entry) error {
	if e.Digest == "" {
		return nil
	}
	if s == nil {
		v.out.Erased++
		return nil
	}
	form, err := s.form(e)
	if err == nil && s.domain.digest(form) != e.Digest {
		err = fmt.Errorf("%w: payload %s has another digest", errCodec, e.Digest)
	}
	if err != nil {
		return err
	}
	v.out.Read++
	if len(form) > 0 && form[0] == formConversation {
		_, err := s.conversation(form[1:])
		return err
	}
	data, recipe, err := s.keys.packer.unpack(form)
	if err != nil || !recipe {
		return err
	}
	return v.recipe(s, data, 0)
}

// recipe checks the parts that a recipe names, each one once per session.
func (v *verifier) recipe(s *shelf, recipe []byte, depth int) error {
	all, err := portions(recipe)
	if err == nil && depth > maxDepth {
		err = fmt.Errorf("%w: recipes lie %d deep", errCodec, depth)
	}
	for _, p := range all {
		if p.kind == portionLiteral {
			continue
		}
		for n := &p.name; n != nil && err == nil && !v.seen[*n]; {
			n, err = v.part(s, p.kind, *n, depth)
		}
	}
	return err
}

// part checks one part and returns the name of the node before it.
func (v *verifier) part(s *shelf, kind byte, n name, depth int) (before *name, err error) {
	content, err := s.load(n)
	if err == nil && s.domain.name(kindOf(kind), content) != n {
		err = fmt.Errorf("%w: part %s has another digest", errCodec, n)
	}
	if err != nil {
		return nil, err
	}
	v.seen[n] = true
	if kind != portionChain {
		return nil, nil
	}
	before, recipe, err := nodeOf(content)
	if err != nil {
		return nil, err
	}
	return before, v.recipe(s, recipe, depth+1)
}
