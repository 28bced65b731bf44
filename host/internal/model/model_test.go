package model_test

import (
	"errors"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host/internal/model"
)

func TestNewRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		settings model.Settings
		words    string
	}{
		"no provider":      {model.Settings{Model: "m"}, "use openai, anthropic or offline"},
		"unknown provider": {model.Settings{Model: "m", Provider: "hal"}, `"hal"`},
		"no model":         {model.Settings{Provider: model.OpenAI}, "set model"},
		"no openai key":    {model.Settings{Provider: model.OpenAI, Model: "m"}, "export OPENAI_API_KEY"},
		"no anthropic key": {model.Settings{Provider: model.Anthropic, Model: "m"}, "export ANTHROPIC_API_KEY"},
		"bad url":          {model.Settings{Provider: model.OpenAI, Model: "m", BaseURL: "localhost"}, "base_url"},
		"bad price":        {model.Settings{Provider: model.Offline, Price: model.Price{Input: -1}}, "price"},
		"bad parameter":    {model.Settings{Provider: model.OpenAI, Model: "m", BaseURL: "http://x", MaxTokensParam: "n"}, "max_completion_tokens"},
	} {
		if _, err := model.New(c.settings, model.Options{}); err == nil || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWrongKey(t *testing.T) {
	openai, anthropic := httptest.NewServer(openAI(t)), httptest.NewServer(anthropic(t))
	defer openai.Close()
	defer anthropic.Close()
	t.Setenv("VESPIARY_TEST_KEY", "wrong-key-123")
	wrong, err := model.ResolveSecret("${env:VESPIARY_TEST_KEY}")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		settings model.Settings
		words    string
	}{
		{model.Settings{Provider: model.OpenAI, BaseURL: openai.URL, Key: wrong}, "${env:VESPIARY_TEST_KEY}"},
		{model.Settings{Provider: model.OpenAI, BaseURL: openai.URL}, "${env:OPENAI_API_KEY}"},
		{model.Settings{Provider: model.Anthropic, BaseURL: anthropic.URL, Key: wrong}, "${env:VESPIARY_TEST_KEY}"},
		{model.Settings{Provider: model.Anthropic, BaseURL: anthropic.URL}, "${env:ANTHROPIC_API_KEY}"},
	} {
		c.settings.Model = "fake"
		_, err := provider(t, c.settings).Chat(t.Context(), model.Request{Messages: []abi.Message{user("Hello")}}, nil)
		if !errors.Is(err, &abi.Error{Code: abi.CodeUnavailable}) || !strings.Contains(err.Error(), c.words) ||
			!strings.Contains(err.Error(), "HTTP 401") || strings.Contains(err.Error(), "wrong-key") {
			t.Errorf("got %v", err)
		}
	}
}

func TestOfflineLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := provider(t, model.Settings{Provider: model.Offline, Latency: 8 * time.Second})
		r := model.Request{Messages: []abi.Message{user("Hello")}}
		for name, delta := range map[string]func(string) error{"whole": nil, "streamed": func(string) error { return nil }} {
			begin := time.Now()
			if _, err := p.Chat(t.Context(), r, delta); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(begin).Round(time.Millisecond); took != 8*time.Second {
				t.Errorf("%s took %v", name, took)
			}
		}
	})
}

func TestResolveSecret(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return "${file:" + path + "}"
	}
	t.Setenv("VESPIARY_TEST_SECRET", " s3cret ")
	t.Setenv("VESPIARY_TEST_EMPTY", "")
	for _, c := range []struct{ ref, want, words string }{
		{"", "", ""},
		{"${env:VESPIARY_TEST_SECRET}", "s3cret", ""},
		{file("good", "s3cret\n"), "s3cret", ""},
		{"${env:VESPIARY_TEST_EMPTY}", "", "export VESPIARY_TEST_EMPTY"},
		{"${env:VESPIARY_TEST_UNSET}", "", "export VESPIARY_TEST_UNSET"},
		{"${env:}", "", "must be a reference"},
		{"${file:relative}", "", "absolute"},
		{"${file:" + dir + "/missing}", "", "no such file"},
		{"${file:" + dir + "}", "", "directory"},
		{file("empty", " \n"), "", "is empty"},
		{file("large", strings.Repeat("x", 70<<10)), "", "64 KiB"},
		{file("lines", "s3cret\nother"), "", "one line"},
		{"s3cret", "", "must be a reference"},
		{"Bearer ${env:VESPIARY_TEST_SECRET}", "", "must be a reference"},
		{"${vault:s3cret}", "", "must be a reference"},
	} {
		got, err := model.ResolveSecret(c.ref)
		switch {
		case c.words == "" && (err != nil || got.Reveal() != c.want):
			t.Errorf("%s: %q, %v", c.ref, got.Reveal(), err)
		case c.words != "" && (err == nil || !strings.Contains(err.Error(), c.words) || strings.Contains(err.Error(), "s3cret")):
			t.Errorf("%s: %v", c.ref, err)
		}
		if c.want != "" && got.Ref() != c.ref {
			t.Errorf("%s: the reference is %q", c.ref, got.Ref())
		}
	}
}
