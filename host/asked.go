package host

import "time"

// AskedBy is the context of what a caller asks of the host, as the policy schema's type
// Asked has it.
func AskedBy(c *Caller, now time.Time) map[string]any {
	return map[string]any{"now": now, "via": c.Via, "scopes": orEmpty(c.Scopes), "actors": orEmpty(c.Actors)}
}

func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}
