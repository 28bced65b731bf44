package api

import (
	"net/http"
	"sync"
	"time"
)

// Statuses of /ping.
const (
	pingIdle = "Healthy"
	pingBusy = "HealthyBusy"
)

// ping is the answer of GET /ping in the form that Amazon Bedrock AgentCore's runtime
// asks containers for. The runtime counts a Healthy one as idle from Since on.
type ping struct {
	Status string `json:"status"`
	Since  int64  `json:"time_of_last_update"` // unix seconds; of the last change of Status
}

// pulse knows when the host last began or ceased to be busy. A time that moved with
// each question would keep an idle host for ever, and one that never moves would end a
// host whose agents have just answered.
type pulse struct {
	mu     sync.Mutex
	status string
	since  time.Time
}

// at returns the status now. changed is when it became that, or zero where nobody
// knows better than that it was not so when last asked.
func (p *pulse) at(busy bool, changed, now time.Time) ping {
	status := pingIdle
	if busy {
		status = pingBusy
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case !changed.IsZero():
		p.since = changed
	case p.status != status:
		p.since = now
	}
	p.status = status
	return ping{status, p.since.Unix()}
}

// ping says whether turns run. A host that would refuse work is an error, as on
// /readyz.
func (s *Server) ping(w http.ResponseWriter, r *http.Request) error {
	if err := s.refusing(r.Context()); err != nil {
		return err
	}
	turns, since := 0, time.Time{}
	if s.opts.Busy != nil {
		turns, since = s.opts.Busy()
	}
	return WriteJSON(w, http.StatusOK, s.pulse.at(turns > 0, since, s.opts.Now()))
}
