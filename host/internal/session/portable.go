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
func (s *Service) Import(ctx context.Context, c host.Caller, agent string, r io.Reader) (host.Session, error) {
	m := &importing{svc: s, caller: c, agent: agent, id: newID(s.opt.Now()), outline: outline{accepted: map[int]bool{}}}
	err := s.opt.Journals.Import(ctx, c.Tenant, r, ImportSpec{
		Session: m.id, Owner: c.User,
		Entry: func(e *host.Entry, _ []byte) error { return m.entry(ctx, e) },
		Ops:   m.ops,
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
	id      string
	open    host.Open
	outline outline
	head    host.Session
}

func (m *importing) entry(ctx context.Context, e *host.Entry) error {
	if e.Kind == host.EntryOpen && e.Seq == 1 {
		return m.opened(ctx, e)
	}
	if e.Kind == host.EntryAccepted { // whoever made the file may have named anybody
		if err := m.adopt(e); err != nil {
			return err
		}
	}
	return m.outline.add(*e)
}

// adopt makes the caller of an event the one who imports it.
func (m *importing) adopt(e *host.Entry) error {
	var a host.Accepted
	if err := json.Unmarshal(e.Body, &a); err != nil {
		return err
	}
	a.Caller = m.caller
	var err error
	e.Body, err = json.Marshal(a)
	return err
}

// opened makes the file's session one of this host and its caller.
func (m *importing) opened(ctx context.Context, e *host.Entry) error {
	if err := json.Unmarshal(e.Body, &m.open); err != nil {
		return err
	}
	if m.agent == "" {
		m.agent = m.open.Session.Agent
	}
	if _, ok := m.svc.opt.Agents.Agent(m.agent); !ok {
		return host.Errorf(host.ErrConflict, "import: no agent of the configuration is called %q; name the one to import it for", m.agent)
	}
	if _, _, err := m.svc.opt.Agents.Plugin(ctx, m.open.Session.Module); err != nil {
		return host.Errorf(host.ErrConflict, "import: the session runs the module %s, which is not here; install it first: %w", m.open.Session.Module, err)
	}
	m.open.Session.Agent, m.open.Session.ID = m.agent, m.id
	m.open.Session.Tenant, m.open.Session.Owner = m.caller.Tenant, m.caller.User
	m.outline.module = m.open.Session.Module
	var err error
	e.Body, err = json.Marshal(m.open)
	return err
}

func (m *importing) ops(root string) ([]store.Op, error) {
	now := m.svc.opt.Now().UTC()
	head := m.outline.applyTo(m.open.Session)
	head.Created, head.Updated, head.Parent, head.At = now, now, root, 0
	head.Usage, head.Upgraded = abi.Usage{}, m.outline.upgraded
	head.Label.Integrity = abi.Untrusted
	head.Label.Readers = []string{m.caller.User}
	head.Label.Public = false
	if !slices.Contains(head.Label.Sources, "import") {
		head.Label.Sources = append(head.Label.Sources, "import")
	}
	if head.Status == host.SessionRunning {
		head.Status = host.SessionParked
		head.Reason = fmt.Sprintf("it was imported in the middle of turn %d; resume it if nobody else goes on with it", head.Ended+1)
	}
	m.head = head
	ops, err := branchOps(head, &m.outline)
	return ops, err
}
