package webhook

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/store"
)

const (
	outbox     = "webhook/"
	typePrefix = "session." // the specification wants types in a hierarchy
)

// schedule is how long after each failed attempt the next one is due. The example of
// the specification, which spans 75 hours.
var schedule = []time.Duration{
	5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour,
	10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour,
}

// record is a notice in the outbox of one endpoint.
type record struct {
	endpoint string
	due      time.Time
	id       string
	revision store.Revision // that it was read at

	Failed  int    `json:"failed,omitempty"` // attempts
	Session string `json:"session"`          // for the log
	Body    string `json:"body"`             // as it is sent, the same in every attempt
}

func prefixOf(endpoint string) []byte { return []byte(outbox + endpoint + "/") }

func (r *record) key() []byte {
	return fmt.Appendf(nil, "%s%s/%016x/%s", outbox, r.endpoint, max(0, r.due.UnixNano()), r.id)
}

// op writes the record.
func (r *record) op() (store.Op, error) {
	value, err := json.Marshal(r)
	return store.Op{Key: r.key(), Value: value}, err
}

// remove deletes the record as it was read, so that what somebody else did to it
// meanwhile is not undone.
func (r *record) remove() store.Batch {
	return store.Batch{
		Ops:   []store.Op{{Key: r.key()}},
		Conds: []store.Cond{{Key: r.key(), Revision: r.revision}},
	}
}

// postpone replaces the record by one that is due later, after one more failure.
func (r *record) postpone(due time.Time) (store.Batch, error) {
	next := *r
	next.Failed++
	next.due = due
	op, err := next.op()
	b := r.remove()
	b.Ops = append(b.Ops, op)
	return b, err
}

var (
	// A full stop would let the parts of what is signed be read in two ways.
	idForm  = regexp.MustCompile(`^[!-\-/-~]{1,200}$`)
	dueForm = regexp.MustCompile(`^[0-7][0-9a-f]{15}$`)
)

// endpointOf returns the endpoint that a key of the outbox is for.
func endpointOf(key []byte) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(string(key), outbox), "/")
	return name
}

func decode(item store.Item) (record, error) {
	var r record
	parts := strings.SplitN(string(item.Key), "/", 4)
	if len(parts) != 4 || parts[0]+"/" != outbox || !dueForm.MatchString(parts[2]) || !idForm.MatchString(parts[3]) {
		return r, fmt.Errorf("the key %q is not one of the outbox", item.Key)
	}
	due, err := strconv.ParseInt(parts[2], 16, 64)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(item.Value, &r); err != nil {
		return r, err
	}
	if r.Body == "" || r.Failed < 0 || r.Failed > len(schedule) {
		return r, errors.New("it has no body, or a number of failures that cannot be")
	}
	r.endpoint, r.due, r.id, r.revision = parts[1], time.Unix(0, due), parts[3], item.Revision
	return r, nil
}

// payload is the body of a request.
type payload struct {
	Type      string      `json:"type"`
	Timestamp time.Time   `json:"timestamp"`
	Data      host.Notice `json:"data"`
}

// Receivers are to get small bodies (the specification suggests 20 kB): a notice names
// what to look at.
const (
	maxReason = 2 << 10 // bytes
	maxWaits  = 20
	maxName   = 256 // bytes
)

func bodyOf(n host.Notice) (string, error) {
	n.Time = n.Time.UTC()
	n.Reason = cut(n.Reason, maxReason)
	n.Waiting = slices.Clone(n.Waiting[:min(len(n.Waiting), maxWaits)])
	for i := range n.Waiting {
		n.Waiting[i].Name = cut(n.Waiting[i].Name, maxName)
	}
	b, err := json.Marshal(payload{Type: typePrefix + string(n.Type), Timestamp: n.Time, Data: n})
	return string(b), err
}

// cut shortens a text to a number of bytes, between characters.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "") + "…"
}
