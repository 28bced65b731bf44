// Command weaver is an agent that does what would tell two runs of Go apart: goroutines,
// select, maps, random numbers, clocks and garbage. It makes calls one by one and in
// parallel.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/vespiary/vespiary/abi"
	vespiary "github.com/vespiary/vespiary/sdk/go"
)

var _ = vespiary.AgentOf((*weaver).handle)

// weaver keeps a trace of all it ever saw.
type weaver struct {
	trace []string
	index map[string]int
}

func (w *weaver) handle(c *vespiary.Context, e abi.Event) (abi.Reply, error) {
	if w.index == nil {
		w.index = map[string]int{}
	}
	w.note("%s %d", e.Type, e.Turn)
	command, argument, _ := strings.Cut(abi.TextOf(e.Content), " ")
	var err error
	switch command {
	case "weave":
		w.weave()
		w.note("at %d", time.Now().UnixNano())
	case "tools":
		err = w.tools(c)
	case "hurry":
		err = w.hurry(c)
	case "fetch":
		err = w.fetch(c, argument)
	case "long":
		w.weave()
		err = errors.Join(w.fetch(c, argument), w.keep(c), w.wait(c))
		w.weave()
	}
	return vespiary.Done(w.said()), err
}

func (w *weaver) note(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	w.trace = append(w.trace, line)
	w.index[line] = len(w.trace)
}

// said is the last of the trace with a sum of all of it.
func (w *weaver) said() string {
	h := fnv.New64a()
	for line, n := range w.index { // a random order, which the sum shows
		_, _ = fmt.Fprintln(h, line, n)
	}
	return fmt.Sprintf("%d %x %s", len(w.trace), h.Sum64(), strings.Join(w.trace[max(0, len(w.trace)-4):], "; "))
}

// weave leaves the order of what happens to the scheduler, select and maps.
func (w *weaver) weave() {
	var wg sync.WaitGroup
	var mu sync.Mutex
	left, right := make(chan int, 64), make(chan int, 64)
	for n := range 8 {
		wg.Go(func() {
			for i := range 16 {
				runtime.Gosched()
				if rand.IntN(4) == 0 { //nolint:gosec // it is to show what the guest draws
					time.Sleep(time.Duration(i) * time.Microsecond)
				}
				mu.Lock()
				w.index[fmt.Sprintf("%d/%d", n, i)] += n * i
				mu.Unlock()
				select {
				case left <- n:
				case right <- n:
				}
			}
		})
	}
	wg.Wait()
	w.note("left %d right %d", len(left), len(right))
	litter(len(left))
}

// litter makes garbage enough for some collections.
func litter(seed int) {
	for range 8 {
		words := map[string][]int{}
		for n := range 2000 {
			words[fmt.Sprint(seed, n)] = []int{n}
		}
		if b, err := json.Marshal(words); err != nil || json.Unmarshal(b, &words) != nil {
			panic("JSON does not return")
		}
	}
}

// keep writes the trace with a tool, and to the memory of the session.
func (w *weaver) keep(c *vespiary.Context) error {
	list, err := c.Tools()
	if err != nil {
		return err
	}
	w.note("%d tools", len(list))
	_, err = c.CallTool("files_write", map[string]string{"path": "trace.txt", "text": strings.Join(w.trace, "\n")})
	return errors.Join(err, c.Append("log", len(w.trace)), c.EmitText("kept"))
}

// tools writes and has three tools look at the workspace at the same time.
func (w *weaver) tools(c *vespiary.Context) error {
	if err := w.keep(c); err != nil {
		return err
	}
	reads, errs := vespiary.All(c, []string{"files_read", "files_list", "files_search"}, func(c *vespiary.Context, tool string) (string, error) {
		r, err := c.CallTool(tool, map[string]map[string]string{
			"files_read": {"path": "trace.txt"}, "files_list": {"path": "."}, "files_search": {"path": ".", "query": "message"},
		}[tool])
		return abi.TextOf(r.Content), err
	})
	w.note("read %d %d %d", len(reads[0]), len(reads[1]), len(reads[2]))
	return errors.Join(errs...)
}

// hurry writes files, and looks for each with calls at the same time.
func (w *weaver) hurry(c *vespiary.Context) error {
	for n := range 50 {
		path := fmt.Sprintf("%d.txt", n)
		if _, err := c.WriteFile(abi.FileWrite{Path: path, Text: "x"}); err != nil {
			return err
		}
		_, errs := vespiary.All(c, make([]struct{}, 4), func(c *vespiary.Context, _ struct{}) (string, error) {
			f, err := c.ReadFile(abi.FileRead{Path: path})
			return f.Text, err
		})
		if err := errors.Join(errs...); err != nil {
			return err
		}
	}
	return nil
}

// fetch gets three pages at the same time.
func (w *weaver) fetch(c *vespiary.Context, base string) error {
	order := []string{}
	_, errs := vespiary.All(c, []string{"/slow", "/one", "/two"}, func(c *vespiary.Context, path string) (string, error) {
		r, err := c.Fetch(abi.HTTPRequest{URL: base + path})
		order = append(order, path+"="+r.Body)
		return r.Body, err
	})
	w.note("got %s", strings.Join(order, " "))
	return errors.Join(errs...)
}

func (w *weaver) wait(c *vespiary.Context) error {
	e, err := c.Await(abi.Wait{Type: abi.EventSignal, Name: "go"})
	w.note("signal %s", e.Data)
	for _, name := range keysOf(w.index) {
		w.index[name]++
	}
	return err
}

// keysOf lists keys in the order that the map gives.
func keysOf(m map[string]int) []string {
	var out []string
	for name := range maps.Keys(m) {
		out = append(out, name)
	}
	return out
}

func main() {}
