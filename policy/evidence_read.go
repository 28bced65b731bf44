package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"strings"
	"time"
)

// Limits on evidence, which may come from outside.
const (
	maxEvidence     = 4 << 20 // bytes
	maxEvidenceRead = 2 * maxEvidenceDepth
)

// ReadEvidence makes the request again that AppendEvidence was given. Sets are of type
// []any, whole numbers are int64, and times are in UTC. It never panics on what it is given.
func ReadEvidence(b []byte) (*Request, error) {
	r, err := readEvidence(b)
	if err != nil {
		return nil, fmt.Errorf("policy: read the evidence of a decision: %w", err)
	}
	return r, nil
}

func readEvidence(b []byte) (*Request, error) {
	if len(b) > maxEvidence {
		return nil, fmt.Errorf("it has %d bytes, more than %d", len(b), maxEvidence)
	}
	var w wireRequest
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	d.DisallowUnknownFields()
	if err := d.Decode(&w); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows it")
	}
	if w.Version != evidenceVersion {
		return nil, fmt.Errorf("it is of version %d, and this host knows %d", w.Version, evidenceVersion)
	}
	return w.request()
}

// The forms in which encoding/json reads the parts of evidence.
type (
	wireRequest struct {
		Version   int            `json:"v"`
		Principal wireUID        `json:"p"`
		Action    wireUID        `json:"a"`
		Resource  wireUID        `json:"r"`
		Context   map[string]any `json:"c"`
		Entities  []wireEntity   `json:"e"`
		Known     *[]wireEntity  `json:"k"`
		Chain     []wireHop      `json:"h"`
	}
	wireEntity struct {
		UID     wireUID             `json:"u"`
		Parents []wireUID           `json:"p"`
		Attrs   map[string]any      `json:"a"`
		Tags    map[string][]string `json:"t"`
	}
	wireHop struct {
		Principal wireUID     `json:"p"`
		Grants    *wireGrants `json:"g"`
	}
	wireGrants struct {
		Task string      `json:"t"`
		List []wireGrant `json:"l"`
	}
	wireGrant struct {
		Actions   []string  `json:"a"`
		Resources []wireUID `json:"r"`
	}
	wireUID UID
)

// UnmarshalJSON implements json.Unmarshaler.
func (u *wireUID) UnmarshalJSON(b []byte) error {
	var parts []string
	if err := json.Unmarshal(b, &parts); err != nil || len(parts) != 2 {
		return fmt.Errorf("%.80s is no name of an entity, which has the form [type, id]", b)
	}
	u.Type, u.ID = parts[0], parts[1]
	return nil
}

func (w *wireRequest) request() (*Request, error) {
	r := &Request{Principal: UID(w.Principal), Action: UID(w.Action), Resource: UID(w.Resource), Chain: hopsOf(w.Chain)}
	var err error
	if r.Context, err = readRecord(w.Context, 0); err != nil {
		return nil, fmt.Errorf("context: %w", err)
	}
	if r.Entities, err = entitiesOf(w.Entities); err != nil {
		return nil, err
	}
	if w.Known != nil {
		r.Known = &Known{}
		r.Known.Entities, err = entitiesOf(*w.Known)
	}
	return r, err
}

func entitiesOf(list []wireEntity) ([]Entity, error) {
	if len(list) == 0 {
		return nil, nil
	}
	out := make([]Entity, len(list))
	for i := range list {
		w := &list[i]
		attrs, err := readRecord(w.Attrs, 0)
		if err != nil {
			return nil, fmt.Errorf("entity %s %q: %w", w.UID.Type, w.UID.ID, err)
		}
		out[i] = Entity{UID: UID(w.UID), Parents: uidsOf(w.Parents), Attrs: attrs, Tags: w.Tags}
	}
	return out, nil
}

func uidsOf(list []wireUID) []UID {
	var out []UID
	for _, u := range list {
		out = append(out, UID(u))
	}
	return out
}

