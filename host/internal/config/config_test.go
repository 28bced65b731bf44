package config_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/vespiary/vespiary/host/internal/config"
	"github.com/vespiary/vespiary/host/internal/config/strict"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestParseErrors(t *testing.T) {
	files, err := filepath.Glob("testdata/errors/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			checkGolden(t, file)
		})
	}
}

func checkGolden(t *testing.T, file string) {
	t.Helper()
	a, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, err = config.Parse("vespiary.yaml", a.Files[0].Data)
	if err == nil {
		t.Fatal("the file was accepted")
	}
	got := err.Error() + "\n"
	if *update {
		a.Files = append(a.Files[:1], txtar.File{Name: "problems", Data: []byte(got)})
		if err := os.WriteFile(file, txtar.Format(a), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if len(a.Files) != 2 {
		t.Fatal("no section problems; run make golden")
	}
	if diff := cmp.Diff(string(a.Files[1].Data), got); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	if strings.Contains(got, "hush") {
		t.Errorf("a secret is repeated:\n%s", got)
	}
}

func TestParse(t *testing.T) {
	data, err := os.ReadFile("testdata/good.yaml")
	if err != nil {
		t.Fatal(err)
	}
	got, err := config.Parse("/srv/nest/vespiary.yaml", data)
	if err != nil {
		t.Fatal(err)
	}
	readOnly := true
	want := &config.Config{
		File:     "/srv/nest/vespiary.yaml",
		Version:  1,
		Listen:   "0.0.0.0:7070",
		Data:     "/srv/nest/state",
		Policies: "/etc/vespiary/policies", Candidate: "/srv/nest/next", Enforce: strict.List{"flow"},
		Edge: true,
		TLS:  &config.TLS{Cert: "/srv/nest/tls/cert.pem", Key: "/srv/nest/tls/key.pem"},
		Models: map[string]config.Model{
			"main": {
				Provider: "openai", Model: "gpt-5-mini",
				Price: &config.Price{Input: 0.25, Output: 2, CacheRead: 0.025},
			},
			"house": {
				Provider: "openai", Model: "llama", BaseURL: "http://127.0.0.1:11434/v1",
				Price: &config.Price{}, MaxTokens: 4096, Timeout: 90 * time.Second,
			},
			"rules": {Provider: "offline", Latency: 20 * time.Millisecond},
		},
		Tools: map[string]config.Tool{
			"hello":  {Plugin: "/srv/nest/hello.wasm"},
			"github": {MCP: "https://mcp.example.com/mcp"},
		},
		Folders: map[string]config.Folder{"docs": {Path: "/srv/nest/docs", ReadOnly: &readOnly}},
		Agents: map[string]config.Agent{
			"support": {
				Plugin: "builtin:loop", Description: "Answers questions", Model: "main",
				Instructions: config.Instructions{File: "/srv/nest/support.md"},
				Tools:        []string{"hello", "github.search_issues"},
				Folders:      []string{"docs"}, Roles: []string{"helpdesk"}, MaxSteps: 20,
				Options: json.RawMessage(`{"style":{"short":true,"words":120},"tags":["a",1,2.5,null]}`),
				Budget: config.Budget{
					USD: 500_000, Tokens: 200_000, Calls: 50, Time: 30 * time.Minute, Fuel: 5_000_000_000, Memory: 128 << 20,
					Turn: config.TurnBudget{USD: 100_000, Tokens: 50_000, Calls: 20, Time: 2 * time.Minute, Fuel: 1_000_000_000},
				},
				Session: config.Session{Idle: 15 * time.Minute, Max: 8 * time.Hour, Retain: 30 * 24 * time.Hour},
			},
			"pinned": {
				Plugin:       "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
				Instructions: config.Instructions{Text: "Be brief.\nBe kind.\n"},
			},
			"elsewhere": {
				Plugin: config.PluginExternal, Model: "main", Instructions: config.Instructions{Text: "Be elsewhere."},
				Tools: []string{"hello"}, Folders: []string{"docs"}, Roles: []string{"helpdesk"}, Budget: config.Budget{Calls: 10},
			},
		},
		Identity: config.Identity{
			Audience: "https://nest.example.com",
			Issuers: map[string]config.Issuer{
				"corp": {
					Issuer: "https://login.example.com/realms/corp/", Audience: "vespiary",
					User: "email", Name: "nickname", Groups: "roles", Claims: []string{"department", "scope"}, Tenant: "acme",
					Algorithms: []string{"ES256", "EdDSA"}, TrustGroups: true,
				},
				"dev": {Issuer: "http://localhost:8080/realms/dev"},
			},
			Peers: map[string]config.Peer{
				"partner": {Issuer: "https://partner.example.com", JWKS: "https://keys.example.com/jwks", Tenant: "acme"},
				"sister":  {Issuer: "https://sister.example.com"},
			},
		},
		Groups: map[string][]string{
			"operators": {"local", "user1@corp", "o'user@partner@sister"}, "auditors": {"user2@example.com"},
		},
		Audit:     config.Audit{Checkpoint: "/srv/nest/audit.checkpoint"},
		Approvals: config.Approvals{Expire: 72 * time.Hour},
		Webhooks: map[string]config.Webhook{
			"ops":   {Secrets: make([]config.Secret, 2), On: []string{"waiting", "approval", "failed", "parked", "unknown"}},
			"house": {Secrets: make([]config.Secret, 1), Private: true},
		},
		Limits: config.Limits{
			Memory: 512 << 20, Sessions: 1000, Requests: 50, Body: 4_000_000, Free: 3 << 29, USDPerDay: 20_000_000,
			Patience: time.Minute,
		},
		HTTP:      config.HTTP{AllowPrivate: true},
		Telemetry: config.Telemetry{OTLP: "http://127.0.0.1:4318", Content: true},
		Metrics:   config.Metrics{Open: true},
	}
	ignore := cmpopts.IgnoreFields(config.Model{}, "Key", "Headers")
	secret := cmp.Comparer(func(config.Secret, config.Secret) bool { return true }) // see TestSecret
	if diff := cmp.Diff(want, got, ignore, secret); diff != "" {
		t.Errorf("config (-want +got):\n%s", diff)
	}
}

func TestDefaults(t *testing.T) {
	c, err := config.Parse("nest/vespiary.yaml", []byte("version: 1\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := &config.Config{
		File: "nest/vespiary.yaml", Version: 1, Listen: "127.0.0.1:7070", Data: "nest/data", Policies: "nest/policies",
		Approvals: config.Approvals{Expire: 24 * time.Hour}, Limits: config.Limits{Patience: 10 * time.Second},
	}
	if diff := cmp.Diff(want, c, cmpopts.IgnoreTypes(config.Secret{})); diff != "" || !c.Audit.Key.IsZero() {
		t.Error(diff)
	}
	// A default stands beside the keys that are given, and where all guests have no limit,
	// one may have any.
	c, err = config.Parse("vespiary.yaml", []byte(`version: 1
limits: {sessions: 5}
approvals: {}
agents: {a: {plugin: builtin:loop, budget: {memory: 4GiB}}}
`))
	if err != nil || c.Limits.Patience != 10*time.Second || c.Approvals.Expire != 24*time.Hour {
		t.Errorf("config = %+v, %v", c, err)
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "support.md", "Help people.\n")
	write(t, dir, "docs/README.md", "hello")
	write(t, dir, "vespiary.yaml", `version: 1
folders:
  docs: {path: ./docs}
agents:
  support: {plugin: builtin:loop, instructions: ./support.md, folders: [docs]}
`)
	c, err := config.Load(filepath.Join(dir, "vespiary.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Agents["support"].Instructions.Text; got != "Help people.\n" {
		t.Errorf("instructions = %q", got)
	}
}

func TestLoadErrors(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "file", "")
	write(t, dir, "vespiary.yaml", `version: 1
folders:
  gone: {path: ./gone}
  file: {path: ./file}
agents:
  support: {plugin: builtin:loop, instructions: ./gone.md}
`)
	_, err := config.Load(filepath.Join(dir, "vespiary.yaml"))
	e, ok := errors.AsType[*strict.Error](err)
	if !ok {
		t.Fatalf("error = %v", err)
	}
	var got []string
	for _, p := range e.Problems {
		got = append(got, fmt.Sprintf("%d:%d %s", p.Line, p.Column, p.Path))
	}
	want := []string{"3:16 folders.gone.path", "4:16 folders.file.path", "6:49 agents.support.instructions"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	if _, err := config.Load(filepath.Join(dir, "none.yaml")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error of a missing file = %v", err)
	}
}

func TestSecret(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "token", "from-file\n")
	t.Setenv("VESPIARY_TEST_KEY", "from-env")
	c, err := config.Parse(filepath.Join(dir, "vespiary.yaml"), []byte(`version: 1
models:
  env: {provider: openai, model: m, key: "${env:VESPIARY_TEST_KEY}"}
  file: {provider: openai, model: m, key: "${file:./token}", headers: {Authorization: "Bearer ${file:token}", X-Team: blue}}
  unset: {provider: openai, model: m, key: "${env:VESPIARY_TEST_NONE}"}
  gone: {provider: openai, model: m, key: "${file:gone}"}
webhooks:
  one: {url: "https://${env:VESPIARY_TEST_KEY}.example/?token=${file:token}", secret: "${file:token}"}
  two: {url: "https://hush.example/", secrets: ["${env:VESPIARY_TEST_KEY}", "${file:./token}"]}
audit: {key: "${file:./token}"}
`))
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		secret     config.Secret
		want, fail string
	}{
		{c.Models["env"].Key, "from-env", ""},
		{c.Models["file"].Key, "from-file", ""},
		{c.Models["file"].Headers["Authorization"], "Bearer from-file", ""},
		{c.Models["file"].Headers["X-Team"], "blue", ""},
		{c.Models["unset"].Key, "", "VESPIARY_TEST_NONE"},
		{c.Models["gone"].Key, "", "${file:gone}"},
		{c.Webhooks["one"].URL, "https://from-env.example/?token=from-file", ""},
		{c.Webhooks["one"].Secrets[0], "from-file", ""},
		{c.Webhooks["one"].Secret, "", ""},
		{c.Webhooks["two"].URL, "https://hush.example/", ""},
		{c.Webhooks["two"].Secrets[0], "from-env", ""},
		{c.Webhooks["two"].Secrets[1], "from-file", ""},
		{c.Audit.Key, "from-file", ""},
	} {
		got, err := tc.secret.Resolve()
		if got != tc.want || (err != nil) != (tc.fail != "") || err != nil && !strings.Contains(err.Error(), tc.fail) {
			t.Errorf("%v: Resolve() = %q, %v", tc.secret, got, err)
		}
	}
	printed := fmt.Sprintf("%v %+v %#v %v %#v", c.Models, c.Models, c.Models, c.Webhooks, c.Webhooks)
	if strings.Contains(printed, "from-") || strings.Contains(printed, "hush") {
		t.Errorf("a secret is printed: %s", printed)
	}
	if !strings.Contains(printed, "${env:VESPIARY_TEST_KEY}") {
		t.Errorf("the reference is not printed: %s", printed)
	}
}

func TestParseIsBounded(t *testing.T) {
	for name, data := range map[string][]byte{
		"size":    bytes.Repeat([]byte("a"), strict.MaxSize+1),
		"flow":    bytes.Repeat([]byte("["), strict.MaxSize),
		"nesting": []byte(strings.Repeat("- ", strict.MaxSize/2)),
		"utf8":    []byte("version: \xff"),
	} {
		if _, err := config.Parse("x.yaml", data); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
