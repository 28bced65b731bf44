package abi

import "slices"

// Integrity says how far a value may steer what an agent does.
type Integrity int

// The levels of integrity.
const (
	Untrusted Integrity = 0 // came from outside
	Endorsed  Integrity = 1 // checked against something the host knows
	Trusted   Integrity = 2 // the user's or the system's own words
)

// Label says where a value came from and who may read it. The zero Label is
// untrusted and readable by nobody but the session's owner.
type Label struct {
	Integrity Integrity `json:"integrity"`
	Public    bool      `json:"public,omitempty"`  // anyone may read it
	Readers   []string  `json:"readers,omitempty"` // who else may, when not public
	Sources   []string  `json:"sources,omitempty"` // where it came from, for people
}

// Meet is the label of a value made of two others: as trusted as the less trusted, readable
// by who may read both.
func (l Label) Meet(o Label) Label {
	out := Label{Integrity: min(l.Integrity, o.Integrity), Public: l.Public && o.Public, Sources: union(l.Sources, o.Sources)}
	switch {
	case out.Public:
	case l.Public:
		out.Readers = o.Readers
	case o.Public:
		out.Readers = l.Readers
	default:
		for _, r := range l.Readers {
			if slices.Contains(o.Readers, r) {
				out.Readers = append(out.Readers, r)
			}
		}
	}
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

// Labels maps JSON Pointers (RFC 6901) into a value to labels; "" labels the
// whole value. A part without a label of its own has the label of the nearest
// part around it, and a value without any is untrusted.
type Labels map[string]Label
