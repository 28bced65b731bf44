package rest

import (
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/vespiary/vespiary/host/internal/api"
)

// preference is what a client asks for with Prefer (RFC 7240).
type preference struct {
	async bool
	wait  time.Duration
	given []string // those that are honoured
}

// preferences reads all Prefer headers. Names are compared in lower case; what is
// not known is ignored, as RFC 7240 section 2 wants.
func preferences(h http.Header) (preference, error) {
	var p preference
	for name := range strings.SplitSeq(strings.Join(h.Values("Prefer"), ","), ",") {
		name = strings.ToLower(strings.TrimSpace(name))
		seconds, isWait := strings.CutPrefix(name, "wait=")
		switch {
		case name == "respond-async":
			p.async = true
		case isWait:
			n, err := strconv.ParseUint(seconds, 10, 31)
			if err != nil {
				return p, api.Invalid("Prefer", "Prefer: %s does not hold a number of seconds; use wait=10", name)
			}
			p.wait = time.Duration(n) * time.Second
		default:
			continue // unknown preferences are to be ignored
		}
		p.given = append(p.given, name)
	}
	return p, nil
}

// limit returns how long to wait for a turn, at most top.
func (p *preference) limit(top time.Duration) time.Duration {
	if p.wait == 0 && !p.async {
		return top
	}
	return min(p.wait, top)
}

// applied tells the client which of its preferences were honoured (RFC 7240 section
// 3), so that it can tell a slow turn from a host that does not know them.
func (p *preference) applied(h http.Header) {
	if len(p.given) > 0 {
		h.Set("Preference-Applied", strings.Join(p.given, ", "))
	}
}

// wantsStream reports whether a client would rather have events than one JSON
// document: it names their media type, and JSON not before.
func wantsStream(h http.Header) bool {
	for accept := range strings.SplitSeq(strings.Join(h.Values("Accept"), ","), ",") {
		mt, params, err := mime.ParseMediaType(accept)
		if err != nil || params["q"] == "0" {
			continue
		}
		switch mt {
		case "text/event-stream":
			return true
		case "application/json":
			return false
		}
	}
	return false
}
