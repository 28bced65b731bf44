package runtime_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// guest is a test guest: how it is built, and what its language lacks.
type guest struct {
	name  string
	dir   string // of the source, under testdata/guests
	needs []string
	build func(ctx context.Context, src, out string) *exec.Cmd
	wasi  bool // has output, clock and exit
	bulk  bool
}

var guests = []guest{
	{name: "c", dir: "c", needs: []string{"clang", "wasm-ld"}, build: shell(`
		clang --target=wasm32-unknown-unknown -O2 -ffreestanding -mbulk-memory -c -o "$2.o" "$1/guest.c"
		wasm-ld --no-entry --strip-debug -o "$2" "$2.o"`)},
	{name: "c-wasi", dir: "c", needs: []string{"clang", "wasm-ld", "/usr/lib/wasm32-wasi/crt1-reactor.o"}, wasi: true, build: shell(`
		clang --target=wasm32-wasi -O2 -DWASI -c -o "$2.o" "$1/guest.c"
		wasm-ld -L/usr/lib/wasm32-wasi /usr/lib/wasm32-wasi/crt1-reactor.o --entry _initialize --strip-debug -o "$2" \
			"$2.o" -lc "$(clang --target=wasm32-wasi -print-libgcc-file-name)"`)},
	{name: "rust", dir: "rust", needs: []string{"/usr/bin/rustc", "/usr/lib/rustlib/wasm32-unknown-unknown"}, build: shell(`
		/usr/bin/rustc --target wasm32-unknown-unknown -O -C panic=abort -C link-arg=--strip-debug -A warnings -o "$2" "$1/guest.rs"`)},
	{name: "go", dir: "go", needs: []string{"go"}, wasi: true, build: goBuild()},
	{name: "go-bulk", dir: "go", needs: []string{"go"}, wasi: true, bulk: true, build: goBuild("-tags=bulk")},
}

// durable is a guest in Go with a suite of its own.
var durable = guest{name: "durable", dir: "durable", needs: []string{"go"}, build: goBuild()}

// shell builds with a script that gets the source folder and the output file.
func shell(script string) func(context.Context, string, string) *exec.Cmd {
	return func(ctx context.Context, src, out string) *exec.Cmd {
		return exec.CommandContext(ctx, "sh", "-ec", script, "sh", src, out)
	}
}

func goBuild(flags ...string) func(context.Context, string, string) *exec.Cmd {
	return func(ctx context.Context, src, out string) *exec.Cmd {
		args := append([]string{"build", "-buildmode=c-shared", "-trimpath", "-o", out}, flags...)
		cmd := exec.CommandContext(ctx, "go", append(args, "./"+src)...)
		cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
		return cmd
	}
}

var building sync.Mutex

// wasmOf returns the guest's module, built unless the cache has it. A missing
// toolchain skips the test, except on CI.
func wasmOf(tb testing.TB, name string) []byte {
	tb.Helper()
	g := guestNamed(tb, name)
	building.Lock()
	defer building.Unlock()
	out := filepath.Join(cacheDir(tb), g.name+"-"+sourceHash(tb, g)+".wasm")
	if b, err := os.ReadFile(out); err == nil {
		return b
	}
	if missing := g.missing(); missing != "" {
		if os.Getenv("CI") == "true" {
			tb.Fatalf("guest %s needs %s, which is not installed", name, missing)
		}
		tb.Skipf("guest %s needs %s; install it to run this test", name, missing)
	}
	ctx, cancel := context.WithTimeout(tb.Context(), 5*time.Minute)
	defer cancel()
	tmp := filepath.Join(tb.TempDir(), "guest.wasm")
	if log, err := g.build(ctx, filepath.Join("testdata", "guests", g.dir), tmp).CombinedOutput(); err != nil {
		tb.Fatalf("build guest %s: %v\n%s", name, err, log)
	}
	b, err := os.ReadFile(tmp)
	if err != nil {
		tb.Fatal(err)
	}
	keep(tb, out, b)
	return b
}

func guestNamed(tb testing.TB, name string) guest {
	tb.Helper()
	for _, g := range append(guests, durable) {
		if g.name == name {
			return g
		}
	}
	tb.Fatalf("no guest %s", name)
	return guest{}
}

// keep writes a file at once or not at all, because other test processes read it.
func keep(tb testing.TB, path string, b []byte) {
	tb.Helper()
	tmp, err := os.CreateTemp(filepath.Dir(path), "new-*")
	if err != nil {
		tb.Fatal(err)
	}
	_, err = tmp.Write(b)
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		tb.Fatal(err)
	}
}

func (g guest) missing() string {
	for _, need := range g.needs {
		if filepath.IsAbs(need) {
			if _, err := os.Stat(need); err != nil {
				return need
			}
		} else if _, err := exec.LookPath(need); err != nil {
			return need
		}
	}
	return ""
}

// cacheDir is .cache/guests at the root of the module.
func cacheDir(tb testing.TB) string {
	tb.Helper()
	root, err := filepath.Abs(".")
	if err != nil {
		tb.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(root, "go.mod")); err == nil {
			break
		}
		if root == filepath.Dir(root) {
			tb.Fatal("no go.mod above the test")
		}
		root = filepath.Dir(root)
	}
	dir := filepath.Join(root, ".cache", "guests")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		tb.Fatal(err)
	}
	return dir
}

func sourceHash(tb testing.TB, g guest) string {
	tb.Helper()
	h := sha256.New()
	for _, arg := range g.build(tb.Context(), "src", "out").Args {
		h.Write([]byte(arg))
	}
	dir := os.DirFS(filepath.Join("testdata", "guests", g.dir))
	err := fs.WalkDir(dir, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(dir, path)
		h.Write([]byte(path + "\x00" + string(b)))
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	if slices.Contains(g.needs, "go") {
		version, err := exec.CommandContext(tb.Context(), "go", "env", "GOVERSION").Output()
		if err != nil {
			tb.Fatal(err)
		}
		h.Write([]byte(strings.TrimSpace(string(version))))
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}
