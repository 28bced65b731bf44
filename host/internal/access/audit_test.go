package access_test

import (
	"crypto/rand"
	"testing"
	"time"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/access"
	"github.com/vespiary/vespiary/host/internal/store"
	"github.com/vespiary/vespiary/policy"
	auditlog "github.com/vespiary/vespiary/policy/audit"
)

// TestRealAudit: with the audit that hosts have, on a disk, what was decided and done is
// found again, linked and in order, and verifies.
func TestRealAudit(t *testing.T) {
	db, err := store.Open(t.Context(), store.Options{Dir: t.TempDir(), Edge: true, MinFree: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close() //nolint:errcheck // what matters was read by then
	private, err := auditlog.GenerateKey(rand.Reader, "test")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := auditlog.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	log, err := auditlog.New(auditlog.Options{Store: db, Signer: signer, Now: func() time.Time { return noon }})
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, owners)
	guard, err := access.New(access.Options{
		Policy: w.engine, Audit: log, Now: w.clock, Chain: "people-a",
		Agents: func(string) (*host.Agent, bool) { return nil, false },
	})
	if err != nil {
		t.Fatal(err)
	}
	s := guard.Sessions(sessions{w})
	if _, err := s.Get(t.Context(), user2, "S1"); host.CodeOf(err) != host.ErrNotFound {
		t.Error(err)
	}
	if _, err := s.Cancel(t.Context(), user1, "S1"); err != nil {
		t.Error(err)
	}
	if err := log.Integrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	var got []policy.Record
	for r, err := range log.Search(t.Context(), auditlog.Query{Tenant: "home", Chain: "people-a-2030-01-02"}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, r)
	}
	if len(got) != 3 || got[0].Decision.Allowed || got[0].Who[0].User != "user2" || !got[1].Decision.Allowed || got[2].Of != got[1].ID || got[2].Of == "" {
		t.Errorf("%+v", got)
	}
	report, err := log.Verify(t.Context(), auditlog.VerifyOptions{Tenant: "home", PublicKey: signer.PublicKey()})
	if err != nil || !report.OK() || report.Size != 3 {
		t.Errorf("%+v, %v", report, err)
	}
}
