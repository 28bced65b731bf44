package vespiary

import (
	"errors"
	"os/exec"
	"strings"
	"testing"
)

// TestCount: the last line of a test run tells what ran, and the exit code whether
// all of it passed.
func TestCount(t *testing.T) {
	const pass = `
{"Action":"output","Package":"a","Test":"TestA","Output":"quiet\n"}
{"Action":"pass","Package":"a","Test":"TestA/one"}
{"Action":"pass","Package":"a","Test":"TestA/two"}
{"Action":"pass","Package":"a","Test":"TestA"}
{"Action":"output","Package":"a","Test":"TestSkipped","Output":"no compiler\n"}
{"Action":"skip","Package":"a","Test":"TestSkipped"}
{"Action":"pass","Package":"a","Elapsed":0.5}
`
	for name, tc := range map[string]struct {
		stream string
		code   int
		want   []string
	}{
		"pass": {pass, 0, []string{"no compiler", "ok\ta\t0.5s", "2 passed, 0 failed, 1 skipped"}},
		"fail": {pass + `
{"Action":"output","Package":"b","Test":"TestB/sub","Output":"want 1\n"}
{"Action":"fail","Package":"b","Test":"TestB/sub"}
{"Action":"fail","Package":"b","Test":"TestB"}
{"Action":"output","Package":"b","Output":"FAIL\tb\n"}
{"Action":"fail","Package":"b"}`, 1, []string{"want 1", "FAIL\tb", "2 passed, 1 failed, 1 skipped"}},
		"panic": {pass + `
{"Action":"output","Package":"b","Test":"TestB","Output":"panic: oh\n"}
{"Action":"fail","Package":"b"}`, 1, []string{"panic: oh", "2 passed, 1 failed, 1 skipped"}},
		"build": {pass + `
{"ImportPath":"b [b.test]","Action":"build-output","Output":"b.go:1: undefined: x\n"}
{"ImportPath":"b [b.test]","Action":"build-fail"}
{"Action":"fail","Package":"b","FailedBuild":"b [b.test]"}`, 1, []string{"undefined: x", "2 passed, 1 failed, 1 skipped"}},
		"parent": {pass + `
{"Action":"pass","Package":"b","Test":"TestB/sub"}
{"Action":"output","Package":"b","Test":"TestB","Output":"after the subtests\n"}
{"Action":"fail","Package":"b","Test":"TestB"}
{"Action":"fail","Package":"b"}`, 1, []string{"after the subtests", "3 passed, 1 failed, 1 skipped"}},
		"slash in a name": {pass + `
{"Action":"run","Package":"b","Test":"TestB/a/b"}
{"Action":"pass","Package":"b","Test":"TestB/a/b"}
{"Action":"pass","Package":"b","Test":"TestB"}
{"Action":"pass","Package":"b"}`, 0, []string{"3 passed, 0 failed, 1 skipped"}},
		"nothing ran": {`{"Action":"skip","Package":"a"}`, 1, []string{"0 passed, 0 failed, 0 skipped"}},
		"go failed":   {"go: go.mod is broken", 1, []string{"go: go.mod is broken", "0 passed"}},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), "go", "run", "./.ci/count")
			cmd.Stdin = strings.NewReader(tc.stream)
			out, err := cmd.Output()
			code := 0
			if e, ok := errors.AsType[*exec.ExitError](err); ok {
				code = e.ExitCode()
			}
			if code != tc.code {
				t.Errorf("exit code %d, want %d", code, tc.code)
			}
			for _, want := range tc.want {
				if !strings.Contains(string(out), want) {
					t.Errorf("no %q in:\n%s", want, out)
				}
			}
			if strings.Contains(string(out), "quiet") {
				t.Errorf("a test that passed is heard:\n%s", out)
			}
		})
	}
}