func hopsOf(list []wireHop) []Hop {
	var out []Hop
	for _, w := range list {
		h := Hop{Principal: UID(w.Principal)}
		if w.Grants != nil {
			h.Grants = &Grants{Task: w.Grants.Task, List: []Grant{}}
			for _, g := range w.Grants.List {
				h.Grants.List = append(h.Grants.List, Grant{Actions: g.Actions, Resources: uidsOf(g.Resources)})
			}
		}
		out = append(out, h)
	}
	return out
}

// readRecord replaces the values of a record, in place, by what they stand for.
func readRecord(fields map[string]any, depth int) (map[string]any, error) {
	if depth > maxEvidenceRead {
		return nil, fmt.Errorf("is nested more than %d deep", maxEvidenceRead)
	}
	var escaped []string
	for k, v := range fields {
		x, err := readValue(v, depth+1)
		if err != nil {
			return nil, fmt.Errorf("%.80q %w", k, err)
		}
		fields[k] = x
		if strings.HasPrefix(k, "$") {
			escaped = append(escaped, k)
		}
	}
	if len(escaped) == 0 {
		return fields, nil
	}
	return unescape(fields, escaped)
}

// unescape takes away the "$" that was put before keys.
func unescape(fields map[string]any, escaped []string) (map[string]any, error) {
	out := maps.Clone(fields)
	for _, k := range escaped {
		if !strings.HasPrefix(k, "$$") {
			return nil, fmt.Errorf("has the key %.80q, which stands for no value", k)
		}
		delete(out, k)
	}
	for _, k := range escaped {
		out[k[1:]] = fields[k]
	}
	return out, nil
}

func readValue(v any, depth int) (any, error) {
	switch v := v.(type) {
	case string, bool:
		return v, nil
	case json.Number:
		n, err := v.Int64()
		if err != nil {
			return nil, fmt.Errorf("is the number %.80s, which is not whole or too large", v)
		}
		return n, nil
	case []any:
		return readSet(v, depth)
	case map[string]any:
		if typed, ok := typedValue(v); ok {
			return readTyped(typed, v[typed])
		}
		return readRecord(v, depth)
	}
	return nil, errEvidenceNil
}

func readSet(elements []any, depth int) (any, error) {
	if depth > maxEvidenceRead {
		return nil, fmt.Errorf("is nested more than %d deep", maxEvidenceRead)
	}
	for i, x := range elements {
		var err error
		if elements[i], err = readValue(x, depth+1); err != nil {
			return nil, fmt.Errorf("element %d %w", i, err)
		}
	}
	return elements, nil
}

// typedValue returns the key of an object that stands for a value and not for a record.
func typedValue(fields map[string]any) (key string, ok bool) {
	if len(fields) != 1 {
		return "", false
	}
	for k := range fields {
		key = k
	}
	return key, strings.HasPrefix(key, "$") && !strings.HasPrefix(key, "$$")
}

func readTyped(key string, v any) (any, error) {
	text, _ := v.(string)
	switch key {
	case "$t":
		n, _ := v.(json.Number)
		ms, err := n.Int64()
		if err != nil {
			return nil, errors.New("is a time that is no number of milliseconds")
		}
		return time.UnixMilli(ms).UTC(), nil
	case "$ip":
		a, err := netip.ParseAddr(text)
		if err != nil {
			return nil, fmt.Errorf("is no address: %w", err)
		}
		return a, nil
	case "$d":
		return Decimal(text), nil
	case "$e":
		parts, _ := v.([]any)
		if len(parts) == 2 {
			typ, ok := parts[0].(string)
			id, ok2 := parts[1].(string)
			if ok && ok2 {
				return UID{typ, id}, nil
			}
		}
		return nil, errors.New("is no name of an entity, which has the form [type, id]")
	}
	return nil, fmt.Errorf("has the key %.80q, which stands for no value", key)
}
