package app

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/vespiary/vespiary/host/internal/config"
)

// fixed refuses a configuration that changes what a host takes in only when it starts.
// A reload that left such a change out would not be all of it.
func fixed(now, next *config.Config) error {
	var changed []string
	for _, s := range []struct {
		key       string
		now, next any
	}{
		{"data", now.Data, next.Data},
		{"listen", now.Listen, next.Listen},
		{"hosts", now.Hosts, next.Hosts},
		{"tls", now.TLS, next.TLS},
		{"edge", now.Edge, next.Edge},
		{"limits", now.Limits, next.Limits},
		{"http", now.HTTP, next.HTTP},
		{"identity.audience", now.Identity.Audience, next.Identity.Audience},
		{"audit", now.Audit, next.Audit},
		{"approvals", now.Approvals, next.Approvals},
		{"webhooks", now.Webhooks, next.Webhooks},
		{"telemetry", now.Telemetry, next.Telemetry},
		{"metrics", now.Metrics, next.Metrics},
	} {
		if !reflect.DeepEqual(s.now, s.next) {
			changed = append(changed, s.key)
		}
	}
	if len(changed) == 0 {
		return nil
	}
	return fmt.Errorf("the configuration changes %s, which a running host cannot; restart it", strings.Join(changed, ", "))
}
