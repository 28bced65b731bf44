package file

import (
	"strings"
	"unicode/utf8"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/policy"
)

// Workspace is the folder of the session's own files, as policies name it.
const Workspace = "workspace"

const (
	maxPath    = 512 // bytes
	maxSegment = 255 // bytes between two slashes
	maxShown   = 256 // bytes of a path outside that are shown
)

// place is where a path leads.
type place struct {
	path   string // cleaned, "" for the root; of a path outside, as it is shown
	folder string // Workspace, the name of a mounted folder, or "" for outside
	mount  string // of a mounted folder: its absolute path on this machine
	rel    string // of a mounted folder: the path below it, "." for itself
}

func (p place) inside() bool  { return p.folder != "" }
func (p place) mounted() bool { return p.mount != "" }

// shown is how people and policies read the path.
func (p place) shown() string {
	if p.path == "" {
		return "."
	}
	return p.path
}

// locate says where a path of the agent's leads.
func locate(agent *host.Agent, asked string) place {
	path, ok := clean(asked)
	if !ok {
		return place{path: displayed(asked)}
	}
	first, rest, _ := strings.Cut(path, "/")
	if mount, ok := agent.Folders[first]; ok && first != Workspace {
		if rest == "" {
			rest = "."
		}
		return place{path: path, folder: first, mount: mount, rel: rest}
	}
	return place{path: path, folder: Workspace}
}

// clean checks a path and removes what does not change where it leads. It refuses
// more than it must: what one system reads as a name, another reads as a way out.
func clean(asked string) (string, bool) {
	switch {
	case len(asked) > maxPath, strings.HasPrefix(asked, "/"), hasDrive(asked), !utf8.ValidString(asked):
		return "", false
	case strings.ContainsFunc(asked, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\\' }):
		return "", false
	}
	var segments []string
	for segment := range strings.SplitSeq(asked, "/") {
		switch {
		case segment == ".." || len(segment) > maxSegment:
			return "", false
		case segment != "" && segment != ".":
			segments = append(segments, segment)
		}
	}
	path := strings.Join(segments, "/")
	// "./C:/x" is not absolute until its beginning is taken away.
	return path, !hasDrive(path)
}

// hasDrive reports whether the path begins with a drive letter, as on Windows.
func hasDrive(path string) bool {
	return len(path) >= 2 && path[1] == ':' && (path[0]|0x20 >= 'a' && path[0]|0x20 <= 'z')
}

// displayed makes a refused path fit to be shown and recorded.
func displayed(asked string) string {
	cut := asked[:min(len(asked), maxShown)]
	out := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return utf8.RuneError
		}
		return r
	}, strings.ToValidUTF8(cut, "\uFFFD"))
	if len(cut) < len(asked) {
		out += "…"
	}
	return out
}

// resource is the place as policy sees it.
func (p place) resource() (policy.Entity, []policy.Entity) {
	e := policy.Entity{
		UID:   policy.UID{Type: "File", ID: p.shown()},
		Attrs: map[string]any{"path": p.shown(), "inside": p.inside(), "readOnly": p.folder != Workspace},
	}
	if !p.inside() {
		return e, nil
	}
	folder := policy.UID{Type: "Folder", ID: p.folder}
	e.Parents = []policy.UID{folder}
	return e, []policy.Entity{{UID: folder}}
}
