package wire

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// maxName is the longest tool name that all providers accept.
const maxName = 64

// Names maps tool names to ones that providers accept (letters, digits, "_" and
// "-", at most 64 of them) and back, because hosts name tools "server.tool". The
// mapping depends on the request alone, so that a conversation keeps its names.
type Names struct{ out, in map[string]string }

// NamesOf returns the mapping for the tools of a request and for those that its
// messages speak of.
func NamesOf(r Request) Names {
	n := Names{out: map[string]string{}, in: map[string]string{}}
	for _, t := range r.Tools {
		n.add(t.Name)
	}
	for _, m := range r.Messages {
		for _, c := range m.ToolCalls {
			n.add(c.Name)
		}
	}
	return n
}

// Out returns the provider's name of a tool.
func (n Names) Out(name string) string {
	if out, ok := n.out[name]; ok {
		return out
	}
	return plainName(name)
}

// In returns the host's name for a name that a model used. A name that the model
// made up is returned as it is.
func (n Names) In(name string) string {
	if in, ok := n.in[name]; ok {
		return in
	}
	return name
}

// add gives names that collide a suffix from their own hash, so that the outcome
// does not depend on how many tools came before.
func (n Names) add(name string) {
	if _, done := n.out[name]; done {
		return
	}
	out := plainName(name)
	if _, taken := n.in[out]; taken || out == "" {
		sum := sha256.Sum256([]byte(name))
		out = out[:min(len(out), maxName-9)] + "_" + hex.EncodeToString(sum[:4])
	}
	n.out[name], n.in[out] = out, name
}

func plainName(name string) string {
	plain := strings.Map(func(r rune) rune {
		if r < 128 && (r == '_' || r == '-' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z') {
			return r
		}
		return '_'
	}, name)
	return plain[:min(len(plain), maxName)]
}
