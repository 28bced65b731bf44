package session

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/store"
)

// Export writes a session as one file that another host can import.
func (s *Service) Export(ctx context.Context, c host.Caller, session string, w io.Writer) error {
	head, err := s.Get(ctx, c, session)
	if err != nil {
		return err
	}
	return s.opt.Journals.Export(ctx, head.Tenant, head.ID, w)
}

// Verify checks a session's journal.
func (s *Service) Verify(ctx context.Context, c host.Caller, session string) (host.Verified, error) {
	head, err := s.Get(ctx, c, session)
	if err != nil {
		return host.Verified{}, err
	}
	return s.opt.Journals.Verify(ctx, head.Tenant, head.ID)
}

// ImportSpec says what becomes of an imported file.
type ImportSpec struct {
	Session string // its id here
	Owner   string
	// Entry is called with every entry and its payload, and may change the entry's body.
	Entry func(e *host.Entry, payload []byte) error
	// Ops returns what is written with what makes the session visible; root is the digest of
	// the file.
	Ops func(root string) ([]store.Op, error)
}

// Import makes a new session of a file that Export wrote, for the caller and the named
// agent, or the one that the file names. What the file says of trust counts for nothing:
// the session holds untrusted content. One that was in the middle of a turn is parked, for
// another host may go on with it.
func (s *Service) Import(ctx context.Context, c host.Caller, o host.ImportOptions, r io.Reader) (host.Session, error) {
	m := &importing{svc: s, caller: c, agent: o.Agent, allow: o.Allow, id: newID(s.opt.Now()), tasks: map[string]string{}, outline: outline{accepted: map[int]bool{}}}
	err := s.opt.Journals.Import(ctx, c.Tenant, r, ImportSpec{
		Session: m.id, Owner: c.User,
		Entry: func(e *host.Entry, _ []byte) error { return m.entry(ctx, e) },
		Ops:   func(root string) ([]store.Op, error) { return m.ops(ctx, root) },
	})
	if err != nil {
		return host.Session{}, full("the import", err)
	}
	return m.head, s.takeUp(ctx, m.head)
}

// importing is an import under way.
type importing struct {
	svc     *Service
	caller  host.Caller
	agent   string
	allow   func(agent string) error
	limits  *host.Agent
	id      string
	tasks   map[string]string // by their names in the file
	open    host.Open
	outline outline
	head    host.Session
}

func (m *importing) entry(ctx context.Context, e *host.Entry) error {
	if e.Kind == host.EntryOpen && e.Seq == 1 {
		return m.opened(ctx, e)
	}
	var err error
	switch e.Kind { // whoever made the file may have named anybody, and anything
	case host.EntryAccepted:
		err = change(e, m.adopt)
	case host.EntryStart:
		err = change(e, func(s *host.Started) { s.Label, s.Task = m.distrust(s.Label), m.task(s.Task) })
	case host.EntryEnd, host.EntryAbort:
		err = change(e, func(x *host.Ended) { x.Label, x.Task = m.distrust(x.Label), m.task(x.Task) })
	case host.EntryResult, host.EntryUnknown:
		err = change(e, func(o *host.Outcome) { o.Usage, o.Calls = unearned(o.Usage), max(o.Calls, 0) })
	case host.EntryIntent:
		err = change(e, func(in *host.Intent) { in.Child, in.Audit = nil, "" }) // what a tool may do is for this host to say
	default: // the others grant nothing
	}
	if err != nil {
		return err
	}
	return m.outline.add(*e)
}

// unearned is a usage that gives nothing back to a budget.
func unearned(u abi.Usage) abi.Usage {
	for _, n := range []*int64{&u.InputTokens, &u.OutputTokens, &u.CacheReadTokens, &u.CostMicros, &u.Fuel} {
		*n = max(*n, 0)
	}
	return u
}

