package session

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/store"
)

// An approval is asked for and answered in the journal of the session whose call waits for
// it; a record under its own id, written with those entries, is where people find it.

const approvalPrefix = "approval/"

// approvalLife is how long a question waits for its answer, where Options do not say.
const approvalLife = 24 * time.Hour

func approvalKey(tenant, id string) []byte { return []byte(approvalPrefix + tenant + "/" + id) }

// asking asks people about the calls of one session.
type asking struct{ a *actor }

// Ask implements Approvals. A question that an earlier host asked is not asked again.
func (k asking) Ask(ctx context.Context, question host.Approval) (host.Approval, error) {
	a := k.a
	got, err := a.svc.approval(ctx, question.Tenant, question.ID)
	if errors.Is(err, store.ErrNotFound) {
		got, err = a.ask(ctx, question)
	}
	if err != nil || got.Status != host.ApprovalPending {
		return got, err
	}
	a.suspend(question.Path, []abi.Wait{{Type: abi.EventApproval, Name: got.ID, At: got.Expires}})
	defer a.suspend(question.Path, nil)
	return a.answerOf(ctx, got)
}

// ask records the question, with the record by which people find it.
func (a *actor) ask(ctx context.Context, q host.Approval) (host.Approval, error) {
	life := a.svc.opt.ApprovalLife
	if life <= 0 {
		life = approvalLife
	}
	request := q.Request
	q.Request, q.Status, q.Asked = nil, host.ApprovalPending, a.svc.opt.Now().UTC()
	q.Expires = q.Asked.Add(life)
	ops, err := approvalOps(q)
	if err != nil {
		return q, err
	}
	notice := &host.Notice{Type: host.NoticeApproval, Turn: q.Turn, Path: q.Path, Approval: q.ID, Reason: q.Note}
	if ops, err = a.noticed(ops, notice); err != nil {
		return q, err
	}
	if _, err := a.log.Append(ctx, host.Entry{Kind: host.EntryApproval, Turn: q.Turn, Path: q.Path}, q, request, ops...); err != nil {
		return q, err
	}
	err = a.commit(ctx)
	a.svc.opt.Notices.Wake()
	return q, err
}

func approvalOps(q host.Approval) ([]store.Op, error) {
	b, err := json.Marshal(q)
	return []store.Op{{Key: approvalKey(q.Tenant, q.ID), Value: b}}, err
}

// answerOf waits for the answer, or until the question expires.
func (a *actor) answerOf(ctx context.Context, q host.Approval) (host.Approval, error) {
	expires := time.NewTimer(q.Expires.Sub(a.svc.opt.Now()))
	defer expires.Stop()
	for {
		news := a.svc.hub.news(a.id())
		got, err := a.svc.approval(ctx, q.Tenant, q.ID)
		if err != nil || got.Status != host.ApprovalPending {
			return got, err
		}
		select {
		case <-news:
		case <-expires.C:
			got, err = a.concludeApproval(ctx, got, host.ApprovalExpired, "", "")
			if !errors.Is(err, store.ErrFull) {
				return got, err
			}
			expires.Reset(spaceAgain)
		case <-ctx.Done():
			return got, ctx.Err()
		}
	}
}

// concludeApproval records the end of a question, once: whoever comes second gets what the
// first one recorded.
func (a *actor) concludeApproval(ctx context.Context, q host.Approval, status host.ApprovalStatus, by, reason string) (host.Approval, error) {
	a.answers.Lock()
	defer a.answers.Unlock()
	got, err := a.svc.approval(ctx, q.Tenant, q.ID)
	if err != nil || got.Status != host.ApprovalPending {
		return got, err
	}
	got.Status, got.By, got.Reason, got.Answered = status, by, reason, a.svc.opt.Now().UTC()
	ops, err := approvalOps(got)
	if err != nil {
		return got, err
	}
	err = a.rouseBy(ctx, host.Entry{Kind: host.EntryApproval, Turn: got.Turn, Path: got.Path}, got, ops)
	return got, err
}

// rouseBy adds an entry that lets a suspended turn go on.
func (a *actor) rouseBy(ctx context.Context, e host.Entry, body any, ops []store.Op) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	head, more, err := a.rouseOps()
	if err != nil {
		return err
	}
	if _, err := a.log.AppendNow(ctx, e, body, nil, append(ops, more...)...); err != nil {
		return err
	}
	a.head, a.dormant = head, nil
	a.poke()
	return nil
}

