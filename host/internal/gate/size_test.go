package gate_test

import (
	"context"
	"strings"
	"testing"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/gate"
)

func TestOversizedRequestsAndResultsAreRefused(t *testing.T) {
	w := newWorld(t)
	_, g := w.begin(gate.TurnOptions{})
	big := strings.Repeat("x", host.MaxPayload)
	if r := call(t, g, "read", `{"path":"`+big+`"}`); code(r) != abi.CodeInvalid {
		t.Errorf("request: %s", code(r))
	}
	w.caps["read"].(*capability).perform = func(context.Context, *host.Call) (host.Output, error) {
		return host.Output{OK: []byte(`"` + big + `"`)}, nil
	}
	if r := call(t, g, "read", `{"path":"x"}`); code(r) != abi.CodeInvalid {
		t.Errorf("result: %s", code(r))
	}
	w.commit()
}
