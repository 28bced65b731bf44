package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/config"
)

// policySuffix is how the names of policy files end.
const policySuffix = ".cedar"

// policiesOf reads the policies of the folder that args may name, else those of the
// configuration, which is nil where there is none. doing says in errors what was tried.
func (r *runner) policiesOf(doing string, args []string) (*config.Config, []host.PolicyFile, error) {
	get := r.load
	if len(args) > 0 {
		get = r.optional
	}
	cfg, err := get()
	if err != nil {
		return nil, nil, err
	}
	var files []host.PolicyFile
	if len(args) > 0 {
		files, err = readPolicies(args[0])
	} else {
		files, err = configured(cfg)
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", doing, err)
	}
	return cfg, files, err
}

// configured reads the policies of the configuration.
func configured(cfg *config.Config) ([]host.PolicyFile, error) {
	files, err := readPolicies(cfg.Policies)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w; vespiary init writes the policies to begin with", err)
	}
	return files, err
}

// readPolicies reads the policy files of a folder and its subfolders.
func readPolicies(dir string) ([]host.PolicyFile, error) {
	var files []host.PolicyFile
	err := eachFile(dir, policySuffix, func(name string, text []byte) {
		files = append(files, host.PolicyFile{Name: name, Text: string(text)})
	})
	return files, err
}

// eachFile reads the files below dir whose names end in suffix, in their order. Names that
// begin with a dot are passed over.
func eachFile(dir, suffix string, do func(name string, text []byte)) error {
	info, err := os.Stat(dir)
	switch {
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is a file; name its folder, for policies count together", dir)
	}
	files := os.DirFS(dir)
	return fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case name != "." && strings.HasPrefix(path.Base(name), "."):
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		case d.IsDir() || !strings.HasSuffix(name, suffix):
			return nil
		}
		text, err := fs.ReadFile(files, name)
		if err == nil {
			do(name, text)
		}
		return err
	})
}

// replaced is a set of files with f in the place of the one of its name.
func replaced(files []host.PolicyFile, f host.PolicyFile) []host.PolicyFile {
	return append(without(files, f.Name), f)
}

func without(files []host.PolicyFile, name string) []host.PolicyFile {
	return slices.DeleteFunc(slices.Clone(files), func(f host.PolicyFile) bool { return f.Name == name })
}

// textOf is the text of the file of a name, "" where there is none.
func textOf(files []host.PolicyFile, name string) string {
	for _, f := range files {
		if f.Name == name {
			return f.Text
		}
	}
	return ""
}

// writeWhole writes a file such that whoever reads it finds the old text or the new one.
func writeWhole(file string, text []byte) error {
	part, err := os.CreateTemp(filepath.Dir(file), ".*.part") // a name that policies are not read from
	if err != nil {
		return err
	}
	_, err = part.Write(text)
	err = errors.Join(err, part.Chmod(0o644), part.Sync(), part.Close()) // policies are no secret
	if err == nil {
		err = os.Rename(part.Name(), file)
	}
	if err != nil {
		_ = os.Remove(part.Name())
	}
	return err
}

// invokeAction is the action without which nobody can use an agent, and useGroup the group
// of actions that it is in.
const invokeAction, useGroup = "invokeAgent", "use"

var (
	cedarComment = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|//[^\n]*`)
	// permitScope finds what a permit says of its action: the text between "action" and the
	// comma before the resource.
	permitScope = regexp.MustCompile(`permit\s*\(\s*principal(?:[^,\["]|"(?:[^"\\]|\\.)*"|\[[^\]]*\])*,\s*action((?:[^,\["]|"(?:[^"\\]|\\.)*"|\[[^\]]*\])*),`)
	actionNames = regexp.MustCompile(`"((?:[^"\\]|\\.)*)"`)
)

// letsInvoke reports whether a permit is about invoking agents: by name, by group, or
// because it is about every action. Whom it lets, and under which conditions, is not asked.
func letsInvoke(files []host.PolicyFile) bool {
	for _, f := range files {
		text := cedarComment.ReplaceAllStringFunc(f.Text, func(s string) string {
			if strings.HasPrefix(s, `"`) {
				return s
			}
			return ""
		})
		for _, scope := range permitScope.FindAllStringSubmatch(text, -1) {
			if strings.TrimSpace(scope[1]) == "" {
				return true
			}
			for _, name := range actionNames.FindAllStringSubmatch(scope[1], -1) {
				if name[1] == invokeAction || name[1] == useGroup {
					return true
				}
			}
		}
	}
	return false
}
