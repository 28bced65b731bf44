package access

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/vespiary/vespiary/policy"
)

// sieve lets those elements of a list through that the caller may read. A service asks it
// while it fills a page; what a service did not ask about is decided when the page comes.
type sieve[T any] struct {
	ctx     context.Context //nolint:containedctx // of the one list that it serves
	visit   *visit
	id      func(*T) string
	target  func(*T) (target, error) // an error hides the element
	verdict map[string]bool
	causes  map[policy.Cause]bool // the policies that let any through
	set     string
}

func newSieve[T any](ctx context.Context, v *visit, id func(*T) string, of func(*T) (target, error)) *sieve[T] {
	return &sieve[T]{ctx: ctx, visit: v, id: id, target: of, verdict: map[string]bool{}, causes: map[policy.Cause]bool{}}
}

// visible reports whether the caller may read x.
func (s *sieve[T]) visible(x *T) bool {
	id := s.id(x)
	if known, ok := s.verdict[id]; ok {
		return known
	}
	t, err := s.target(x)
	if err != nil {
		s.verdict[id] = false
		return false
	}
	d, _ := s.visit.decide(s.ctx, t, t.read, nil)
	s.verdict[id], s.set = d.Allowed, d.Set
	if d.Allowed {
		for _, c := range d.Policies {
			s.causes[c] = true
		}
	}
	return d.Allowed
}

// keep returns what the caller may read of a page, and takes down one record about all
// that was looked at.
func (s *sieve[T]) keep(page []T, kind, action string) ([]T, error) {
	out, shown := make([]T, 0, len(page)), 0
	for i := range page {
		if s.visible(&page[i]) {
			out = append(out, page[i])
		}
	}
	for _, ok := range s.verdict {
		if ok {
			shown++
		}
	}
	hidden := len(s.verdict) - shown
	r := s.visit.record(policy.UID{Type: kind}, "", action, policy.Decision{
		Allowed: shown > 0 || hidden == 0, Policies: slices.SortedFunc(maps.Keys(s.causes), byPlace), Set: s.set,
	})
	r.Note = fmt.Sprintf("%d may be read, %d may not", shown, hidden)
	if err := s.visit.later(r); err != nil {
		return nil, err
	}
	return out, nil
}

func byPlace(a, b policy.Cause) int {
	if a.File != b.File {
		return strings.Compare(a.File, b.File)
	}
	if a.Line != b.Line {
		return a.Line - b.Line
	}
	return strings.Compare(a.ID, b.ID)
}
