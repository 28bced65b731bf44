package apitest

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/vespiary/vespiary/host/internal/api"
)

// Spec is an OpenAPI document.
type Spec struct {
	root map[string]any
}

// LoadSpec reads the document.
func LoadSpec(tb testing.TB, file string) *Spec {
	tb.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		tb.Fatal(err)
	}
	var s Spec
	if err := json.Unmarshal(b, &s.root); err != nil {
		tb.Fatal(err)
	}
	return &s
}

// Operations returns "GET /path" of all operations, sorted.
func (s *Spec) Operations() []string {
	var out []string
	for path, ops := range s.root["paths"].(map[string]any) {
		for method := range ops.(map[string]any) {
			out = append(out, strings.ToUpper(method)+" "+path)
		}
	}
	slices.Sort(out)
	return out
}

// Open reports whether the operation needs no key.
func (s *Spec) Open(method, path string) bool {
	op := s.at("paths", path, strings.ToLower(method))
	security, ok := op["security"].([]any)
	return ok && len(security) == 0
}

// CheckRoutes holds the routes and the document together.
func (s *Spec) CheckRoutes(t *testing.T, routes []api.Route) {
	t.Helper()
	described := s.Operations()
	for _, r := range routes {
		name := r.Method + " " + r.Path
		i := slices.Index(described, name)
		if i < 0 {
			t.Errorf("%s is not described", name)
			continue
		}
		described = slices.Delete(described, i, i+1)
		if s.Open(r.Method, r.Path) != r.Open {
			t.Errorf("%s: the document and the route disagree about the key", name)
		}
	}
	for _, name := range described {
		t.Errorf("%s is described and does not exist", name)
	}
}

// Check holds an answer against what the document says of it.
func (s *Spec) Check(t *testing.T, method, path string, resp *http.Response, body []byte) {
	t.Helper()
	op := s.operation(method, path)
	if op == nil {
		if resp.StatusCode < 400 && method != http.MethodOptions {
			t.Errorf("%s %s is not described and answers %d", method, path, resp.StatusCode)
		}
		return
	}
	responses := op["responses"].(map[string]any)
	r, ok := responses[strconv.Itoa(resp.StatusCode)].(map[string]any)
	if !ok {
		r = responses["default"].(map[string]any)
		if resp.StatusCode < 400 {
			t.Errorf("%s %s answers %d, which is not described", method, path, resp.StatusCode)
		}
	}
	if err := s.checkBody(s.resolve(r), resp, body); err != nil {
		t.Errorf("%s %s: %d: %v", method, path, resp.StatusCode, err)
	}
}

// checkBody finds the schema by the answer's media type.
func (s *Spec) checkBody(r map[string]any, resp *http.Response, body []byte) error {
	content, _ := r["content"].(map[string]any)
	if len(content) == 0 {
		if len(body) > 0 {
			return fmt.Errorf("a body that is not described: %s", body)
		}
		return nil
	}
	mt, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil {
		return err
	}
	media, ok := content[mt].(map[string]any)
	if !ok {
		return fmt.Errorf("the media type %s is not described", mt)
	}
	schema := media["schema"].(map[string]any)
	switch mt {
	case "text/event-stream":
		return s.checkStream(schema, string(body))
	case "text/plain", "application/octet-stream":
		return nil
	}
	return s.Validate(schema, body)
}

// checkStream validates the data of a stream. Errors in it have their own schemas.
func (s *Spec) checkStream(schema map[string]any, stream string) error {
	for event := range strings.SplitSeq(stream, "\n\n") {
		_, data, ok := strings.Cut(event, "data: ")
		if !ok || data == "[DONE]" {
			continue
		}
		want := schema
		if strings.Contains(event, "event: problem") {
			want = s.at("components", "schemas", "Problem")
		} else if strings.HasPrefix(data, `{"error":`) {
			want = s.at("components", "schemas", "ChatError")
		}
		if err := s.Validate(want, []byte(strings.TrimRight(data, "\n"))); err != nil {
			return err
		}
	}
	return nil
}

// operation finds the operation that a path belongs to; literal parts win.
func (s *Spec) operation(method, path string) map[string]any {
	var best map[string]any
	fewest := len(path) // parts of the pattern that are not literal
	for pattern, ops := range s.root["paths"].(map[string]any) {
		op, ok := ops.(map[string]any)[strings.ToLower(method)].(map[string]any)
		if n := strings.Count(pattern, "{"); ok && matches(pattern, path) && n < fewest {
			best, fewest = op, n
		}
	}
	return best
}

// matches reports whether path has the form of pattern.
func matches(pattern, path string) bool {
	p, q := strings.Split(pattern, "/"), strings.Split(path, "/")
	return slices.EqualFunc(p, q, func(a, b string) bool {
		return a == b || strings.HasPrefix(a, "{") && b != ""
	})
}

// at returns the object at a path of keys, nil when there is none.
func (s *Spec) at(keys ...string) map[string]any {
	v := s.root
	for _, k := range keys {
		v, _ = v[k].(map[string]any)
	}
	return v
}

// resolve follows references.
func (s *Spec) resolve(v map[string]any) map[string]any {
	for {
		ref, ok := v["$ref"].(string)
		if !ok {
			return v
		}
		v = s.at(strings.Split(strings.TrimPrefix(ref, "#/"), "/")...)
		if v == nil {
			panic("openapi.json: nothing at " + ref)
		}
	}
}
