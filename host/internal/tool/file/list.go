package file

import (
	"cmp"
	"context"
	"slices"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/tool/request"
)

// maxListed is how many files and folders one call lists.
const maxListed = 1000

// list is the capability file_list.
type list struct{ files *Files }

type listState struct {
	place place
	in    abi.FileList
}

// Classify implements host.Capability.
func (list) Classify(_ context.Context, c *host.Call) (host.Class, error) {
	var in abi.FileList
	if err := request.Decode(c, &in); err != nil {
		return host.Class{}, err
	}
	p := locate(c.Run.Agent, in.Path)
	return classOf(p, "fileList", host.Observe, abi.RecoverRead, listState{p, in}), nil
}

// Perform implements host.Capability.
func (l list) Perform(ctx context.Context, c *host.Call) (host.Output, error) {
	s, _ := c.Class.State.(listState)
	var out abi.FileListing
	var err error
	switch {
	case !s.place.inside():
		err = outside(c, s.place)
	case s.place.mounted():
		out, err = l.files.listMounted(ctx, c, s.place, s.in.Recursive)
	default:
		out, err = l.files.listWorkspace(ctx, c, s.place, s.in.Recursive)
	}
	if err != nil {
		return host.Output{}, err
	}
	return output(s.place, out)
}

// listed gathers the entries of a listing.
type listed struct {
	files     []abi.FileInfo
	truncated bool
}

func (l *listed) full() bool {
	l.truncated = l.truncated || len(l.files) >= maxListed
	return len(l.files) >= maxListed
}

func (l *listed) add(info abi.FileInfo) { l.files = append(l.files, info) }

func (l *listed) listing() abi.FileListing {
	slices.SortFunc(l.files, func(a, b abi.FileInfo) int { return cmp.Compare(a.Path, b.Path) })
	out := abi.FileListing{Files: l.files, Truncated: l.truncated}
	if len(out.Files) > maxListed {
		out.Files, out.Truncated = out.Files[:maxListed], true
	}
	if out.Files == nil {
		out.Files = []abi.FileInfo{}
	}
	return out
}
