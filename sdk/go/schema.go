package vespiary

import (
	"bytes"
	"encoding"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"
)

// schema is the part of JSON Schema (2020-12) that Go types need.
type schema struct {
	Type            oneOrMany         `json:"type,omitempty"`
	Description     string            `json:"description,omitempty"`
	Format          string            `json:"format,omitempty"`
	ContentEncoding string            `json:"contentEncoding,omitempty"`
	Enum            []json.RawMessage `json:"enum,omitempty"`
	Properties      properties        `json:"properties,omitzero"`
	Required        []string          `json:"required,omitempty"`
	Items           *schema           `json:"items,omitempty"`
	Values          *schema           `json:"additionalProperties,omitempty"` // of a map
	None            bool              `json:"-"`                              // stands for the schema false
}

// MarshalJSON implements json.Marshaler.
func (s *schema) MarshalJSON() ([]byte, error) {
	if s.None {
		return []byte("false"), nil
	}
	type plain schema
	return json.Marshal((*plain)(s))
}

func (s *schema) json() json.RawMessage {
	b, err := json.Marshal(s)
	if err != nil {
		panic("vespiary: " + err.Error()) // no value of these types fails to encode
	}
	return b
}

// oneOrMany is a string, or an array where there are several.
type oneOrMany []string

// MarshalJSON implements json.Marshaler.
func (o oneOrMany) MarshalJSON() ([]byte, error) {
	if len(o) == 1 {
		return json.Marshal(o[0])
	}
	return json.Marshal([]string(o))
}

// properties keeps the order of a struct's fields, in which a model reads them.
type properties struct {
	names  []string
	byName map[string]*schema
}

// IsZero leaves properties out of schemas that are not of structs.
func (p properties) IsZero() bool { return p.byName == nil }

// MarshalJSON implements json.Marshaler.
func (p properties) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, name := range p.names {
		if i > 0 {
			b.WriteByte(',')
		}
		key, err := json.Marshal(name)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(p.byName[name])
		if err != nil {
			return nil, err
		}
		b.Write(key)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// reader makes schemas. Nullable is set for outputs, where encoding/json writes
// null for a nil pointer, slice or map; a model is better asked to leave it out.
type reader struct {
	nullable bool
	within   map[reflect.Type]bool // the structs around, to stop at recursion
}

func schemaOf(t reflect.Type, nullable bool) *schema {
	return reader{nullable, map[reflect.Type]bool{}}.read(t)
}

// read returns the schema of a type; that of interfaces, of types with a JSON
// encoding of their own and of a struct within itself allows anything.
func (r reader) read(t reflect.Type) *schema {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return &schema{Type: oneOrMany{"string"}, Format: "date-time"}
	case encodes[json.Marshaler](t):
		return &schema{}
	case encodes[encoding.TextMarshaler](t):
		return &schema{Type: oneOrMany{"string"}}
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8:
		return r.orNull(&schema{Type: oneOrMany{"string"}, ContentEncoding: "base64"})
	}
	return r.kind(t)
}

func encodes[I any](t reflect.Type) bool {
	return t.Implements(reflect.TypeFor[I]()) || reflect.PointerTo(t).Implements(reflect.TypeFor[I]())
}

func (r reader) kind(t reflect.Type) *schema {
	switch t.Kind() {
	case reflect.String:
		return &schema{Type: oneOrMany{"string"}}
	case reflect.Bool:
		return &schema{Type: oneOrMany{"boolean"}}
	case reflect.Float32, reflect.Float64:
		return &schema{Type: oneOrMany{"number"}}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return &schema{Type: oneOrMany{"integer"}}
	case reflect.Pointer:
		return r.orNull(r.read(t.Elem()))
	case reflect.Slice:
		return r.orNull(&schema{Type: oneOrMany{"array"}, Items: r.read(t.Elem())})
	case reflect.Array:
		return &schema{Type: oneOrMany{"array"}, Items: r.read(t.Elem())}
	case reflect.Map:
		return r.orNull(&schema{Type: oneOrMany{"object"}, Values: r.read(t.Elem())})
	case reflect.Struct:
		return r.object(t)
	case reflect.Interface:
		return &schema{}
	}
	panic("vespiary: a " + t.String() + " has no JSON form")
}

func (r reader) orNull(s *schema) *schema {
	if r.nullable && len(s.Type) > 0 && !slices.Contains(s.Type, "null") {
		s.Type = append(s.Type, "null")
	}
	return s
}

func (r reader) object(t reflect.Type) *schema {
	if r.within[t] {
		return &schema{}
	}
	r.within = maps.Clone(r.within)
	r.within[t] = true
	s := &schema{Type: oneOrMany{"object"}, Properties: properties{byName: map[string]*schema{}}, Values: &schema{None: true}}
	r.fields(s, t)
	return s
}

// fields adds the fields of t, then those of the structs that it embeds, which
// give way to outer fields of the same name, as in encoding/json.
func (r reader) fields(s *schema, t reflect.Type) {
	var embedded []reflect.Type
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if inner := indirect(f.Type); f.Anonymous && name == "" && inner.Kind() == reflect.Struct {
			embedded = append(embedded, inner)
			continue
		}
		if !f.IsExported() || f.Tag.Get("json") == "-" {
			continue
		}
		if name == "" {
			name = f.Name
		}
		r.field(s, name, options, f)
	}
	for _, inner := range embedded {
		r.fields(s, inner)
	}
}

func (r reader) field(s *schema, name, options string, f reflect.StructField) {
	if s.Properties.byName[name] != nil {
		return
	}
	optional := strings.Contains(options, "omit")
	r.nullable = r.nullable && !optional // what is omitted is never null
	p := r.read(f.Type)
	if slices.Contains(strings.Split(options, ","), "string") {
		p = &schema{Type: oneOrMany{"string"}} // the number or boolean is quoted
	}
	p.Description = f.Tag.Get("doc")
	if p.Description == "" {
		p.Description = f.Tag.Get("jsonschema")
	}
	p.Enum = enum(f.Tag.Get("enum"), p.Type)
	s.Properties.names = append(s.Properties.names, name)
	s.Properties.byName[name] = p
	if !optional && (f.Type.Kind() != reflect.Pointer || r.nullable) {
		s.Required = append(s.Required, name)
	}
}

// enum reads the values of a tag like "low,high" as the field's type has them.
func enum(tag string, types oneOrMany) []json.RawMessage {
	if tag == "" {
		return nil
	}
	var values []json.RawMessage
	for value := range strings.SplitSeq(tag, ",") {
		literal := json.RawMessage(value)
		if slices.Contains(types, "string") {
			literal, _ = json.Marshal(value)
		}
		if !json.Valid(literal) {
			panic("vespiary: enum:\"" + tag + "\" does not fit its field")
		}
		values = append(values, literal)
	}
	return values
}

func indirect(t reflect.Type) reflect.Type {
	if t.Kind() == reflect.Pointer {
		return t.Elem()
	}
	return t
}
