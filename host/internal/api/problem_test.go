package api

import (
	"testing"

	"github.com/vespiary/vespiary/host"
)

// TestStatuses fails when the host gets a code that the edge does not map.
func TestStatuses(t *testing.T) {
	want := map[host.ErrorCode]int{
		host.ErrInvalid: 400, host.ErrUnauthorized: 401, host.ErrForbidden: 403, host.ErrNotFound: 404, host.ErrConflict: 409,
		host.ErrTooMany: 429, host.ErrFull: 507, host.ErrUnavailable: 503, host.ErrInternal: 500, "unheard of": 500,
	}
	for code, status := range want {
		if p := problemOf(t.Context(), host.Errorf(code, "x")); p.Status != status || p.Title == "" || p.Detail != "x" {
			t.Errorf("%s: %+v, want %d", code, p, status)
		}
	}
}
