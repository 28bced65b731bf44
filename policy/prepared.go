package policy

import "sync"

// Shared is a value that many requests have in common, such as the labels of a session
// while they do not change: an Authorizer converts it once, and so does AppendEvidence.
// Value has the form of an attribute and must not change.
type Shared struct {
	Value    any
	Prepared Prepared
	Encoded  Prepared
}

// Prepared is a place where an Authorizer keeps what it made of something.
type Prepared struct {
	once  sync.Once
	value any
}

// Get returns the kept value, made by the first caller.
func (p *Prepared) Get(make func() any) any {
	p.once.Do(func() { p.value = make() })
	return p.value
}
