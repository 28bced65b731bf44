package app

import (
	"context"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/store"
	"github.com/vespiary/vespiary/policy"
	"github.com/vespiary/vespiary/policy/audit"
)

// Imports are the capabilities that guests are offered.
func Imports() []string { return imports() }

// Routes are those that a server of the host has registered, as its router knows them:
// "GET /v1/sessions/:id".
func (h *Host) Routes() ([]string, error) {
	s, err := h.server(h.desired.Load().config)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, key := range reflect.ValueOf(s).Elem().FieldByName("routes").MapKeys() {
		out = append(out, key.String())
	}
	slices.Sort(out)
	return out, nil
}

// Records returns what the audit has that the query selects, oldest first, with all that
// waited to be taken down.
func (h *Host) Records(ctx context.Context, q audit.Query) ([]policy.Record, error) {
	if err := h.audit.Integrate(ctx); err != nil {
		return nil, err
	}
	q.Tenant = host.DefaultTenant
	var out []policy.Record
	for r, err := range h.audit.Search(ctx, q) {
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

// Durable returns a record that is in the store at this moment.
func (h *Host) Durable(ctx context.Context, id string) (policy.Record, error) {
	return h.audit.Get(ctx, host.DefaultTenant, id)
}

// Kept is all that the store holds but the audit, by key.
func (h *Host) Kept(ctx context.Context) (map[string]string, error) {
	out := map[string]string{}
	err := h.store.View(ctx, func(tx store.Tx) error {
		for item, err := range tx.Scan(store.Query{}) {
			if err != nil {
				return err
			}
			out[string(item.Key)] = string(item.Value)
		}
		return nil
	})
	maps.DeleteFunc(out, func(key, _ string) bool { return strings.HasPrefix(key, "audit/") })
	return out, err
}
