package gate

import (
	"slices"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/policy"
)

func same(a, b abi.Label) bool {
	return a.Integrity == b.Integrity && a.Public == b.Public && slices.Equal(a.Readers, b.Readers) && slices.Equal(a.Sources, b.Sources)
}

// labelOf is the label that a result brings into the session. The host's own words,
// and what is made of what the session held already, take nothing away from it.
func (t *Turn) labelOf(r abi.Result, out host.Output) abi.Label {
	if r.Error != nil || out.Derived {
		return t.Label()
	}
	l, ok := out.Labels[""]
	if !ok {
		l = abi.Label{Integrity: abi.Untrusted}
	}
	for pointer, part := range out.Labels {
		if pointer != "" {
			l = l.Meet(part)
		}
	}
	return l
}

// flow is context.flow. The whole session carries one label, which is that of the context
// that chose a call; its arguments have it too, unless the user's own words name them.
// Calls share it until it changes.
func (t *Turn) flow(c *host.Call, class host.Class) *policy.Shared {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(class.Recipient) > 0 || t.label.Integrity < abi.Trusted && (class.Control != nil || class.Data != nil) {
		return &policy.Shared{Value: t.flowFor(c.Run.Owner, class)}
	}
	if t.flowOf == nil {
		t.flowOf = &policy.Shared{Value: t.flowFor(c.Run.Owner, host.Class{})}
	}
	return t.flowOf
}

// flowFor makes context.flow for a class. The caller holds mu.
func (t *Turn) flowFor(owner string, class host.Class) map[string]any {
	l := t.label
	readers := l.Readers
	if !slices.Contains(readers, owner) {
		readers = append(slices.Clone(readers), owner)
	}
	recipients := class.Recipient
	if recipients == nil {
		recipients = []string{}
	}
	return map[string]any{
		"pc":         int64(l.Integrity),
		"control":    int64(t.integrity(class.Control)),
		"data":       int64(t.integrity(class.Data)),
		"isPublic":   l.Public,
		"readers":    readers,
		"recipients": recipients,
		"named":      len(recipients) > 0 && t.said(recipients),
		"sources":    l.Sources,
	}
}

// integrity is that of arguments: the session's, or the user's where the user's words name
// each of them. nil stands for arguments that nobody knows.
func (t *Turn) integrity(arguments []string) abi.Integrity {
	if arguments != nil && t.said(arguments) {
		return abi.Trusted
	}
	return t.label.Integrity
}
