package offline

import (
	"bytes"
	"encoding/json"
)

// property is one property of a schema.
type property struct {
	name   string
	schema json.RawMessage
}

// orderedProperties keeps the order of a schema's properties, by which numbers
// of a question are given to arguments.
type orderedProperties []property

// UnmarshalJSON reads an object and keeps its order.
func (o *orderedProperties) UnmarshalJSON(data []byte) error {
	*o = nil
	d := json.NewDecoder(bytes.NewReader(data))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return err // null or a boolean schema: no properties
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return err
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return err
		}
		name, _ := key.(string)
		*o = append(*o, property{name, value})
	}
	return nil
}
