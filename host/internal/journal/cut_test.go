package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/vespiary/vespiary/host"
)

// TestCutsJoinAgain joins what was cut, of every kind of text, from the parts alone.
func TestCutsJoinAgain(t *testing.T) {
	long := strings.Repeat("a text ", 100)
	messages := func(n int) string {
		var out []string
		for i := range n {
			out = append(out, fmt.Sprintf(`{"role":"user","content":[{"type":"text","text":"%d %s"}]}`, i, long))
		}
		return strings.Join(out, " ,\n")
	}
	for name, in := range map[string]string{
		"string":       `"` + long + `"`,
		"escapes":      `{"a":"` + long + `\u003cb\u003e \u0026 \"quoted\\"}`,
		"mixed":        `{"a":"` + long + `\u003cb> \\u003c"}`,
		"double":       `{"a":"` + long + `\\u003c \\\u003c"}`,
		"messages":     `{"model":"m","messages":[ ` + messages(50) + `],"tools":[]}`,
		"nested":       `[[` + messages(20) + `],[` + messages(30) + `],[[[` + messages(40) + `]]]]`,
		"strings":      `["` + long + `","` + long + `","x"]`,
		"small":        `[` + strings.Repeat(`{"a":[{"b":{}}]},`, 4000) + `{}]`,
		"numbers":      `{"v":[` + strings.Repeat("0.123,", 4000) + `1]}`,
		"no JSON":      strings.Repeat(`]}",[{"`, 1000),
		"unended":      `{"a":"` + long,
		"wrongly shut": `[{"a":"` + long + `"],` + messages(10) + `}]`,
		"deep":         strings.Repeat(`[{"a":`, 500) + messages(3) + strings.Repeat("}]", 500),
	} {
		parts := joinAgain(t, name, []byte(in))
		if name == "messages" && len(parts) > 80 {
			t.Errorf("%s: %d parts", name, len(parts))
		}
		if name == "numbers" && len(parts) > 0 {
			t.Errorf("%s: %d parts", name, len(parts))
		}
	}
}

func FuzzCut(f *testing.F) {
	f.Add([]byte(`{"messages":[{"role":"user","content":"hello"}]}`))
	f.Add([]byte(`[["\u003c",`))
	f.Fuzz(func(t *testing.T, b []byte) {
		joinAgain(t, "as it is", b)
		// Longer, so that there are parts.
		joinAgain(t, "long", bytes.Repeat(append(b, "\\\"lorem ipsum"...), 100))
		joinAgain(t, "list", append(append([]byte("["), bytes.Repeat(append(b, ',', '"'), 300)...), ']'))
	})
}

func TestRandomCutsJoinAgain(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	alphabet := []string{`[`, `]`, `{`, `}`, `,`, `"`, `\`, `"x"`, strings.Repeat("y", 300), `"` + strings.Repeat("z", 600) + `"`, ` `, `\u003c`}
	for range 3000 {
		var b bytes.Buffer
		for range r.IntN(60) {
			b.WriteString(alphabet[r.IntN(len(alphabet))])
		}
		joinAgain(t, b.String(), b.Bytes())
	}
}

func joinAgain(t *testing.T, what string, in []byte) map[name][]byte {
	t.Helper()
	d := testDomain()
	parts := map[name][]byte{}
	c := cutter{raw: in, part: func(kind byte, content []byte) name {
		n := d.name(kindOf(kind), content)
		parts[n] = bytes.Clone(content)
		return n
	}}
	out, err := (&shelf{load: func(n name) ([]byte, error) {
		if parts[n] == nil {
			return nil, fmt.Errorf("no part %s", n)
		}
		return parts[n], nil
	}}).join(nil, appendRecipe(nil, in, c.cut()), 0)
	if err != nil || !bytes.Equal(out, in) {
		t.Fatalf("%.200s: %d bytes became %d, %v", what, len(in), len(out), err)
	}
	return parts
}

var testDomain = sync.OnceValue(func() *domain {
	k, err := NewKeys(nil, bytes.Repeat([]byte{1}, keySize))
	if err != nil {
		panic(err)
	}
	d, err := k.use("t", bytes.Repeat([]byte{2}, 2*keySize))
	if err != nil {
		panic(err)
	}
	return d
})

// FuzzJoin joins recipes that no cutter made, from parts that are what they name.
func FuzzJoin(f *testing.F) {
	d := testDomain()
	f.Add(appendRecipe(nil, []byte("abc"), []cutting{{to: 2}, {kind: portionString, from: 2, to: 3, name: d.name(ofString, []byte("c"))}}))
	f.Add(binary.AppendUvarint(nil, 1<<62))
	f.Fuzz(func(t *testing.T, recipe []byte) {
		s := &shelf{keys: &Keys{}, domain: d}
		loads := 0
		s.load = func(name) ([]byte, error) {
			if loads++; loads > 1000 {
				return nil, errCodec
			}
			return append([]byte{byte(len(recipe) & 1)}, recipe...), nil
		}
		if out, err := s.join(nil, recipe, 0); err != nil && !errors.Is(err, errCodec) || len(out) > host.MaxPayload {
			t.Errorf("%d bytes, %v", len(out), err)
		}
		v := &verifier{seen: map[name]bool{}}
		if err := v.recipe(s, recipe, 0); err != nil && !errors.Is(err, errCodec) {
			t.Error(err)
		}
	})
}
