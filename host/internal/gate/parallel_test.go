package gate_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/gate"
)

func TestParallelCalls(t *testing.T) {
	w := newWorld(t)
	release := map[string]chan struct{}{"a": make(chan struct{}), "b": make(chan struct{}), "c": make(chan struct{})}
	w.caps["read"].(*capability).perform = func(_ context.Context, c *host.Call) (host.Output, error) {
		path := c.Class.State.(string)
		<-release[path]
		ok, _ := json.Marshal(path)
		return host.Output{OK: ok}, nil
	}
	script := func(g *gate.Guest, order []string) (out []string) {
		for i, p := range []string{"a", "b", "c"} {
			r := call(t, g, abi.CallStart, `{"name":"read","request":{"path":"`+p+`"}}`)
			if string(r.OK) != fmt.Sprintf(`{"id":%d}`, i+1) {
				t.Fatalf("started %s", r.OK)
			}
		}
		for i, wait := range []string{`{"ids":[1,2,3],"min":1}`, `{"ids":[1,2],"min":1}`, `{"ids":[1]}`} {
			if order != nil {
				close(release[order[i]])
			}
			out = append(out, string(call(t, g, abi.CallWait, wait).OK))
		}
		return out
	}
	_, g := w.begin(gate.TurnOptions{})
	first := script(g, []string{"c", "b", "a"})
	if !strings.Contains(first[0], `"id":3`) || !strings.Contains(first[0], `"pending":[1,2]`) || !strings.Contains(first[1], `"id":2`) {
		t.Errorf("delivered %v", first)
	}
	if r := call(t, g, abi.CallWait, `{"ids":[1]}`); code(r) != abi.CodeInvalid {
		t.Errorf("a second delivery: %+v", r)
	}
	w.commit()
	w.crash()
	turn, g := w.begin(gate.TurnOptions{})
	if d := cmp.Diff(first, script(g, nil)); d != "" {
		t.Errorf("replayed in another order: %s", d)
	}
	if err := turn.Finish(); err != nil {
		t.Error(err)
	}
	if got := w.took(); len(got) != 3 {
		t.Errorf("performed %v", got)
	}
	for _, bad := range []string{`{`, `{"name":"reply","request":{}}`, `{"name":"call_wait","request":{}}`} {
		if r := call(t, g, abi.CallStart, bad); code(r) != abi.CodeInvalid {
			t.Errorf("start %s: %+v", bad, r)
		}
	}
}
