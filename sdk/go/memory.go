package vespiary

import (
	"encoding/json"

	"github.com/vespiary/vespiary/abi"
)

func (c *Context) memory(r abi.SessionMemory) (abi.SessionMemoryResult, error) {
	var out abi.SessionMemoryResult
	return out, c.do(memorySession, r, &out)
}

// Append adds items to the list key of the session's working memory. Each item is
// encoded as JSON.
func (c *Context) Append(key string, items ...any) error {
	var err error
	r := abi.SessionMemory{Op: "append", Key: key, Items: make([]json.RawMessage, len(items))}
	for i, item := range items {
		if r.Items[i], err = json.Marshal(item); err != nil {
			return fault(abi.CodeInvalid, "memory %s: an item does not encode: %v", key, err)
		}
	}
	_, err = c.memory(r)
	return err
}

// Set stores a value in the session's working memory; nil removes it.
func (c *Context) Set(key string, value any) error {
	b, err := json.Marshal(value)
	if err != nil {
		return fault(abi.CodeInvalid, "memory %s: the value does not encode: %v", key, err)
	}
	_, err = c.memory(abi.SessionMemory{Op: "set", Key: key, Value: b})
	return err
}

// Get returns a value of the session's working memory. One that was never set is
// the zero value.
func Get[T any](c *Context, key string) (T, error) {
	var value T
	out, err := c.memory(abi.SessionMemory{Op: "get", Key: key})
	if err != nil || len(out.Value) == 0 {
		return value, err
	}
	if err := json.Unmarshal(out.Value, &value); err != nil {
		return value, fault(abi.CodeInvalid, "memory %s holds something else than %T: %v", key, value, err)
	}
	return value, nil
}

// Window returns the newest limit items of the list key of the session's working
// memory, the oldest of them first; limit 0 returns all.
func Window[T any](c *Context, key string, limit int) ([]T, error) {
	out, err := c.memory(abi.SessionMemory{Op: "window", Key: key, Limit: limit})
	if err != nil {
		return nil, err
	}
	items := make([]T, len(out.Items))
	for i, item := range out.Items {
		if err := json.Unmarshal(item, &items[i]); err != nil {
			return nil, fault(abi.CodeInvalid, "memory %s: item %d is something else than %T: %v", key, i, items[i], err)
		}
	}
	return items, nil
}
