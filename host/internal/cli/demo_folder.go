package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/vespiary/vespiary"
	"github.com/vespiary/vespiary/host/internal/config"
)

// demoMark is the first line of the demo's configuration: a folder that has it may be
// written over.
const demoMark = "# Written by vespiary demo, which replaces this folder when it runs again."

const (
	demoListen = "listen: 127.0.0.1:0" // any free port, while the demo runs
	ownListen  = "listen: 127.0.0.1:7070"
)

const demoConfig = demoMark + `
version: 1
` + demoListen + `
data: ./data
policies: ./policies
models:
  main: %s
tools:
  files: {plugin: builtin:files}
  clock: {plugin: builtin:clock}
folders:
  docs: {path: ./docs}
agents:
  librarian:
    plugin: builtin:loop
    description: Answers questions about the folder docs.
    model: main
    instructions: >-
      Answer from the files you are given. Search them first. Quote the passage that
      answers, and say in which file it stands. When asked to save something, write it
      with files_write.
    tools: [files, clock]
    folders: [docs]
    budget: {tokens: 200000, time: 10m} # of each task
groups:
  operators: [local] # who look after the host, by policies/people.cedar; local is this machine's own user
`

const demoPolicy = `// The librarian may use the tool that writes files. Where to, policies/files.cedar
// says: into the session's workspace.
@id("librarian-writes-notes")
permit (
  principal in Agent::"librarian",
  action in Action::"invokeWriteTool",
  resource == Tool::"files.files_write"
);
`

// write makes the folder anew and returns the name of the model that will answer.
func (d *demo) write() (string, error) {
	d.configFile = filepath.Join(d.dir, config.FileName)
	if err := d.clear(); err != nil {
		return "", err
	}
	model, entry := demoModel()
	files := map[string][]byte{
		config.FileName:            fmt.Appendf(nil, demoConfig, entry),
		"policies/librarian.cedar": []byte(demoPolicy),
	}
	add := func(folder string, from fs.FS) error {
		return fs.WalkDir(from, ".", func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			files[folder+"/"+path], err = fs.ReadFile(from, path)
			return err
		})
	}
	if err := errors.Join(add("policies", d.app.Starter()), add("docs", vespiary.Docs)); err != nil {
		return "", err
	}
	for path, content := range files {
		path = filepath.Join(d.dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			return "", err
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			return "", err
		}
	}
	return model, nil
}

// clear removes what an earlier demo left, and nothing else.
func (d *demo) clear() error {
	b, err := os.ReadFile(d.configFile)
	if errors.Is(err, fs.ErrNotExist) {
		if entries, err := os.ReadDir(d.dir); err == nil && len(entries) > 0 {
			return fmt.Errorf("begin in %s: the folder has files of another kind; name another one with --dir", d.dir)
		}
		return nil
	}
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(b, []byte(demoMark)) {
		return fmt.Errorf("begin in %s: its %s was not written by a demo; name another folder with --dir", d.dir, config.FileName)
	}
	return os.RemoveAll(d.dir)
}

// settle gives the folder an address that stays, for whoever goes on in it.
func (d *demo) settle() error {
	b, err := os.ReadFile(d.configFile)
	if err != nil {
		return err
	}
	return os.WriteFile(d.configFile, bytes.Replace(b, []byte(demoListen), []byte(ownListen), 1), 0o600) //nolint:gosec // the file that this command wrote itself
}

// demoModel is the model that the environment offers, and its entry in the
// configuration.
func demoModel() (name, entry string) {
	switch {
	case os.Getenv("OPENAI_API_KEY") != "":
		return "gpt-5-mini of OpenAI", `{provider: openai, model: gpt-5-mini, key: "${env:OPENAI_API_KEY}", price: {input: 0.25, output: 2.00}}`
	case os.Getenv("ANTHROPIC_API_KEY") != "":
		return "claude-haiku-4-5 of Anthropic", `{provider: anthropic, model: claude-haiku-4-5, key: "${env:ANTHROPIC_API_KEY}", price: {input: 1.00, output: 5.00}}`
	case os.Getenv("OLLAMA_HOST") != "":
		base := os.Getenv("OLLAMA_HOST")
		if !strings.Contains(base, "://") {
			base = "http://" + base
		}
		name = "llama3.2"
		if m := os.Getenv("OLLAMA_MODEL"); m != "" {
			name = m
		}
		return name + " of Ollama", fmt.Sprintf("{provider: openai, model: %q, base_url: %q}", name, strings.TrimSuffix(base, "/")+"/v1")
	}
	return "the offline stand-in", "{provider: offline, latency: 150ms}"
}

// installAll compiles the built-in plugins into the host's cache.
func (d *demo) installAll(ctx context.Context, cfg *config.Config) ([]string, error) {
	s, err := d.app.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	names := d.app.Builtins()
	for _, name := range names {
		b, err := d.app.Builtin(name)
		if err == nil {
			_, err = s.Install(ctx, name, b)
		}
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	return names, s.Close()
}
