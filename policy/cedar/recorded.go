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
// entities, so that other Cedar tools read it too, and the chain beside them.
type Recorded struct {
	request  types.Request
	entities types.EntityMap
	chain    []policy.Hop
}

type recordedJSON struct {
	types.Request
	Entities types.EntityMap `json:"entities"`
	Chain    []policy.Hop    `json:"chain,omitempty"`
}

// Record takes down a request. It keeps those entities that can be reached from
// the request, and fails if the request does not fit the schema.
func (s *Set) Record(r *policy.Request) (Recorded, error) {
	q, faults := s.words.query(r)
	if len(faults) > 0 {
		return Recorded{}, fmt.Errorf("record a request: %s", strings.Join(faults, "; "))
	}
	rec := Recorded{request: q.request, entities: types.EntityMap{}, chain: r.Chain}
	for i := range q.links {
		rec.keep(q, q.links[i].principal)
	}
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
	return json.Marshal(recordedJSON{r.request, r.entities, r.chain})
}

// UnmarshalJSON implements json.Unmarshaler. What it reads is checked against the
// schema only when it is decided again.
func (r *Recorded) UnmarshalJSON(b []byte) error {
	var in recordedJSON
	if err := json.Unmarshal(b, &in); err != nil {
		return fmt.Errorf("read a recorded request: %w", err)
	}
	r.request, r.entities, r.chain = in.Request, in.Entities, in.Chain
	return nil
}

// recorded is the recorded request in the words of this vocabulary. What context.granted
// was recorded as does not count: the chain says it.
func (v *vocabulary) recorded(r Recorded) (*query, []string) {
	q := &query{request: r.request, entities: entities{shared: r.entities, actions: v.actions}}
	faults := append(v.nonconforming(r.entities), q.follow(r.chain)...)
	q.trace(v)
	if v.tellsGranted(q.request.Action) {
		context := types.RecordMap{grantedAttr: types.Boolean(q.covered())}
		for k, v := range q.request.Context.All() {
			if k != grantedAttr {
				context[k] = v
			}
		}
		q.request.Context = types.NewRecord(context)
	}
	return q, append(faults, v.refusals(q)...)
}

// replay decides a recorded request again, by this set. The query stands at the link that
// the decision is about.
func (s *Set) replay(r Recorded) (*query, policy.Decision) {
	q, faults := s.words.recorded(r)
	if len(faults) > 0 {
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
