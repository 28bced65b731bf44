package policy

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"time"

	"github.com/vespiary/vespiary/policy/internal/jcs"
)

// Evidence is a request in JSON, whole, so that it can be decided again:
//
//	{"v":1,"p":principal,"a":action,"r":resource,"c":context,"e":entities,"k":known,"h":chain}
//
// A UID is ["Type","id"]. An entity has "u", its UID, and what is not empty of "p", parents,
// "a", attributes, and "t", tags. A hop of the chain has "p", its principal, and "g" with the
// task "t" and a list "l" of grants if it has any, each with "a" and "r". Of the values,
// texts, booleans, whole numbers, sets and records are JSON as they are, and the others an
// object with one key: {"$t":milliseconds since 1970}, {"$ip":"::1"}, {"$e":UID},
// {"$d":"1.5"}. The key of a record that begins with "$" has another one before it.
const evidenceVersion = 1

// maxEvidenceDepth is how far values are nested, so that one that contains itself is an error
// rather than the end of the process.
const maxEvidenceDepth = 32

// maxEvidenceKept is the size of evidence in bytes: with it a record, in which it stands in
// base64, stays below what the store takes in one value.
const maxEvidenceKept = 512 << 10

var (
	errEvidenceDepth = fmt.Errorf("is nested more than %d deep", maxEvidenceDepth)
	errEvidenceNil   = errors.New("is nil; leave the key out if there is no value")
)

// AppendEvidence appends a request in a form from which ReadEvidence makes it again. What
// requests share is encoded once and kept with it. A text that is not UTF-8 does not come
// back as it was. The error tells of a value that no attribute may have, or of a request of
// more than half a MiB, and dst is then as it was.
func AppendEvidence(dst []byte, r *Request) ([]byte, error) {
	e := encoder{append(dst, `{"v":1,"p":`...)}
	e.uid(r.Principal)
	e.raw(`,"a":`)
	e.uid(r.Action)
	e.raw(`,"r":`)
	e.uid(r.Resource)
	e.raw(`,"c":`)
	if err := e.record(r.Context, 0); err != nil {
		return dst, fmt.Errorf("policy: put down the context: %w", err)
	}
	if err := e.requestEntities(r); err != nil {
		return dst, fmt.Errorf("policy: put down the entities: %w", err)
	}
	e.chain(r.Chain)
	if n := len(e.b) - len(dst); n >= maxEvidenceKept {
		return dst, fmt.Errorf("policy: put down the request: it has %d bytes, more than %d", n, maxEvidenceKept)
	}
	return append(e.b, '}'), nil
}

// encoder appends pieces of evidence.
type encoder struct{ b []byte }

func (e *encoder) raw(s string)  { e.b = append(e.b, s...) }
func (e *encoder) text(s string) { e.b = jcs.AppendString(e.b, s) }

// sep separates the elements of a list or record.
func (e *encoder) sep(first bool) {
	if !first {
		e.b = append(e.b, ',')
	}
}

func (e *encoder) uid(u UID) {
	e.b = append(e.b, '[')
	e.text(u.Type)
	e.b = append(e.b, ',')
	e.text(u.ID)
	e.b = append(e.b, ']')
}

func list[T any](e *encoder, elements []T, one func(*encoder, T)) {
	e.b = append(e.b, '[')
	for i, x := range elements {
		e.sep(i == 0)
		one(e, x)
	}
	e.b = append(e.b, ']')
}

// encoded is what a Prepared keeps.
type encoded struct {
	b   []byte
	err error
}

// once appends what the first caller encodes.
func (e *encoder) once(p *Prepared, encode func(*encoder) error) error {
	kept, _ := p.Get(func() any {
		var own encoder
		err := encode(&own)
		return &encoded{own.b, err}
	}).(*encoded)
	e.b = append(e.b, kept.b...)
	return kept.err
}

func (e *encoder) requestEntities(r *Request) error {
	if len(r.Entities) > 0 {
		e.raw(`,"e":`)
		if err := e.entities(r.Entities); err != nil {
			return err
		}
	}
	if r.Known == nil {
		return nil
	}
	e.raw(`,"k":`)
	return e.once(&r.Known.Encoded, func(e *encoder) error { return e.entities(r.Known.Entities) })
}

func (e *encoder) entities(list []Entity) error {
	e.b = append(e.b, '[')
	for i := range list {
		e.sep(i == 0)
		if err := e.entity(&list[i]); err != nil {
			return fmt.Errorf("%s %q: %w", list[i].UID.Type, list[i].UID.ID, err)
		}
	}
	e.b = append(e.b, ']')
	return nil
}

func (e *encoder) entity(x *Entity) error {
	e.raw(`{"u":`)
	e.uid(x.UID)
	if len(x.Parents) > 0 {
		e.raw(`,"p":`)
		list(e, x.Parents, (*encoder).uid)
	}
	if len(x.Attrs) > 0 {
		e.raw(`,"a":`)
		if err := e.record(x.Attrs, 0); err != nil {
			return err
		}
	}
	if len(x.Tags) > 0 {
		e.tags(x.Tags)
	}
	e.b = append(e.b, '}')
	return nil
}

