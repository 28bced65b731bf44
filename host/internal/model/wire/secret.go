package wire

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
)

const redacted = "redacted"

// Secret is a credential that every way of printing shows as "redacted". The
// value sits behind two pointers, because fmt prints unexported fields of an
// enclosing struct without asking their methods, and for some verbs follows one
// pointer. The zero Secret is no secret.
type Secret struct{ s **secret }

type secret struct{ value, ref string }

// NewSecret returns the secret with this value. Ref is the reference it was
// resolved from, such as ${env:OPENAI_API_KEY}; error messages name it.
func NewSecret(value, ref string) Secret {
	if value == "" {
		return Secret{}
	}
	s := &secret{value, ref}
	return Secret{&s}
}

// Reveal returns the value, for the one place that sends it.
func (s Secret) Reveal() string {
	if s.s == nil {
		return ""
	}
	return (*s.s).value
}

// Ref returns the reference the secret was resolved from; it may be empty.
func (s Secret) Ref() string {
	if s.s == nil {
		return ""
	}
	return (*s.s).ref
}

// Set reports whether there is a value.
func (s Secret) Set() bool { return s.s != nil }

// String implements fmt.Stringer and never shows the value.
func (s Secret) String() string { return redacted }

// Format implements fmt.Formatter, so that no verb shows the value.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue implements slog.LogValuer and never shows the value.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText keeps the value out of JSON, YAML and every other encoding that
// asks for text.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalJSON keeps the value out of JSON.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// scrub removes the secret from text that a server sent.
func (s Secret) scrub(text string) string {
	if len(s.Reveal()) < 4 { // a value this short is a flag, and would tear words apart
		return text
	}
	return strings.ReplaceAll(text, s.Reveal(), redacted)
}
