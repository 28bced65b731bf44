package registry

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/vespiary/vespiary/host/store"
)

// The errors that callers branch on.
var (
	ErrNotFound = errors.New("no such module")
	ErrCorrupt  = errors.New("the stored module is damaged")
	ErrInvalid  = errors.New("not the name of a module")
)

// Options says where a registry keeps what it knows. All fields but Store are
// needed; without a Store the registry knows digests and no names.
type Options struct {
	Dir    string // of the modules; made when first needed
	Store  store.Store
	Tenant string // whose names; without "/"
	Now    func() time.Time
}

// Registry keeps modules and their names. It is safe for concurrent use, also by
// several processes on one folder.
type Registry struct {
	files files
	names names
}

// New returns a registry. It does no I/O.
func New(o Options) (*Registry, error) {
	if o.Dir == "" || o.Now == nil || o.Tenant == "" || strings.Contains(o.Tenant, "/") {
		return nil, errors.New("registry: Dir, Now, and a Tenant without a slash are needed")
	}
	return &Registry{
		files: files{o.Dir},
		names: names{store: o.Store, prefix: "module/" + o.Tenant + "/", now: o.Now},
	}, nil
}

var nameForm = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,62}$`)

// Put keeps a module and, if name is not empty, makes the name lead to it from
// now on; by says who wants that. The module is durable before its name is. Both
// steps may be repeated: a name that already leads there gets no new version.
func (r *Registry) Put(ctx context.Context, name string, wasm []byte, by string) (Digest, error) {
	if name != "" && !nameForm.MatchString(name) {
		return "", fmt.Errorf("keep the module as %q: %w: names have lower-case letters, digits, - and _, and begin with a letter", name, ErrInvalid)
	}
	if !strings.HasPrefix(string(wasm), "\x00asm") {
		return "", fmt.Errorf("keep the module: %w: these are not the bytes of a WebAssembly module", ErrInvalid)
	}
	d := Of(wasm)
	if err := r.files.write(d, wasm); err != nil {
		return "", fmt.Errorf("keep module %s: %w", d, err)
	}
	if name == "" {
		return d, nil
	}
	v := Version{Name: name, Digest: d, By: by, Size: int64(len(wasm))}
	if err := r.names.set(ctx, v); err != nil {
		return "", fmt.Errorf("name module %s %s: %w", d, name, err)
	}
	return d, nil
}

// Resolve returns the digest that ref leads to: ref itself if it is one, or what
// the name ref leads to now. It does not look whether the module is there.
func (r *Registry) Resolve(ctx context.Context, ref string) (Digest, error) {
	if d := Digest(ref); d.Valid() {
		return d, nil
	}
	if !nameForm.MatchString(ref) {
		return "", fmt.Errorf("find module %q: %w: write a name or sha256:DIGEST", ref, ErrInvalid)
	}
	v, _, err := r.names.current(ctx, ref)
	if err != nil {
		return "", fmt.Errorf("find module %s: %w", ref, err)
	}
	return v.Digest, nil
}

// Bytes returns a module. A file that no longer has the hash it is named by is
// ErrCorrupt, never returned.
func (r *Registry) Bytes(ctx context.Context, d Digest) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if !d.Valid() {
		return nil, fmt.Errorf("read module %q: %w: a digest is sha256: and 64 hexadecimal digits", d, ErrInvalid)
	}
	b, err := r.files.read(d)
	if err != nil {
		return nil, fmt.Errorf("read module %s: %w", d, err)
	}
	return b, nil
}

// List returns what each name leads to now, in the order of the names.
func (r *Registry) List(ctx context.Context) ([]Version, error) {
	return r.names.list(ctx, "name/")
}

// Versions returns what name led to, the oldest first; ErrNotFound if it never
// led anywhere.
func (r *Registry) Versions(ctx context.Context, name string) ([]Version, error) {
	vs, err := r.names.list(ctx, "version/"+name+"/")
	if err == nil && len(vs) == 0 {
		err = fmt.Errorf("list the versions of %q: %w", name, ErrNotFound)
	}
	return vs, err
}
