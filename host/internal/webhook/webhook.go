package webhook

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/store"
)

// Options are what a Sender is made of. Store and Now are required.
type Options struct {
	Store     store.Store
	Endpoints []Endpoint
	Now       func() time.Time
	Log       *slog.Logger   // nil discards
	Resolver  Resolver       // nil means the machine's own
	RootCAs   *x509.CertPool // nil means the machine's own

	transport http.RoundTripper // nil: over the network
}

// Endpoint is where notices go. What is queued goes by its name: if the URL or the
// secrets of a name are changed, they hold for what waits as well.
type Endpoint struct {
	Name string // lower-case letters, digits, - and _
	// URL begins with https://, or, for a private endpoint, with http://. It may be a
	// secret in itself and is never logged.
	URL string
	// Secrets sign: the current one first, then those that receivers may still have,
	// each of 24 to 64 bytes. An endpoint shares them with no other.
	Secrets [][]byte
	On      []host.NoticeType // empty: all
	// Private means that the endpoint may be on this machine or a private network. A
	// link-local address must stand in the URL itself.
	Private bool
}

func (e *Endpoint) wants(t host.NoticeType) bool {
	return len(e.On) == 0 || slices.Contains(e.On, t)
}

// Stats counts what became of one endpoint's notices since the Sender was made.
type Stats struct {
	Endpoint  string
	Delivered int64
	Failed    int64 // attempts
	GivenUp   int64 // notices that were dropped: never taken, declined, or unreadable
}

// Sender queues notices and delivers them. It is safe for concurrent use.
type Sender struct {
	store   store.Store
	log     *slog.Logger
	workers []*worker
}

// New returns a Sender, which delivers once Run is called. The error tells which
// endpoint cannot be and why, without its URL or secrets.
func New(o Options) (*Sender, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Resolver == nil {
		o.Resolver = net.DefaultResolver
	}
	s := &Sender{store: o.Store, log: o.Log}
	for _, e := range o.Endpoints {
		u, err := e.check()
		if err == nil && slices.ContainsFunc(s.workers, func(w *worker) bool { return w.endpoint.Name == e.Name }) {
			err = errors.New("there are two of this name")
		}
		if err != nil {
			return nil, fmt.Errorf("webhook %q: %w", e.Name, err)
		}
		s.workers = append(s.workers, newWorker(o, e, u))
	}
	return s, nil
}

var types = []host.NoticeType{
	host.NoticeWaiting, host.NoticeApproval, host.NoticeFailed, host.NoticeParked, host.NoticeUnknown,
}

var nameForm = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,62}$`)

func (e *Endpoint) check() (*url.URL, error) {
	if !nameForm.MatchString(e.Name) {
		return nil, errors.New("a name has lower-case letters, digits, - and _, and begins with a letter")
	}
	if len(e.Secrets) == 0 {
		return nil, errors.New("it has no signing secret; make one with: echo whsec_$(openssl rand -base64 32)")
	}
	for _, s := range e.Secrets {
		if err := checkSecret(s); err != nil {
			return nil, err
		}
	}
	for _, t := range e.On {
		if !slices.Contains(types, t) {
			return nil, fmt.Errorf("there is no notice %q; there are %s", t, types)
		}
	}
	return e.checkURL()
}

func (e *Endpoint) checkURL() (*url.URL, error) {
	u, err := url.Parse(e.URL)
	switch {
	case err != nil || u.Hostname() == "" || u.Opaque != "":
		return nil, errors.New("its URL cannot be read; write one such as https://ops.example.com/hooks") // err repeats the URL
	case u.User != nil:
		return nil, errors.New("its URL must not hold a user name or password; the signature tells who sends")
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, errors.New("its URL must begin with https://")
	case u.Scheme == "http" && !e.Private:
		return nil, errors.New("http sends in the clear; use https, or set private for an endpoint on this machine or a private network")
	}
	a, err := netip.ParseAddr(u.Hostname())
	if err != nil {
		return u, nil // a name: what it leads to is checked at each connection
	}
	if a.Zone() != "" {
		return nil, errors.New("the address in its URL must not have a zone")
	}
	return u, e.guard(u, nil).check(a.Unmap(), true)
}

func (e *Endpoint) guard(u *url.URL, r Resolver) *guard {
	return &guard{resolver: r, private: e.Private, plain: u.Scheme == "http"}
}

// Ops queues a notice with every endpoint that wants it. The caller commits the ops in
// one batch with the entry that the notice tells of, and then calls Wake. The same
// notice gives the same keys. The error tells of a notice without a time, or whose ID is
// not 1 to 200 printable ASCII characters other than a space or a full stop.
func (s *Sender) Ops(n host.Notice) ([]store.Op, error) {
	if !idForm.MatchString(n.ID) || n.Time.IsZero() {
		return nil, fmt.Errorf("queue notice %q: its id must be 1 to 200 ASCII characters without spaces and full stops, and it must have a time", n.ID)
	}
	var out []store.Op
	var body string
	for _, w := range s.workers {
		if !w.endpoint.wants(n.Type) {
			continue
		}
		if body == "" {
			var err error
			if body, err = bodyOf(n); err != nil {
				return nil, fmt.Errorf("queue notice %s: %w", n.ID, err)
			}
		}
		r := record{endpoint: w.endpoint.Name, due: n.Time, id: n.ID, Session: n.Session, Body: body}
		op, err := r.op()
		if err != nil {
			return nil, fmt.Errorf("queue notice %s: %w", n.ID, err)
		}
		out = append(out, op)
	}
	return out, nil
}

// Wake tells that ops were committed. It does not block.
func (s *Sender) Wake() {
	for _, w := range s.workers {
		select {
		case w.wake <- struct{}{}:
		default: // it is awake already
		}
	}
}

// Stats returns the counts of all endpoints, in the order of Options.Endpoints.
func (s *Sender) Stats() []Stats {
	out := make([]Stats, len(s.workers))
	for i, w := range s.workers {
		out[i] = w.stats()
	}
	return out
}

// Run delivers until ctx ends, and then returns nil; an attempt that is under way is cut
// short and made again by the next Run. It begins with what an earlier host left, and
// removes what was queued for endpoints that exist no longer. It fails when the store is
// closed. It is called once.
func (s *Sender) Run(ctx context.Context) error {
	if err := s.removeLeftovers(ctx); err != nil && ctx.Err() == nil {
		return fmt.Errorf("remove notices of webhooks that exist no longer: %w", err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	failed := make([]error, len(s.workers))
	var wg sync.WaitGroup
	for i, w := range s.workers {
		wg.Go(func() {
			if failed[i] = w.run(ctx); failed[i] != nil {
				cancel(failed[i])
			}
		})
	}
	wg.Wait()
	<-ctx.Done() // without endpoints there is nobody to wait for
	return errors.Join(failed...)
}

// removeLeftovers drops what is queued for endpoints that are not configured.
func (s *Sender) removeLeftovers(ctx context.Context) error {
	removed, err := deleteKeys(ctx, s.store, []byte(outbox), func(key []byte) bool {
		return !slices.ContainsFunc(s.workers, func(w *worker) bool { return w.endpoint.Name == endpointOf(key) })
	})
	if removed > 0 {
		s.log.WarnContext(ctx, "notices were dropped: their webhooks exist no longer", "notices", removed)
	}
	return err
}
