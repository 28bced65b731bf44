package abi_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/abi"
)

func TestParseManifestRefuses(t *testing.T) {
	type refusal struct {
		Name     string `json:"name"`
		Manifest string `json:"manifest"`
		Error    string `json:"error"`
	}
	for _, r := range lines[refusal](t, "testdata/manifest_refused.jsonl") {
		t.Run(r.Name, func(t *testing.T) {
			m, err := abi.ParseManifest([]byte(r.Manifest))
			if err == nil {
				t.Fatalf("accepted as %+v", m)
			}
			if !strings.Contains(err.Error(), r.Error) {
				t.Errorf("error %q does not contain %q", err, r.Error)
			}
		})
	}
}

func TestParseManifest(t *testing.T) {
	got, err := abi.ParseManifest([]byte(` {"abi":1,"kind":"tool","name":"hello-2","needs":["emit"],"recovery":{"hello":"read"}} ` + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := &abi.Manifest{
		ABI: 1, Kind: abi.PluginTool, Name: "hello-2", Needs: []string{abi.CallEmit},
		Recovery: map[string]abi.Recovery{"hello": abi.RecoverRead},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestExports(t *testing.T) {
	for kind, want := range map[abi.PluginKind][]string{
		abi.PluginAgent:     {"handle"},
		abi.PluginTool:      {"describe", "call"},
		abi.PluginConnector: {"request", "response"},
		"other":             nil,
	} {
		if got := kind.Exports(); !slices.Equal(got, want) {
			t.Errorf("%s exports %v, want %v", kind, got, want)
		}
	}
}

func TestErrorIsAClass(t *testing.T) {
	err := fmt.Errorf("reading: %w", &abi.Error{Code: abi.CodeDenied, Message: "no", Policy: "p"})
	tests := []struct {
		target error
		want   bool
	}{
		{&abi.Error{Code: abi.CodeDenied}, true},
		{&abi.Error{Code: abi.CodeTimeout}, false},
		{&abi.Error{Code: abi.CodeDenied, Message: "other words"}, false},
		{errors.New("denied: no"), false},
	}
	for _, test := range tests {
		if got := errors.Is(err, test.target); got != test.want {
			t.Errorf("errors.Is(err, %#v) = %v, want %v", test.target, got, test.want)
		}
	}
	if got, want := err.Error(), "reading: denied: no"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestTextOf(t *testing.T) {
	content := []abi.Content{
		abi.Text("one"), {Type: "image", Text: "not text", Data: []byte{1}}, abi.Text(""), abi.Text("two\n"), abi.Text("three"),
	}
	if got, want := abi.TextOf(content), "one\ntwo\n\nthree"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := abi.TextOf(nil); got != "" {
		t.Errorf("nothing has the text %q", got)
	}
}

// TestUsagePlus gives every member a value of its own, so that one which Plus
// forgets, or takes for another, shows.
func TestUsagePlus(t *testing.T) {
	var u, o, want abi.Usage
	for i := range reflect.TypeFor[abi.Usage]().NumField() {
		one, other := int64(1)<<i, int64(1)<<(i+32)
		reflect.ValueOf(&u).Elem().Field(i).SetInt(one)
		reflect.ValueOf(&o).Elem().Field(i).SetInt(other)
		reflect.ValueOf(&want).Elem().Field(i).SetInt(one + other)
	}
	if diff := cmp.Diff(want, u.Plus(o)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if diff := cmp.Diff(u, u.Plus(abi.Usage{})); diff != "" {
		t.Errorf("nothing changes it: -want +got:\n%s", diff)
	}
}

// FuzzManifest checks that what is accepted is valid and survives its own
// encoding, and that nothing panics.
func FuzzManifest(f *testing.F) {
	for _, ex := range examples(f) {
		if ex.Type == "Manifest" {
			f.Add([]byte(ex.Message))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := abi.ParseManifest(b)
		if err != nil {
			return
		}
		if m.Kind.Exports() == nil || strings.ContainsAny(m.Name, "/\\. \n") {
			t.Fatalf("accepted %+v", m)
		}
		again, err := abi.ParseManifest([]byte(encode(t, m)))
		if err != nil {
			t.Fatalf("its own encoding is refused: %v", err)
		}
		if got, want := encode(t, again), encode(t, m); got != want {
			t.Errorf("changes when read again: %s to %s", want, got)
		}
	})
}

// FuzzMessages decodes any bytes as every message: whatever decodes encodes to
// JSON that decodes to the same again.
func FuzzMessages(f *testing.F) {
	for _, ex := range examples(f) {
		f.Add([]byte(ex.Message))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for name, typ := range types {
			v := reflect.New(typ).Interface()
			if json.Unmarshal(b, v) != nil {
				continue
			}
			first, err := json.Marshal(v)
			if err != nil {
				t.Fatalf("%s decodes and does not encode: %v", name, err)
			}
			again := reflect.New(typ).Interface()
			if err := json.Unmarshal(first, again); err != nil {
				t.Fatalf("%s does not decode from its own encoding %s: %v", name, first, err)
			}
			second, err := json.Marshal(again)
			if err != nil || !bytes.Equal(first, second) {
				t.Errorf("%s changes when read again: %s to %s (%v)", name, first, second, err)
			}
		}
	})
}
