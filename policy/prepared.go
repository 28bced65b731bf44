package policy

import "sync"

// Prepared is a place where an Authorizer keeps what it made of a Known set.
type Prepared struct {
	once  sync.Once
	value any
}

// Get returns the kept value, made by the first caller.
func (p *Prepared) Get(make func() any) any {
	p.once.Do(func() { p.value = make() })
	return p.value
}
