package cedar

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go/types"

	"github.com/vespiary/vespiary/policy"
)

// Recorded is a request as it was decided, with the entities that can matter to
// it, in a form that can be kept: its JSON is that of Cedar's own requests and
// entities, so that other Cedar tools read it too.
type Recorded struct {
	request  types.Request
	entities types.EntityMap
}

type recordedJSON struct {
	types.Request
	Entities types.EntityMap `json:"entities"`
}

// Record takes down a request. It keeps those entities that can be reached from
// the request, and fails if the request does not fit the schema.
func (s *Set) Record(r *policy.Request) (Recorded, error) {
	q, faults := s.words.query(r)
	if len(faults) > 0 {
		return Recorded{}, fmt.Errorf("record a request: %s", strings.Join(faults, "; "))
	}
	rec := Recorded{request: q.request, entities: types.EntityMap{}}
	rec.keep(q, q.request.Principal)
	rec.keep(q, q.request.Resource)
	rec.keepMentioned(q, q.request.Context)
	return rec, nil
}

// keep adds an entity and all that it mentions.
func (r *Recorded) keep(q *query, u types.EntityUID) {
	if _, done := r.entities[u]; done || u.Type == actionType {
		return
	}
	e, ok := q.entities.Get(u)
	if !ok {
		return
	}
	r.entities[u] = e
	for p := range e.Parents.All() {
		r.keep(q, p)
	}
	r.keepMentioned(q, e.Attributes)
}

func (r *Recorded) keepMentioned(q *query, v types.Value) {
	switch v := v.(type) {
	case types.EntityUID:
		r.keep(q, v)
	case types.Set:
		for e := range v.All() {
			r.keepMentioned(q, e)
		}
	case types.Record:
		for e := range v.Values() {
			r.keepMentioned(q, e)
		}
	}
}

// MarshalJSON implements json.Marshaler.
func (r Recorded) MarshalJSON() ([]byte, error) {
	return json.Marshal(recordedJSON{r.request, r.entities})
}

// UnmarshalJSON implements json.Unmarshaler. What it reads is checked against the
// schema only when it is decided again.
func (r *Recorded) UnmarshalJSON(b []byte) error {
	var in recordedJSON
	if err := json.Unmarshal(b, &in); err != nil {
		return fmt.Errorf("read a recorded request: %w", err)
	}
	r.request, r.entities = in.Request, in.Entities
	return nil
}

// replay decides a recorded request again, by this set.
func (s *Set) replay(r Recorded) (*query, policy.Decision) {
	q := &query{request: r.request, entities: entities{shared: r.entities, actions: s.words.actions}}
	q.trace(s.words)
	if faults := append(s.words.nonconforming(r.entities), s.words.refusals(q)...); len(faults) > 0 {
		return q, s.refuse(faults...)
	}
	return q, s.decide(q)
}

func (v *vocabulary) nonconforming(entities types.EntityMap) []string {
	var faults []string
	for u, e := range entities {
		if err := v.conforms(e); err != nil {
			faults = append(faults, fmt.Sprintf("entity %v: %v", u, err))
		}
	}
	slices.Sort(faults)
	return faults
}
