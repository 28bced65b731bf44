package config

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/vespiary/vespiary/host/internal/config/strict"
)

// maxInstructions is the largest file of instructions, in bytes: more would not
// fit into a model's context.
const maxInstructions = 1 << 20

// Load reads the file at path with the instructions that it names, and checks
// that the folders it mounts exist. All that is wrong with the content is in one
// *strict.Error.
func Load(path string) (*Config, error) {
	data, err := readLimited(path, strict.MaxSize)
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	c, r := parse(path, data)
	c.read(r)
	if err := r.Err(); err != nil {
		return nil, err
	}
	return c, nil
}

// Parse decodes and checks a configuration. It looks at no other file, and leaves
// instructions that are in one unread. name is the file's path: relative paths
// in it begin at its folder.
func Parse(name string, data []byte) (*Config, error) {
	c, r := parse(name, data)
	if err := r.Err(); err != nil {
		return nil, err
	}
	return c, nil
}

func parse(name string, data []byte) (*Config, *strict.Report) {
	c := &Config{
		File:      name,
		Listen:    "127.0.0.1:7070",
		Data:      "./data",
		Policies:  "./policies",
		Approvals: Approvals{Expire: 24 * time.Hour},
		Limits:    Limits{Patience: 10 * time.Second},
	}
	r := strict.Decode(name, data, c)
	check(c, r)
	c.resolve(filepath.Dir(name))
	return c, r
}

// resolve makes every path begin at dir instead of the file's folder.
func (c *Config) resolve(dir string) {
	c.Data = absolute(dir, c.Data)
	c.Policies, c.Candidate = absolute(dir, c.Policies), absolute(dir, c.Candidate)
	c.Audit.Key.dir, c.Audit.Checkpoint = dir, absolute(dir, c.Audit.Checkpoint)
	if c.TLS != nil {
		c.TLS.Cert, c.TLS.Key = absolute(dir, c.TLS.Cert), absolute(dir, c.TLS.Key)
	}
	for name, m := range c.Models {
		m.Key.dir = dir
		for header, value := range m.Headers {
			value.dir = dir
			m.Headers[header] = value
		}
		c.Models[name] = m
	}
	for name, t := range c.Tools {
		t.Plugin, t.Token.dir = pluginPath(dir, t.Plugin), dir
		c.Tools[name] = t
	}
	for name, f := range c.Folders {
		f.Path = absolute(dir, f.Path)
		c.Folders[name] = f
	}
	for name, w := range c.Webhooks {
		c.Webhooks[name] = w.resolve(dir)
	}
	for name, a := range c.Agents {
		a.Plugin = pluginPath(dir, a.Plugin)
		a.Instructions.File = absolute(dir, a.Instructions.File)
		c.Agents[name] = a
	}
}

func (w Webhook) resolve(dir string) Webhook {
	if !w.Secret.IsZero() {
		w.Secrets, w.Secret = append(w.Secrets, w.Secret), Secret{}
	}
	for i := range w.Secrets {
		w.Secrets[i].dir = dir
	}
	w.URL.dir = dir
	return w
}

// IsPath reports whether a plugin is named by the path of a file.
func IsPath(plugin string) bool {
	return strings.HasSuffix(plugin, ".wasm") && !strings.HasPrefix(plugin, builtin)
}

func pluginPath(dir, plugin string) string {
	if IsPath(plugin) {
		return absolute(dir, plugin)
	}
	return plugin
}

func absolute(dir, path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

// read fills in what stands in other files.
func (c *Config) read(r *strict.Report) {
	for name, a := range c.Agents {
		if a.Instructions.File == "" {
			continue
		}
		b, err := readLimited(a.Instructions.File, maxInstructions)
		if err != nil {
			r.Addf("agents."+name+".instructions", "%v; write the file, or the text itself here", err)
			continue
		}
		a.Instructions.Text = string(b)
		c.Agents[name] = a
	}
	for name, f := range c.Folders {
		if info, err := os.Stat(f.Path); err != nil {
			r.Addf("folders."+name+".path", "%v; make the folder or mend the path", err)
		} else if !info.IsDir() {
			r.Addf("folders."+name+".path", "%s is not a folder", f.Path)
		}
	}
}

func readLimited(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // opened for reading
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	return b, nil
}
