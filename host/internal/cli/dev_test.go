package cli

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAffected(t *testing.T) {
	plugins := []string{".", "tools/hello"}
	for _, tc := range []struct {
		file    string
		built   []string
		desired bool
	}{
		{"main.go", []string{"."}, false},
		{"tools/hello/main.go", []string{".", "tools/hello"}, false},
		{"tools/hello/plugin.yaml", []string{".", "tools/hello"}, true},
		{"main_test.go", nil, false},
		{"vespiary.yaml", nil, true},
		{"policies/more/a.cedar", nil, true},
		{"agent.md", nil, true},
		{"other.wasm", nil, true},
		{"dev.log", nil, false},
	} {
		if diff := cmp.Diff(tc.built, affected(plugins, []string{tc.file})); diff != "" {
			t.Errorf("%s: plugins to build (-want +got):\n%s", tc.file, diff)
		}
		if got := desired(tc.file); got != tc.desired {
			t.Errorf("%s: desired = %t", tc.file, got)
		}
	}
	if got := affected([]string{"tools/hello"}, []string{"tools/helloworld/main.go", "main.go"}); got != nil {
		t.Errorf("files elsewhere affect %v", got)
	}
}
