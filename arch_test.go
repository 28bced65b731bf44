package vespiary

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const module = "github.com/vespiary/vespiary"

// layers lists, for each package of this module, the packages of this module
// that it may import; "." is the root. A trailing "/..." covers a folder, whose
// packages may also import one another. The most specific row counts, and a
// package that no row covers may import none.
var layers = map[string][]string{
	// Leaves.
	".":                      {},
	"abi":                    {},
	"host/internal/netguard": {},
	"host/store/...":         {},

	// Who may act, what is remembered, what may run: they never know the host.
	"memory/...":   {"abi", "host/store"},
	"policy/...":   {"abi", "host/store"},
	"registry/...": {"abi", "host/store"},

	// The parts of the host share its words, never one another.
	"host":                       {"abi", "host/store", "policy"},
	"host/internal/access":       {"abi", "host", "host/store", "policy"},
	"host/internal/api/...":      {"abi", "host", "host/store", "policy"},
	"host/internal/gate/...":     {"abi", "host", "host/store", "policy"},
	"host/internal/gateway/...":  {"abi", "host"},
	"host/internal/identity/...": {"abi", "host", "host/store", "policy"},
	"host/internal/journal/...":  {"abi", "host", "host/store"},
	"host/internal/model/...":    {"abi", "host", "policy"},
	"host/internal/runtime/...":  {"abi", "host"},
	"host/internal/session/...":  {"abi", "host", "host/store", "memory", "policy"},
	"host/internal/store/...":    {"host/store/..."},
	"host/internal/telemetry":    {"abi", "host"},
	"host/internal/tool/...":     {"abi", "host", "host/internal/netguard", "host/store", "policy"},
	"host/internal/webhook":      {"abi", "host", "host/internal/netguard", "host/store"},

	// Within a part, what is prepared or kept knows neither engines nor actors.
	"host/internal/runtime/image":    {},
	"host/internal/runtime/prepare":  {"host/internal/runtime/wasm/format"},
	"host/internal/session/snapshot": {"host", "host/store"},
	"host/internal/session/task":     {"host", "host/store", "policy"},

	// What a person works with. It reads modules, and reaches the host itself over
	// HTTP or through an interface of its own.
	"host/internal/config/...": {},
	"host/internal/project":    {".", "abi", "host/internal/config/strict", "host/internal/runtime/wasm"},
	"host/internal/cli": {
		".", "abi", "host", "policy",
		"host/internal/config/...", "host/internal/project", "host/internal/runtime/wasm",
	},

	// Who joins them.
	"host/internal/app": {"..."},
	"host/cmd/...":      {".", "host/internal/app", "host/internal/cli"},

	// Guests know the contract and their SDK.
	"sdk/...":      {"abi"},
	"examples/...": {"abi", "sdk/go"},
	"plugins/...":  {"abi", "sdk/go"},
	"plugins":      {},
}

// owners lists, for each third-party module, the packages that may import it.
var owners = map[string][]string{
	"github.com/cedar-policy/cedar-go":         {"policy/cedar"},
	"github.com/coreos/go-oidc/v3":             {"host/internal/identity"},
	"github.com/dgraph-io/badger/v4":           {"host/internal/store/..."},
	"github.com/dgraph-io/ristretto/v2":        {"host/internal/store/..."}, // Badger's options name its cache
	"github.com/extism/go-sdk":                 {"host/internal/runtime/..."},
	"github.com/failsafe-go/failsafe-go":       {"host/internal/model/..."},
	"github.com/fsnotify/fsnotify":             {"host/internal/cli"},
	"github.com/go-jose/go-jose/v4":            {"host/internal/identity"},
	"github.com/goccy/go-yaml":                 {"host/internal/config/strict"},
	"github.com/google/go-cmp":                 {"host/store/storetest", "host/internal/api/apitest"},
	"github.com/klauspost/compress":            {"host/internal/journal", "host/internal/session/snapshot", "host/internal/store"}, // a format each, with bounds of its own
	"github.com/labstack/echo/v4":              {"host/internal/api/..."},
	"github.com/oklog/ulid/v2":                 {"host/internal/session"},
	"github.com/prometheus/client_golang":      {"host/internal/telemetry"},
	"github.com/santhosh-tekuri/jsonschema/v6": {"host/internal/tool"},
	"github.com/spf13/cobra":                   {"host/internal/cli"},
	"github.com/tetratelabs/wazero":            {"host/internal/runtime/..."},
	"golang.org/x/mod":                         {"policy/audit"},
	"go.opentelemetry.io":                      {"host/internal/api/...", "host/internal/telemetry"},
}

// shared lists modules that stand close to the standard library.
var shared = []string{
	"golang.org/x/crypto",
	"golang.org/x/net",
	"golang.org/x/sync",
	"golang.org/x/sys",
	"golang.org/x/time",
}

// platforms are the builds that are checked: as the host, and as guests.
var platforms = map[string][]string{
	"native": nil,
	"wasip1": {"GOOS=wasip1", "GOARCH=wasm"},
}

