//go:build !wasip1

package vespiary_test

import (
	"context"
	"encoding/json"
	"testing"

	extism "github.com/extism/go-sdk"
	"github.com/google/go-cmp/cmp"
	"github.com/tetratelabs/wazero"

	"github.com/vespiary/vespiary/abi"
)

// TestExtism runs a guest without bulk copies on Extism's own host, whose kernel
// is the reference for the memory interface.
func TestExtism(t *testing.T) {
	answer := files(map[int][]byte{})
	var capabilities []extism.HostFunction
	for _, name := range []string{abi.CallFileRead, abi.CallStart, abi.CallWait} {
		capabilities = append(capabilities, extism.NewHostFunctionWithStack(name, func(_ context.Context, p *extism.CurrentPlugin, stack []uint64) {
			request, err := p.ReadBytes(stack[0])
			if err == nil {
				stack[0], err = p.WriteBytes(answer(name, request))
			}
			if err != nil {
				t.Error(err)
			}
		}, []extism.ValueType{extism.ValueTypeI64}, []extism.ValueType{extism.ValueTypeI64}))
	}
	plugin, err := extism.NewPlugin(t.Context(),
		extism.Manifest{
			Wasm:   []extism.Wasm{extism.WasmData{Data: build(t, "testdata/guest", "-tags", "nobulk")}},
			Config: map[string]string{"unit": "km"},
		},
		extism.PluginConfig{EnableWasi: true, RuntimeConfig: wazero.NewRuntimeConfigInterpreter()}, capabilities)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := plugin.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	for event, want := range map[string]string{"parallel": "A!! B!! C!!", "config": "kmtrue", "denied": ""} {
		in, err := json.Marshal(abi.Event{Type: abi.EventSignal, Name: event})
		if err != nil {
			t.Fatal(err)
		}
		_, out, err := plugin.Call("handle", in)
		if err != nil {
			t.Fatal(err)
		}
		var got abi.Reply
		if err := json.Unmarshal(out, &got); err != nil {
			t.Fatal(err)
		}
		if event == "denied" {
			if diff := cmp.Diff("denied: no (policy p)", got.Error); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			continue
		}
		if diff := cmp.Diff(want, abi.TextOf(got.Content)); diff != "" {
			t.Errorf("%s (%s): -want +got:\n%s", event, got.Error, diff)
		}
	}
}
