package app

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/api"
	"github.com/vespiary/vespiary/host/store"
	"github.com/vespiary/vespiary/policy"
	"github.com/vespiary/vespiary/policy/audit"
)

// audits reads and checks the audit. It implements api.Audit.
type audits struct {
	log    *audit.Log
	public string // key that checkpoints are signed with
	// kept is a file outside of the store with the newest checkpoint; "" is none.
	kept    string
	version string // of the host, which exports name
}

var _ api.Audit = audits{}

// A page ends after so many records where a client does not say, and after so many bytes of
// evidence in any case.
const (
	defaultPage = 100
	maxPage     = 8 << 20
)

func noRecord(id string) error {
	return host.Errorf(host.ErrNotFound, "there is no record %.80q in the audit; search it for those that there are", id)
}

// queryOf is a filter in the audit's words.
func queryOf(tenant string, f host.AuditFilter) audit.Query {
	q := audit.Query{
		Tenant: tenant, Chain: f.Chain, Task: f.Task, Session: f.Session, Agent: f.Agent, User: f.User, Action: f.Action, Call: f.Call,
		Kind: f.Kind, Since: f.Since, Until: f.Until, After: f.After,
	}
	switch {
	case f.Denied:
		q.Decision = audit.Denied
	case f.Allowed:
		q.Decision = audit.Allowed
	case f.Differs:
		q.Decision = audit.Differs
	}
	return q
}

// Search implements api.Audit.
func (a audits) Search(ctx context.Context, c host.Caller, f host.AuditFilter) ([]policy.Record, string, error) {
	limit := f.Limit
	if limit <= 0 {
		limit = defaultPage
	}
	q := queryOf(c.Tenant, f)
	q.Reverse, q.Limit = true, limit+1
	page, size := []policy.Record{}, 0
	for r, err := range a.log.Search(ctx, q) {
		switch {
		case err != nil && q.After != "" && errors.Is(err, store.ErrNotFound):
			return nil, "", host.Errorf(host.ErrInvalid, "search the audit: there is no record %.80q to go on after; begin with the first page", q.After)
		case err != nil:
			return nil, "", err
		case len(page) == limit || size > maxPage:
			return page, page[len(page)-1].ID, nil
		}
		page, size = append(page, r), size+len(r.Evidence)
	}
	return page, "", nil
}

// Record implements api.Audit.
func (a audits) Record(ctx context.Context, c host.Caller, id string) (policy.Record, error) {
	r, err := a.log.Get(ctx, c.Tenant, id)
	if errors.Is(err, store.ErrNotFound) {
		return r, noRecord(id)
	}
	return r, err
}

// Tail implements api.Audit.
func (a audits) Tail(ctx context.Context, c host.Caller, f host.AuditFilter) iter.Seq2[policy.Record, error] {
	q := queryOf(c.Tenant, f)
	return func(yield func(policy.Record, error) bool) {
		for r, err := range a.log.Tail(ctx, c.Tenant, f.After) {
			switch {
			case err != nil && ctx.Err() != nil:
				return
			case err != nil && f.After != "" && errors.Is(err, store.ErrNotFound):
				yield(r, host.Errorf(host.ErrInvalid, "follow the audit: there is no record %.80q to go on after; leave after out to begin now", f.After))
				return
			case err != nil:
				yield(r, host.Errorf(host.ErrUnavailable, "follow the audit: %w; go on after the last record", err))
				return
			case q.Selects(&r) && !yield(r, nil):
				return
			}
		}
	}
}

// Checkpoint implements api.Audit.
func (a audits) Checkpoint(ctx context.Context, c host.Caller) (string, error) {
	signed, err := a.log.Checkpoint(ctx, c.Tenant)
	if errors.Is(err, store.ErrNotFound) {
		return "", host.Errorf(host.ErrNotFound, "there is no checkpoint yet; the first is signed a second after the first record")
	}
	return string(signed), err
}

// Verify implements api.Audit. Where no checkpoint is given it takes that of the file, which
// finds a store that was put back as a whole.
func (a audits) Verify(ctx context.Context, c host.Caller, checkpoint string) (host.AuditCheck, error) {
	if checkpoint != "" {
		out, err := a.verify(ctx, c.Tenant, []byte(checkpoint))
		if err != nil && ctx.Err() == nil {
			err = host.Errorf(host.ErrInvalid, "verify the audit: %w", err)
		}
		return out, err
	}
	kept := a.beside(c.Tenant)
	out, err := a.verify(ctx, c.Tenant, kept)
	if err == nil || kept == nil || ctx.Err() != nil {
		return out, err
	}
	// It may be the file that cannot be used.
	wrong := err
	if out, err = a.verify(ctx, c.Tenant, nil); err == nil {
		out.OK = false
		out.Problems = append(out.Problems, fmt.Sprintf("The checkpoint in %s cannot be used: %v.", a.kept, wrong))
	}
	return out, err
}

// beside is the checkpoint of the file, nil for none. The file has that of one tenant.
func (a audits) beside(tenant string) []byte {
	if a.kept == "" || tenant != host.DefaultTenant {
		return nil
	}
	signed, err := os.ReadFile(a.kept)
	if err != nil {
		return nil
	}
	return signed
}

// verify checks the audit of a tenant, also against a checkpoint that was kept elsewhere,
// nil for none.
func (a audits) verify(ctx context.Context, tenant string, checkpoint []byte) (host.AuditCheck, error) {
	found, err := a.log.Verify(ctx, audit.VerifyOptions{Tenant: tenant, PublicKey: a.public, Checkpoint: checkpoint})
	if err != nil {
		return host.AuditCheck{}, err
	}
	out := host.AuditCheck{
		OK: found.OK(), Records: count(found.Records), Chains: count(found.Chains), Sequenced: count(found.Size), Problems: found.Problems,
	}
	if n := len(out.Problems); found.More > 0 {
		out.Problems[n-1] = fmt.Sprintf("There are %d more problems.", found.More+1)
	}
	newest, err := a.log.Checkpoint(ctx, tenant)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return out, err
	}
	out.Checkpoint = string(newest)
	return out, nil
}

func count(n int64) uint64 { return uint64(max(n, 0)) }