func (e *encoder) tags(tags map[string][]string) {
	e.raw(`,"t":{`)
	first := true
	for k, set := range tags {
		e.sep(first)
		first = false
		e.text(k)
		e.b = append(e.b, ':')
		list(e, set, (*encoder).text)
	}
	e.b = append(e.b, '}')
}

func (e *encoder) chain(hops []Hop) {
	if len(hops) == 0 {
		return
	}
	e.raw(`,"h":`)
	list(e, hops, func(e *encoder, h Hop) {
		e.raw(`{"p":`)
		e.uid(h.Principal)
		if h.Grants != nil {
			e.raw(`,"g":`)
			_ = e.once(&h.Grants.Encoded, h.Grants.encode)
		}
		e.b = append(e.b, '}')
	})
}

func (g *Grants) encode(e *encoder) error {
	e.raw(`{"t":`)
	e.text(g.Task)
	e.raw(`,"l":`)
	list(e, g.List, func(e *encoder, g Grant) {
		e.raw(`{"a":`)
		list(e, g.Actions, (*encoder).text)
		if len(g.Resources) > 0 {
			e.raw(`,"r":`)
			list(e, g.Resources, (*encoder).uid)
		}
		e.b = append(e.b, '}')
	})
	e.b = append(e.b, '}')
	return nil
}

func (e *encoder) record(fields map[string]any, depth int) error {
	if depth >= maxEvidenceDepth {
		return errEvidenceDepth
	}
	e.b = append(e.b, '{')
	first := true
	for k, v := range fields {
		e.sep(first)
		first = false
		if len(k) > 0 && k[0] == '$' {
			k = "$" + k
		}
		e.text(k)
		e.b = append(e.b, ':')
		if err := e.value(v, depth+1); err != nil {
			return fmt.Errorf("%q %w", k, err)
		}
	}
	e.b = append(e.b, '}')
	return nil
}

// value appends what Entity allows as an attribute.
func (e *encoder) value(v any, depth int) error {
	switch v := v.(type) {
	case string:
		e.text(v)
	case bool:
		e.b = strconv.AppendBool(e.b, v)
	case int64:
		e.b = strconv.AppendInt(e.b, v, 10)
	case int:
		e.b = strconv.AppendInt(e.b, int64(v), 10)
	case UID:
		e.raw(`{"$e":`)
		e.uid(v)
		e.b = append(e.b, '}')
	case Decimal:
		e.raw(`{"$d":`)
		e.text(string(v))
		e.b = append(e.b, '}')
	case time.Time:
		return e.time(v)
	case netip.Addr:
		return e.addr(v)
	case map[string]any:
		return e.record(v, depth)
	case *Shared:
		if v == nil {
			return errEvidenceNil
		}
		if depth >= maxEvidenceDepth {
			return errEvidenceDepth
		}
		return e.once(&v.Encoded, func(e *encoder) error { return e.value(v.Value, depth+1) })
	case nil:
		return errEvidenceNil
	default:
		return e.slice(v, depth)
	}
	return nil
}

// time keeps milliseconds, which is what policies see of a time.
func (e *encoder) time(t time.Time) error {
	if s := t.Unix(); s > math.MaxInt64/1000-1 || s < math.MinInt64/1000+1 {
		return fmt.Errorf("is the time %v, which has no place among milliseconds", t)
	}
	e.raw(`{"$t":`)
	e.b = append(strconv.AppendInt(e.b, t.UnixMilli(), 10), '}')
	return nil
}

func (e *encoder) addr(a netip.Addr) error {
	if !a.IsValid() {
		return errors.New("is the zero netip.Addr, which is no address")
	}
	e.raw(`{"$ip":`)
	e.text(a.String())
	e.b = append(e.b, '}')
	return nil
}

func (e *encoder) slice(v any, depth int) error {
	switch v := v.(type) {
	case []string:
		list(e, v, (*encoder).text)
		return nil
	case []UID:
		return set(e, v, depth)
	case []Decimal:
		return set(e, v, depth)
	case []any:
		return set(e, v, depth)
	case []map[string]any:
		return set(e, v, depth)
	case []int64:
		return set(e, v, depth)
	case []int:
		return set(e, v, depth)
	case []bool:
		return set(e, v, depth)
	case []time.Time:
		return set(e, v, depth)
	case []netip.Addr:
		return set(e, v, depth)
	}
	return fmt.Errorf("has the Go type %T, which no attribute has; see policy.Entity", v)
}

func set[T any](e *encoder, elements []T, depth int) error {
	if depth >= maxEvidenceDepth {
		return errEvidenceDepth
	}
	e.b = append(e.b, '[')
	for i, x := range elements {
		e.sep(i == 0)
		if err := e.value(x, depth+1); err != nil {
			return fmt.Errorf("element %d %w", i, err)
		}
	}
	e.b = append(e.b, ']')
	return nil
}
