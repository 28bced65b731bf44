package tool

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
)

// mark is what a property of a tool's schema says with "x-vespiary": that it is data, or,
// which is taken for granted, that it says who, where and how much; recipient names who
// gets to know the arguments.
type mark string

const (
	markData      mark = "data"
	markRecipient mark = "recipient"
)

// marksOf reads the marks of the properties at the top of a schema.
func marksOf(schema []byte) map[string]mark {
	var s struct {
		Properties map[string]json.RawMessage `json:"properties"`
	}
	if json.Unmarshal(schema, &s) != nil {
		return nil
	}
	out := map[string]mark{}
	for name, raw := range s.Properties {
		var p struct {
			Mark mark `json:"x-vespiary"`
		}
		if json.Unmarshal(raw, &p) == nil && p.Mark != "" {
			out[name] = p.Mark
		}
	}
	return out
}

// namesOf are the names of all properties that a schema has, at the top and below.
func namesOf(schema []byte) map[string]bool {
	var s any
	if json.Unmarshal(schema, &s) != nil {
		return nil
	}
	out := map[string]bool{}
	gatherNames(s, out)
	return out
}

func gatherNames(schema any, out map[string]bool) {
	switch s := schema.(type) {
	case map[string]any:
		properties, _ := s["properties"].(map[string]any)
		for name := range properties {
			out[name] = true
		}
		for _, part := range s {
			gatherNames(part, out)
		}
	case []any:
		for _, part := range s {
			gatherNames(part, out)
		}
	}
}

// maxLeaves bounds the values that are looked for in what the user wrote.
const maxLeaves = 64

// flow splits arguments into those that say who, where and how much, the others, and the
// names of who gets to know them. The first two are nil where they are too many; the names
// are all there, since policies must not decide about some of them only.
func (d *declared) flow(arguments json.RawMessage) (control, data, recipients []string) {
	r := leafReader{dec: json.NewDecoder(bytes.NewReader(arguments)), names: d.names}
	r.dec.UseNumber()
	if r.next() != json.Delim('{') {
		return nil, nil, nil
	}
	control, data = []string{}, []string{}
	for r.more() {
		name, made := r.name(nil)
		values := r.value(made)
		switch d.marks[name] {
		case markData:
			data = append(data, values...)
			continue
		case markRecipient:
			recipients = append(recipients, values...)
		}
		control = append(control, values...)
	}
	slices.Sort(recipients)
	recipients = slices.Compact(recipients)
	if r.err != nil || len(control)+len(data) > maxLeaves {
		return nil, nil, recipients
	}
	return control, data, recipients
}

// leafReader reads the words that would stand for values in what a user writes. It reads
// what is there twice twice, since nobody knows which of the two a tool takes.
type leafReader struct {
	dec   *json.Decoder
	names map[string]bool // that the schema has
	err   error           // the first; nothing is read after it
}

func (r *leafReader) next() json.Token {
	if r.err != nil {
		return nil
	}
	var token json.Token
	token, r.err = r.dec.Token()
	return token
}

func (r *leafReader) more() bool { return r.err == nil && r.dec.More() }

// name reads the name of a property. One that the schema does not have was made up for this
// call, and is a word like a value.
func (r *leafReader) name(out []string) (string, []string) {
	name, _ := r.next().(string)
	if !r.names[name] {
		out = append(out, name)
	}
	return name, out
}

// value appends the words in the next value.
func (r *leafReader) value(out []string) []string {
	switch token := r.next().(type) {
	case json.Delim:
		for r.more() {
			if token == '{' {
				_, out = r.name(out)
			}
			out = r.value(out)
		}
		r.next() // what closes it
		return out
	case nil:
		return append(out, "null")
	default: // a string, a json.Number or a bool
		return append(out, fmt.Sprint(token))
	}
}
