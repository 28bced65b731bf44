package tool

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// inputSchema checks a tool's arguments. It is safe for concurrent use.
type inputSchema struct {
	schema *jsonschema.Schema

	mu    sync.Mutex // held while the schema is at work, because meter is part of it
	meter *meter
}

const schemaURL = "vespiary:input"

// compile prepares a JSON Schema, of draft 2020-12 unless it names another one. It
// reads nothing but the schema itself: a reference to a file or a URL is an error.
func compile(raw []byte) (*inputSchema, error) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("its inputSchema is not JSON: %w", err)
	}
	if _, ok := doc.(map[string]any); !ok {
		return nil, errors.New("its inputSchema is not an object")
	}
	s := &inputSchema{meter: &meter{}}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.UseLoader(closed{})
	c.RegisterVocabulary(s.meter.vocabulary())
	c.AssertVocabs()
	if err := c.AddResource(schemaURL, doc); err != nil {
		return nil, fmt.Errorf("its inputSchema: %w", err)
	}
	if s.schema, err = c.Compile(schemaURL); err != nil {
		return nil, fmt.Errorf("its inputSchema is not a JSON Schema: %s", oneLine(err.Error()))
	}
	return s, nil
}

// check returns what is wrong with the arguments, each with a JSON Pointer to it, or
// "" when they fit.
func (s *inputSchema) check(arguments []byte) (wrong string) {
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(arguments))
	if err != nil {
		return "they are not JSON: " + err.Error()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() {
		if p := recover(); p != nil {
			if p != any(errSteps) {
				panic(p)
			}
			wrong = errSteps.Error()
		}
	}()
	s.meter.left = maxSteps
	err = s.schema.Validate(v)
	if failed, ok := errors.AsType[*jsonschema.ValidationError](err); ok {
		return describe(failed)
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

// maxReasons is how many faults of the arguments an error tells.
const maxReasons = 4

func describe(failed *jsonschema.ValidationError) string {
	var reasons []string
	for leaf := range leaves(failed) {
		unit := leaf.BasicOutput()
		at := unit.InstanceLocation
		if at == "" {
			at = "/"
		}
		if reasons = append(reasons, "at "+at+": "+oneLine(unit.Error.String())); len(reasons) == maxReasons {
			break
		}
	}
	return strings.Join(reasons, "; ")
}

// leaves yields what is wrong in the end: the errors above only gather.
func leaves(e *jsonschema.ValidationError) iter.Seq[*jsonschema.ValidationError] {
	return func(yield func(*jsonschema.ValidationError) bool) {
		if len(e.Causes) == 0 {
			yield(e)
			return
		}
		for _, cause := range e.Causes {
			for leaf := range leaves(cause) {
				if !yield(leaf) {
					return
				}
			}
		}
	}
}

// maxReason bounds a text that may repeat a value of the arguments, in bytes.
const maxReason = 300

func oneLine(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > maxReason {
		s = strings.ToValidUTF8(s[:maxReason], "") + "…"
	}
	return s
}

// closed loads nothing.
type closed struct{}

// Load implements jsonschema.URLLoader.
func (closed) Load(url string) (any, error) {
	return nil, fmt.Errorf("it refers to %s; put what it needs into the schema itself", url)
}

// meter counts the steps of a validation. A schema of a few hundred bytes that
// refers to itself twice can ask for more steps than anybody can wait for, and the
// validator takes no context.
type meter struct{ left int }

// maxSteps is how many schemas one validation may apply.
const maxSteps = 100_000

var errSteps = errors.New("the tool's schema needs too many steps to check them; send smaller arguments")

// vocabulary adds a step to every schema object.
func (m *meter) vocabulary() *jsonschema.Vocabulary {
	return &jsonschema.Vocabulary{
		URL: "vespiary:steps",
		Compile: func(*jsonschema.CompilerContext, map[string]any) (jsonschema.SchemaExt, error) {
			return m, nil
		},
	}
}

// Validate implements jsonschema.SchemaExt.
func (m *meter) Validate(*jsonschema.ValidatorContext, any) {
	if m.left--; m.left < 0 {
		panic(errSteps)
	}
}
