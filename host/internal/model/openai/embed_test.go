package openai

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host/internal/model/wire"
)

func embedder(t *testing.T, h http.HandlerFunc) *Provider {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	p, err := New(wire.Config{Provider: "openai", Model: "e", BaseURL: s.URL, Attempts: 1, Price: wire.Price{Input: 2}}, 0, "")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestEmbedBatches answers in reverse order, as the dialect allows.
func TestEmbedBatches(t *testing.T) {
	var sizes []int
	p := embedder(t, func(w http.ResponseWriter, r *http.Request) {
		var q struct {
			Model string
			Input []string
		}
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil || q.Model != "e" || r.URL.Path != "/v1/embeddings" {
			t.Errorf("%s %+v: %v", r.URL.Path, q, err)
		}
		sizes = append(sizes, len(q.Input))
		data := make([]object, len(q.Input))
		for i, text := range q.Input {
			n, _ := strconv.Atoi(text)
			data[len(data)-1-i] = object{"index": i, "embedding": []float64{float64(n), 0.5}}
		}
		_ = json.NewEncoder(w).Encode(object{"model": "e-1", "data": data, "usage": object{"prompt_tokens": len(q.Input)}})
	})
	inputs := make([]string, 600)
	for i := range inputs {
		inputs[i] = strconv.Itoa(i)
	}
	got, err := p.Embed(t.Context(), "", inputs)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int{256, 256, 88}, sizes); diff != "" {
		t.Error(diff)
	}
	for i, v := range got.Vectors {
		if len(v) != 2 || v[0] != float32(i) || v[1] != 0.5 {
			t.Fatalf("vector %d is %v", i, v)
		}
	}
	want := abi.Usage{InputTokens: 600, CostMicros: 1200}
	if diff := cmp.Diff(want, got.Usage); diff != "" || got.Model != "e-1" || len(got.Vectors) != 600 {
		t.Errorf("model %s, %d vectors, usage %s", got.Model, len(got.Vectors), diff)
	}
}

func TestEmbedRefusesBadAnswers(t *testing.T) {
	for name, body := range map[string]string{
		"missing":   `{"data":[{"index":0,"embedding":[1]}]}`,
		"twice":     `{"data":[{"index":0,"embedding":[1]},{"index":0,"embedding":[1]}]}`,
		"lengths":   `{"data":[{"index":0,"embedding":[1]},{"index":1,"embedding":[1,2]}]}`,
		"empty":     `{"data":[{"index":0,"embedding":[]},{"index":1,"embedding":[]}]}`,
		"malformed": `{"data":[{"index":0,"embedding":"AAAA"}]}`,
		"error":     `{"error":"no such model"}`,
	} {
		p := embedder(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) })
		_, err := p.Embed(t.Context(), "other", []string{"a", "b"})
		if !errors.Is(err, &abi.Error{Code: abi.CodeUnavailable}) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEmbedWithoutUsage(t *testing.T) {
	p := embedder(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"data":[{"index":0,"embedding":[1]}]}`)
	})
	got, err := p.Embed(t.Context(), "other", []string{strings.Repeat("a", 40)})
	if err != nil || got.Usage.InputTokens != 10 || got.Model != "other" {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err = p.Embed(t.Context(), "other", nil); err != nil || len(got.Vectors) != 0 {
		t.Errorf("no inputs: %+v, %v", got, err)
	}
}
