package session

import "sync"

// hub wakes those who wait for news of a session. A waiter takes the channel first
// and looks at the session then, so no news is missed.
type hub struct {
	mu    sync.Mutex
	chans map[string]chan struct{}
}

// news returns a channel that is closed at the next wake.
func (h *hub) news(id string) <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.chans == nil {
		h.chans = map[string]chan struct{}{}
	}
	c := h.chans[id]
	if c == nil {
		c = make(chan struct{})
		h.chans[id] = c
	}
	return c
}

func (h *hub) wake(id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c := h.chans[id]; c != nil {
		close(c)
		delete(h.chans, id)
	}
}

// keyed is a mutex per key.
type keyed struct {
	mu   sync.Mutex
	held map[string]*hold
}

type hold struct {
	sync.Mutex
	users int
}

// lock returns the function that unlocks.
func (k *keyed) lock(key string) func() {
	k.mu.Lock()
	if k.held == nil {
		k.held = map[string]*hold{}
	}
	h := k.held[key]
	if h == nil {
		h = &hold{}
		k.held[key] = h
	}
	h.users++
	k.mu.Unlock()
	h.Lock()
	return func() {
		h.Unlock()
		k.mu.Lock()
		defer k.mu.Unlock()
		if h.users--; h.users == 0 {
			delete(k.held, key)
		}
	}
}
