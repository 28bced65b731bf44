package abi

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

// Labels maps JSON Pointers (RFC 6901) into a value to labels; "" labels the
// whole value. A part without a label of its own has the label of the nearest
// part around it, and a value without any is untrusted.
type Labels map[string]Label
