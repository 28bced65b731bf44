package tool

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/vespiary/vespiary/abi"
)

const (
	maxTools     = 256              // of one plugin
	maxToolName  = 128              // bytes
	maxToolText  = 16 << 10         // bytes of a name, title and description together
	maxSchema    = 64 << 10         // bytes of an input schema
	describeTime = 15 * time.Minute // of one plugin, with compiling it
)

// declared is a tool as its plugin describes it.
type declared struct {
	abi.Tool

	input *inputSchema
	marks map[string]mark // of the arguments that are not control
	names map[string]bool // of its properties
}

// descriptions keeps what plugins say of their tools, by digest: the same module
// always says the same.
type descriptions struct {
	describe func(ctx context.Context, digest string) (abi.ToolList, error)

	mu  sync.Mutex
	all map[string]*description
}

// description is one plugin's tools, once done is closed.
type description struct {
	done  chan struct{}
	tools []*declared
	err   error
}

// get returns the tools of a module. Callers that ask at the same time share one
// activation, which goes on when one of them gives up.
func (d *descriptions) get(ctx context.Context, digest string) ([]*declared, error) {
	e := d.entry(ctx, digest)
	select {
	case <-e.done:
		return e.tools, e.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (d *descriptions) entry(ctx context.Context, digest string) *description {
	d.mu.Lock()
	defer d.mu.Unlock()
	if e := d.all[digest]; e != nil {
		return e
	}
	e := &description{done: make(chan struct{})}
	if d.all == nil {
		d.all = map[string]*description{}
	}
	d.all[digest] = e
	go d.fill(context.WithoutCancel(ctx), digest, e)
	return e
}

// fill asks the plugin. What failed is forgotten, so that the next call tries again.
func (d *descriptions) fill(ctx context.Context, digest string, e *description) {
	defer close(e.done)
	ctx, cancel := context.WithTimeout(ctx, describeTime)
	defer cancel()
	list, err := d.describe(ctx, digest)
	if err == nil {
		e.tools, err = declare(list)
	}
	if e.err = err; err == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.all[digest] == e {
		delete(d.all, digest)
	}
}

// keep forgets the modules that no source has any more.
func (d *descriptions) keep(sources iter.Seq[*Source]) {
	d.mu.Lock()
	defer d.mu.Unlock()
	kept := map[string]*description{}
	for s := range sources {
		if e := d.all[s.Module]; e != nil {
			kept[s.Module] = e
		}
	}
	d.all = kept
}

// declare checks what a plugin says of its tools.
func declare(list abi.ToolList) ([]*declared, error) {
	if len(list.Tools) > maxTools {
		return nil, fmt.Errorf("the plugin describes %d tools, more than the %d that are allowed", len(list.Tools), maxTools)
	}
	var out []*declared
	seen := map[string]bool{}
	for _, t := range list.Tools {
		if seen[t.Name] {
			return nil, fmt.Errorf("the plugin describes two tools named %s", t.Name)
		}
		seen[t.Name] = true
		tool, err := declareOne(t)
		if err != nil {
			return nil, fmt.Errorf("the plugin's tool %q: %w", t.Name, err)
		}
		out = append(out, tool)
	}
	return out, nil
}

func declareOne(t abi.Tool) (*declared, error) {
	switch {
	case t.Name == "":
		return nil, errors.New("it has no name")
	case len(t.Name) > maxToolName || strings.ContainsFunc(t.Name, unicode.IsControl) || !utf8.ValidString(t.Name):
		return nil, fmt.Errorf("its name, which is also that of its action in policies, is over %d bytes, or holds a control character or what is no text", maxToolName)
	case len(t.Name)+len(t.Title)+len(t.Description) > maxToolText:
		return nil, fmt.Errorf("its name and description are over %d bytes", maxToolText)
	case len(t.InputSchema)+len(t.OutputSchema) > maxSchema:
		return nil, fmt.Errorf("its schemas are over %d bytes", maxSchema)
	}
	if len(t.InputSchema) == 0 {
		t.InputSchema = []byte(`{"type":"object"}`)
	}
	input, err := compile(t.InputSchema)
	return &declared{Tool: t, input: input, marks: marksOf(t.InputSchema), names: namesOf(t.InputSchema)}, err
}
