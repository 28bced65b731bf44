package gate

import (
	"slices"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/policy"
)

// meet is the label of a value made of two others: as trusted as the less trusted,
// readable by who may read both.
func meet(a, b abi.Label) abi.Label {
	out := abi.Label{Integrity: min(a.Integrity, b.Integrity), Public: a.Public && b.Public}
	switch {
	case out.Public:
	case a.Public:
		out.Readers = b.Readers
	case b.Public:
		out.Readers = a.Readers
	default:
		for _, r := range a.Readers {
			if slices.Contains(b.Readers, r) {
				out.Readers = append(out.Readers, r)
			}
		}
	}
	out.Sources = union(a.Sources, b.Sources)
	return out
}

func same(a, b abi.Label) bool {
	return a.Integrity == b.Integrity && a.Public == b.Public && slices.Equal(a.Readers, b.Readers) && slices.Equal(a.Sources, b.Sources)
}

// maxSources bounds the sources that a label names; "…" stands for the rest.
const maxSources = 16

func union(a, b []string) []string {
	out := slices.Clone(a)
	for _, s := range b {
		if slices.Contains(out, s) {
			continue
		}
		if len(out) == maxSources-1 {
			return append(out, "…")
		}
		if len(out) >= maxSources {
			return out
		}
		out = append(out, s)
	}
	return out
}

// labelOf is the label that a result brings into the session. The host's own words,
// and what is made of what the session held already, take nothing away from it.
func (t *Turn) labelOf(r abi.Result, out host.Output) abi.Label {
	if r.Error != nil || out.Derived {
		return t.Label()
	}
	l, ok := out.Labels[""]
	if !ok {
		l = abi.Label{Integrity: abi.Untrusted}
	}
	for pointer, part := range out.Labels {
		if pointer != "" {
			l = meet(l, part)
		}
	}
	return l
}

// flow is context.flow. The whole session carries one label, so the context that
// chose a call and its arguments all have it, and calls share it until it changes.
func (t *Turn) flow(c *host.Call, recipients []string) *policy.Shared {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(recipients) > 0 {
		return &policy.Shared{Value: flowOf(t.label, c.Run.Owner, recipients)}
	}
	if t.flowOf == nil {
		t.flowOf = &policy.Shared{Value: flowOf(t.label, c.Run.Owner, []string{})}
	}
	return t.flowOf
}

func flowOf(l abi.Label, owner string, recipients []string) map[string]any {
	readers := l.Readers
	if !slices.Contains(readers, owner) {
		readers = append(slices.Clone(readers), owner)
	}
	return map[string]any{
		"pc":         int64(l.Integrity),
		"control":    int64(l.Integrity),
		"data":       int64(l.Integrity),
		"isPublic":   l.Public,
		"readers":    readers,
		"recipients": recipients,
		"named":      false,
		"sources":    l.Sources,
	}
}
