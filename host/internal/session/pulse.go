package session

import (
	"sync"
	"time"
)

// pulse counts the turns under way, and knows since when there are some or none.
type pulse struct {
	mu    sync.Mutex
	turns int
	since time.Time
}

func (p *pulse) add(n int, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	was := p.turns
	if p.turns += n; (was == 0) != (p.turns == 0) {
		p.since = now
	}
}

// Working returns how many turns are under way, and when that last became, or ceased to
// be, none; the zero time for a service that has run none yet.
func (s *Service) Working() (turns int, since time.Time) {
	s.pulse.mu.Lock()
	defer s.pulse.mu.Unlock()
	return s.pulse.turns, s.pulse.since
}
