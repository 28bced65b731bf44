package app

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/vespiary/vespiary/abi"
)

// descriptions keeps beside the compiled modules what plugins say of their tools, by
// digest and engine: it is a property of their bytes, and a host that starts need not run them to
// check its policies. A file that cannot be read is made anew.
type descriptions struct {
	dir    string                     // empty keeps nothing
	engine func(digest string) string // that describes it
	ask    func(ctx context.Context, digest string) (abi.ToolList, error)
}

// described returns what a module says of its tools.
func (d descriptions) described(ctx context.Context, digest string) (abi.ToolList, error) {
	path := filepath.Join(d.dir, strings.TrimPrefix(digest, "sha256:")+"-"+d.engine(digest)+".json")
	var list abi.ToolList
	if b, err := os.ReadFile(path); err == nil && d.dir != "" && json.Unmarshal(b, &list) == nil {
		return list, nil
	}
	list, err := d.ask(ctx, digest)
	if err != nil || d.dir == "" {
		return list, err
	}
	_ = d.keep(path, list) // it is asked again
	return list, nil
}

func (d descriptions) keep(path string, list abi.ToolList) error {
	b, err := json.Marshal(list)
	if err != nil {
		return err
	}
	err = replaceWhole(path, b)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(d.dir, 0o700); err == nil {
			err = replaceWhole(path, b)
		}
	}
	return err
}