// change rewrites the body of an entry.
func change[T any](e *host.Entry, f func(*T)) error {
	var body T
	if err := json.Unmarshal(e.Body, &body); err != nil {
		return err
	}
	f(&body)
	var err error
	e.Body, err = json.Marshal(body)
	return err
}

// adopt makes an event one of the caller who imports it, under this host's limits.
func (m *importing) adopt(a *host.Accepted) {
	label := m.distrust(abi.Label{}) // what it says are not the importer's words
	a.Caller, a.Budget, a.Expires, a.Label = m.caller, m.limits.Budget, 0, &label
	a.Recorded, a.Grants, a.Chain, a.External = false, nil, nil, false // its task is opened anew, for the importer
	a.Task = m.task(a.Task)
	if m.limits.Budget.Time > 0 {
		a.Expires = m.svc.opt.Now().Add(m.limits.Budget.Time).UnixNano()
	}
}

// task is the name here of a task of the file: the one that the file has may be that of
// somebody else's here.
func (m *importing) task(was string) string {
	if m.tasks[was] == "" {
		m.tasks[was] = newID(m.svc.opt.Now())
	}
	return m.tasks[was]
}

// distrust is a label that counts for nothing but what the file's session has seen.
func (m *importing) distrust(l abi.Label) abi.Label {
	l.Integrity, l.Readers, l.Public = abi.Untrusted, []string{m.caller.User}, false
	if !slices.Contains(l.Sources, "import") {
		l.Sources = append(l.Sources, "import")
	}
	return l
}

// opened makes the file's session one of this host and its caller.
func (m *importing) opened(ctx context.Context, e *host.Entry) error {
	if err := json.Unmarshal(e.Body, &m.open); err != nil {
		return err
	}
	if m.agent == "" {
		m.agent = m.open.Session.Agent
	}
	if m.allow != nil {
		if err := m.allow(m.agent); err != nil {
			return err
		}
	}
	var ok bool
	if m.limits, ok = m.svc.opt.Agents.Agent(m.agent); !ok {
		return host.Errorf(host.ErrConflict, "import: no agent of the configuration is called %q; name the one to import it for", m.agent)
	}
	if err := m.runs(ctx, m.open.Session.Module); err != nil {
		return err
	}
	m.open.Session.Agent, m.open.Session.ID = m.agent, m.id
	m.open.Session.Tenant, m.open.Session.Owner = m.caller.Tenant, m.caller.User
	m.outline.module = m.open.Session.Module
	var err error
	e.Body, err = json.Marshal(m.open)
	return err
}

// runs checks that a module of the session is here.
func (m *importing) runs(ctx context.Context, module string) error {
	if _, _, err := m.svc.opt.Agents.Plugin(ctx, module); err != nil {
		return host.Errorf(host.ErrConflict, "import: the session runs the module %s, which is not here; install it first: %w", module, err)
	}
	return nil
}

func (m *importing) ops(ctx context.Context, root string) ([]store.Op, error) {
	if m.outline.module != m.limits.Module { // an agent's permissions are for the module that its configuration names
		return nil, host.Errorf(host.ErrForbidden, "import: agent %s runs %s, and the session goes on with %s; name an agent that is configured with it", m.agent, m.limits.Module, m.outline.module)
	}
	if err := m.runs(ctx, m.outline.module); err != nil {
		return nil, err
	}
	now := m.svc.opt.Now().UTC()
	head := m.outline.applyTo(m.open.Session)
	head.Created, head.Updated, head.Parent, head.At = now, now, root, 0
	head.Usage, head.Upgraded = abi.Usage{}, m.outline.upgraded
	head.Label = m.distrust(head.Label)
	if head.Status == host.SessionRunning {
		head.Status = host.SessionParked
		head.Reason = fmt.Sprintf("it was imported in the middle of turn %d; resume it if nobody else goes on with it", head.Ended+1)
	}
	m.head = head
	ops, err := branchOps(head, &m.outline)
	return ops, err
}
