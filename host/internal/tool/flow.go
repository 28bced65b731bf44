package tool

import (
	"encoding/json"
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

// maxLeaves bounds the values that are looked for in what the user wrote.
const maxLeaves = 64

// flow splits arguments into those that say who, where and how much, the others, and the
// names of who gets to know them.
func (d *declared) flow(arguments json.RawMessage) (control, data, recipients []string) {
	var fields map[string]json.RawMessage
	if json.Unmarshal(arguments, &fields) != nil {
		return nil, nil, nil
	}
	control, data = []string{}, []string{}
	for name, raw := range fields {
		values := leavesOf(raw, nil)
		switch d.marks[name] {
		case markData:
			data = append(data, values...)
			continue
		case markRecipient:
			recipients = append(recipients, values...)
		}
		control = append(control, values...)
	}
	if len(control)+len(data) > maxLeaves {
		return nil, nil, recipients
	}
	slices.Sort(recipients)
	return control, data, recipients
}

// leavesOf appends the values in a JSON value as the words that would stand for them.
func leavesOf(raw json.RawMessage, out []string) []string {
	var s string
	var list []json.RawMessage
	var fields map[string]json.RawMessage
	switch {
	case len(out) > maxLeaves:
	case json.Unmarshal(raw, &s) == nil && len(raw) > 0 && raw[0] == '"':
		out = append(out, s)
	case json.Unmarshal(raw, &list) == nil && list != nil:
		for _, e := range list {
			out = leavesOf(e, out)
		}
	case json.Unmarshal(raw, &fields) == nil && fields != nil:
		for _, e := range fields {
			out = leavesOf(e, out)
		}
	default: // a number, true, false or null
		out = append(out, string(raw))
	}
	return out
}
