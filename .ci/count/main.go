// Command count reads the output of go test -json on its standard input and
// prints what a person wants of it: one line for each package, all that failing
// tests and builds said, why tests were skipped, and at the end how many tests
// passed, failed and were skipped. A test with subtests counts as its subtests.
// It exits with 1 if anything failed.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
)

func main() {
	failed, err := run(os.Stdin, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "count: read the output of go test -json:", err)
	}
	if failed || err != nil {
		os.Exit(1)
	}
}

// event is a line of go test -json; see go doc test2json.
type event struct {
	Action     string
	Package    string
	ImportPath string // of a build
	Test       string
	Elapsed    float64
	Output     string
}

type test struct {
	output strings.Builder
	result string
	parent bool
	real   bool // it was told of itself: a name with a slash in it makes a parent that is none
}

type counter struct {
	out                     io.Writer
	packages                map[string]map[string]*test // "" is the package itself
	builds                  map[string]*strings.Builder
	passed, failed, skipped int
}

func run(in io.Reader, out io.Writer) (failed bool, err error) {
	c := counter{out: out, packages: map[string]map[string]*test{}, builds: map[string]*strings.Builder{}}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			c.say("%s\n", lines.Text()) // go's own words, such as of a broken go.mod
			continue
		}
		c.take(e)
	}
	c.say("%d passed, %d failed, %d skipped\n", c.passed, c.failed, c.skipped)
	return c.failed > 0 || c.passed == 0, lines.Err()
}

// say prints; a reader that has gone away changes nothing of what is counted.
func (c *counter) say(format string, args ...any) { _, _ = fmt.Fprintf(c.out, format, args...) }

func (c *counter) take(e event) {
	switch e.Action {
	case "build-output":
		if c.builds[e.ImportPath] == nil {
			c.builds[e.ImportPath] = &strings.Builder{}
		}
		_, _ = c.builds[e.ImportPath].WriteString(e.Output)
	case "build-fail":
		c.say("%s", c.builds[e.ImportPath])
	case "output":
		t := c.test(e)
		t.real = true
		if !strings.HasPrefix(e.Output, "=== ") { // that a test began, paused or went on
			t.output.WriteString(e.Output)
		}
	case "pass", "fail", "skip":
		t := c.test(e)
		t.result, t.real = e.Action, true
		if e.Test == "" {
			c.finish(e)
		}
	}
}

func (c *counter) test(e event) *test {
	tests := c.packages[e.Package]
	if tests == nil {
		tests = map[string]*test{}
		c.packages[e.Package] = tests
	}
	t := tests[e.Test]
	if t == nil {
		t = &test{}
		tests[e.Test] = t
		if i := strings.LastIndexByte(e.Test, '/'); i > 0 {
			c.test(event{Package: e.Package, Test: e.Test[:i]}).parent = true
		}
	}
	return t
}

// finish counts the tests of a package that ended. A package that failed without
// a failed test, by a panic, a time limit or a build, counts as one failure.
func (c *counter) finish(e event) {
	tests := c.packages[e.Package]
	delete(c.packages, e.Package)
	before := c.failed
	for name, t := range tests {
		if name != "" {
			c.count(t)
		}
	}
	switch {
	case e.Action == "fail":
		if c.failed == before {
			c.failed++
		}
		c.say("%s", &tests[""].output)
	case len(tests) > 1:
		c.say("ok\t%s\t%.1fs\n", e.Package, e.Elapsed)
	}
}

func (c *counter) count(t *test) {
	switch {
	case !t.real:
	case t.result == "skip":
		c.skipped++
		c.say("%s", &t.output)
	case t.result == "pass" && !t.parent:
		c.passed++
	case t.result != "pass":
		c.say("%s", &t.output)
		if !t.parent || t.result == "" {
			c.failed++
		}
	}
}
