package gate

import (
	"slices"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
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
// chose a call and its arguments all have it.
func (t *Turn) flow(c *host.Call) map[string]any {
	l := t.Label()
	readers := l.Readers
	if !slices.Contains(readers, c.Run.Owner) {
		readers = append(slices.Clone(readers), c.Run.Owner)
	}
	return map[string]any{
		"pc":         int64(l.Integrity),
		"control":    int64(l.Integrity),
		"data":       int64(l.Integrity),
		"isPublic":   l.Public,
		"readers":    readers,
		"recipients": c.Class.Recipient,
		"named":      false,
		"sources":    l.Sources,
	}
}