// approval reads the record of a question.
func (s *Service) approval(ctx context.Context, tenant, id string) (host.Approval, error) {
	var out host.Approval
	err := s.opt.Store.View(ctx, func(tx store.Tx) error {
		item, err := tx.Get(approvalKey(tenant, id))
		if err != nil {
			return err
		}
		return json.Unmarshal(item.Value, &out)
	})
	return out, err
}

// Approvals returns the questions of the caller's tenant that the filter selects, newest
// first.
func (s *Service) Approvals(ctx context.Context, c host.Caller, f host.ApprovalFilter) ([]host.Approval, error) {
	limit := f.Limit
	if limit <= 0 || limit > 1000 {
		limit = 100
	}
	want := f.Status
	if want == "" {
		want = host.ApprovalPending
	}
	out := []host.Approval{}
	all, err := s.questions(ctx, c.Tenant)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b host.Approval) int { return b.Asked.Compare(a.Asked) })
	for _, q := range all {
		if len(out) == limit {
			break
		}
		if f.Session != "" && q.Session != f.Session {
			continue
		}
		if q = s.current(ctx, q); q.Status == want && (f.Visible == nil || f.Visible(&q)) {
			out = append(out, q)
		}
	}
	return out, nil
}

// questions reads all approvals of a tenant.
func (s *Service) questions(ctx context.Context, tenant string) ([]host.Approval, error) {
	var out []host.Approval
	err := s.opt.Store.View(ctx, func(tx store.Tx) error {
		for item, err := range tx.Scan(store.Query{Prefix: approvalKey(tenant, "")}) {
			if err != nil {
				return err
			}
			var q host.Approval
			if json.Unmarshal(item.Value, &q) == nil {
				out = append(out, q)
			}
		}
		return nil
	})
	return out, err
}

// current is a question as it is now: one that nobody waits for is void.
func (s *Service) current(ctx context.Context, q host.Approval) host.Approval {
	if q.Status != host.ApprovalPending {
		return q
	}
	head, err := s.head(ctx, q.Tenant, q.Session)
	switch {
	case err != nil || head.Ended >= q.Turn || head.Status == host.SessionErased:
		q.Status = host.ApprovalVoid
	case !s.opt.Now().Before(q.Expires):
		q.Status = host.ApprovalExpired
	}
	return q
}

// Approval returns one question with the arguments of its call.
func (s *Service) Approval(ctx context.Context, c host.Caller, id string) (host.Approval, error) {
	q, err := s.question(ctx, c, id)
	if err != nil {
		return q, err
	}
	q.Request, err = s.asked(ctx, q)
	return q, err
}

func (s *Service) question(ctx context.Context, c host.Caller, id string) (host.Approval, error) {
	q, err := s.approval(ctx, c.Tenant, id)
	if errors.Is(err, store.ErrNotFound) {
		return host.Approval{}, host.Errorf(host.ErrNotFound, "find approval %s: there is none with this id that you may answer", id)
	}
	return s.current(ctx, q), err
}

// asked returns the arguments of the call that a question is about, nil where they were
// erased.
func (s *Service) asked(ctx context.Context, q host.Approval) (json.RawMessage, error) {
	head, err := s.head(ctx, q.Tenant, q.Session)
	if err != nil {
		return nil, err
	}
	from, err := s.place(ctx, head, q.Turn)
	if err != nil {
		return nil, err
	}
	for e, err := range s.opt.Journals.Read(ctx, q.Tenant, q.Session, from) {
		if err != nil {
			return nil, err
		}
		if e.Kind == host.EntryApproval && e.Path == q.Path && e.Digest != "" {
			return s.opt.Journals.Payload(ctx, q.Tenant, e)
		}
	}
	return nil, nil
}

// Answer grants or denies.
func (s *Service) Answer(ctx context.Context, c host.Caller, id string, answer host.Answer) (host.Approval, error) {
	q, err := s.question(ctx, c, id)
	if err != nil {
		return q, err
	}
	if q.Status != host.ApprovalPending {
		return q, host.Errorf(host.ErrConflict, "answer approval %s: it is %s", id, q.Status)
	}
	a, err := s.actor(ctx, q.Tenant, q.Session)
	if err != nil {
		return q, err
	}
	defer a.release()
	status := host.ApprovalDenied
	if answer.Grant {
		status = host.ApprovalGranted
	}
	got, err := a.concludeApproval(ctx, q, status, c.User, answer.Reason)
	if err == nil && (got.Status != status || got.By != c.User) {
		err = host.Errorf(host.ErrConflict, "answer approval %s: it is %s", id, got.Status)
	}
	return got, full("the approval", err)
}
