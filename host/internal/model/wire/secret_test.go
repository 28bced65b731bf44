package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

const key = "sk-test-0123456789"

func TestSecretNeverPrints(t *testing.T) {
	s := NewSecret(key, "${env:KEY}")
	type outer struct {
		Open   Secret
		hidden Secret
		list   []Secret
	}
	o := outer{s, s, []Secret{s}}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%T"} {
		fmt.Fprintf(&out, verb+verb+verb+"\n", s, o, &o)
	}
	log := slog.New(slog.NewJSONHandler(&out, nil))
	log.Info("x", "secret", s, "outer", o)
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "secret", s, "outer", o)
	data, err := json.Marshal(map[string]any{"a": s, "b": o, "c": map[Secret]int{s: 1}})
	if err != nil {
		t.Fatal(err)
	}
	out.Write(data)
	for _, part := range []string{key, key[3:], fmt.Sprintf("%x", key)} {
		if strings.Contains(out.String(), part) {
			t.Errorf("%q shows in:\n%s", part, out.String())
		}
	}
	if s.Reveal() != key || s.Ref() != "${env:KEY}" || !s.Set() {
		t.Error("the secret lost what it holds")
	}
	if zero := (Secret{}); zero.Set() || zero.Reveal() != "" || zero.Ref() != "" || NewSecret("", "x").Set() {
		t.Error("the zero secret holds something")
	}
}