func TestImports(t *testing.T) {
	for name, env := range platforms {
		for _, v := range violations(packages(t, env)) {
			t.Errorf("%s: %s", name, v)
		}
	}
}

// TestImportsAreCaught plants what the tables forbid.
func TestImportsAreCaught(t *testing.T) {
	const third = "github.com/dgraph-io/badger/v4"
	for _, tc := range []struct {
		name    string
		imports []string
		want    []string
	}{
		{"host/internal/gate", []string{"fmt", module + "/host", module + "/policy", "golang.org/x/sync/errgroup"}, nil},
		{"host/internal/app", []string{module + "/host/internal/gate", module + "/policy/cedar", module}, nil},
		{"host/internal/store/badger", []string{third, third + "/options"}, nil},
		{"host/internal/model/openai", []string{module + "/host/internal/model/wire"}, nil},
		{
			"host/internal/gate",
			[]string{module + "/host/internal/session", "net/http"},
			[]string{"host/internal/gate must not import host/internal/session"},
		},
		{
			"host/internal/session/snapshot",
			[]string{module + "/host/store", module + "/host/internal/session", "github.com/klauspost/compress/zstd"},
			[]string{"host/internal/session/snapshot must not import host/internal/session"},
		},
		{"host/internal/netguard", []string{module + "/host"}, []string{"host/internal/netguard must not import host"}},
		{"abi", []string{module + "/host/store"}, []string{"abi must not import host/store"}},
		{"policy/cedar", []string{module + "/host"}, []string{"policy/cedar must not import host"}},
		{"plugins/agents/loop", []string{module + "/host"}, []string{"plugins/agents/loop must not import host"}},
		{"sdk/go", []string{module + "/hostess"}, []string{"sdk/go must not import hostess"}},
		{"unheard/of", []string{module + "/abi"}, []string{"unheard/of must not import abi"}},
		{
			"host/internal/journal",
			[]string{third + "/options", "example.com/new", "golang.org/x/cryptography"},
			[]string{
				"host/internal/journal must not import " + third + "/options: it is not its owner",
				"host/internal/journal must not import example.com/new: it is not its owner",
				"host/internal/journal must not import golang.org/x/cryptography: it is not its owner",
			},
		},
	} {
		got := violations([]pkg{{Name: tc.name, Imports: tc.imports}})
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s imports %v (-want +got):\n%s", tc.name, tc.imports, diff)
		}
	}
}

func TestPackageDocs(t *testing.T) {
	for name, env := range platforms {
		for _, p := range packages(t, env) {
			if len(p.GoFiles) > 0 && p.Doc == "" {
				t.Errorf("%s: %s has no package comment", name, p.Name)
			}
		}
	}
}

type pkg struct {
	ImportPath string
	Doc        string
	GoFiles    []string
	Imports    []string
	Name       string `json:"-"` // path relative to the module's root, which is "."
}

// packages lists the module as it is for one platform.
func packages(t *testing.T, env []string) []pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=ImportPath,Doc,GoFiles,Imports", "./...")
	cmd.Env = append(cmd.Environ(), env...)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		p.Name, _ = inModule(p.ImportPath)
		all = append(all, p)
	}
}

// violations returns what the tables forbid, in words.
func violations(all []pkg) []string {
	var out []string
	for _, p := range all {
		for _, imp := range p.Imports {
			if why := forbidden(p.Name, imp); why != "" {
				out = append(out, p.Name+" must not import "+why)
			}
		}
	}
	return out
}

// forbidden returns what must not be imported, and why; "" where it may be.
func forbidden(name, imp string) string {
	if rel, ours := inModule(imp); ours {
		if match(allowed(name), rel) {
			return ""
		}
		return rel
	}
	first, _, _ := strings.Cut(imp, "/")
	standard := !strings.Contains(first, ".")
	if standard || moduleOf(imp, slices.Values(shared)) != "" ||
		match(owners[moduleOf(imp, maps.Keys(owners))], name) {
		return ""
	}
	return imp + ": it is not its owner"
}

func inModule(imp string) (rel string, ok bool) {
	if imp == module {
		return ".", true
	}
	return strings.CutPrefix(imp, module+"/")
}

// allowed returns the imports of the most specific layer that covers name.
func allowed(name string) []string {
	best := ""
	for pattern := range layers {
		if match([]string{pattern}, name) && len(pattern) > len(best) {
			best = pattern
		}
	}
	if strings.HasSuffix(best, "/...") {
		return append([]string{best}, layers[best]...)
	}
	return layers[best]
}

func match(patterns []string, name string) bool {
	for _, p := range patterns {
		dir, tree := strings.CutSuffix(p, "...")
		if name == p || tree && (dir == "" || strings.HasPrefix(name+"/", dir)) {
			return true
		}
	}
	return false
}

// moduleOf returns the module of known that imp belongs to, or "".
func moduleOf(imp string, known func(func(string) bool)) string {
	for m := range known {
		if imp == m || strings.HasPrefix(imp, m+"/") {
			return m
		}
	}
	return ""
}
