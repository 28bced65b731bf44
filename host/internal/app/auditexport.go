package app

import (
	"context"
	"io"
	"slices"
	"strings"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/policy/audit"
)

// Export implements api.Audit.
func (a audits) Export(ctx context.Context, c host.Caller, f host.AuditFilter, format string, w io.Writer) error {
	formats := []audit.Format{audit.JSONL, audit.OCSF, audit.CloudTrail}
	if !slices.Contains(formats, audit.Format(format)) {
		return host.Errorf(host.ErrInvalid, "export the audit: there is no format %.40q; use jsonl, ocsf or cloudtrail", format)
	}
	name, _, _ := strings.Cut(a.public, "+")
	_, err := audit.Export(w, audit.Format(format), audit.Product{Version: a.version, Host: name}, a.log.Search(ctx, queryOf(c.Tenant, f)))
	return err
}
