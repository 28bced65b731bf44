package cedar

import (
	"crypto/sha256"
	"runtime"
	"slices"
	"strings"
	"sync"
	"weak"

	"github.com/cedar-policy/cedar-go/x/exp/schema"
	schemaast "github.com/cedar-policy/cedar-go/x/exp/schema/ast"
)

// vocabularies are those in use, by the digest of their actions: a host compiles its
// policies and every proposal to change them against the same tools.
var vocabularies = cache{known: map[[sha256.Size]byte]weak.Pointer[vocabulary]{}}

// cache keeps a vocabulary for as long as some Set does.
type cache struct {
	mu    sync.Mutex
	known map[[sha256.Size]byte]weak.Pointer[vocabulary]
}

// vocabularyOf is the vocabulary of the schema with actions. Their order does not matter.
func vocabularyOf(actions []Action) (*vocabulary, error) {
	key := digestOf(actions)
	if v := vocabularies.get(key); v != nil {
		return v, nil
	}
	v, err := newVocabulary(schemaText, actions...)
	if err != nil {
		return nil, err
	}
	return vocabularies.put(key, v), nil
}

func (c *cache) get(key [sha256.Size]byte) *vocabulary {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known[key].Value()
}

// put returns v, or the one that another caller put first.
func (c *cache) put(key [sha256.Size]byte, v *vocabulary) *vocabulary {
	c.mu.Lock()
	defer c.mu.Unlock()
	if first := c.known[key].Value(); first != nil {
		return first
	}
	c.known[key] = weak.Make(v)
	runtime.AddCleanup(v, c.forget, key)
	return v
}

// forget drops a vocabulary that nobody uses, unless a new one took its place.
func (c *cache) forget(key [sha256.Size]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known[key].Value() == nil {
		delete(c.known, key)
	}
}

func digestOf(actions []Action) (key [sha256.Size]byte) {
	sorted := slices.Clone(actions)
	slices.SortStableFunc(sorted, func(a, b Action) int { return strings.Compare(a.Name, b.Name) })
	h := sha256.New()
	for _, a := range sorted {
		field(h, []byte(a.Name))
		field(h, []byte(a.Principal))
		field(h, []byte(a.Resource))
		field(h, a.Input)
		for _, g := range a.Groups {
			field(h, []byte(g))
		}
		field(h, nil)
	}
	h.Sum(key[:0])
	return key
}

// schemaSource is the text of nothing but actions.
func schemaSource(actions schemaast.Actions) string {
	text, err := schema.NewSchemaFromAST(&schemaast.Schema{Actions: actions}).MarshalCedar()
	if err != nil {
		return "// cannot be written: " + oneLine(err.Error()) + "\n"
	}
	return string(text)
}
