package vespiarytest

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/vespiary/vespiary/abi"
)

// start performs a call at once and keeps its result for wait.
func (h *Host) start(r abi.Start) (abi.Started, error) {
	h.next++
	h.started[h.next] = h.answer(r.Name, r.Request)
	return abi.Started{ID: h.next}, nil
}

// wait delivers no more results than are asked for, so that code cannot come to
// rely on results that happen to be there.
func (h *Host) wait(r abi.WaitFor) (abi.Waited, error) {
	ids := slices.Clone(r.IDs)
	if h.Newest {
		slices.Reverse(ids)
	}
	want := len(ids)
	if r.Min > 0 {
		want = min(want, r.Min)
	}
	var out abi.Waited
	for _, id := range ids {
		result, ok := h.started[id]
		switch {
		case !ok:
			return out, invalid("call %d is not under way", id)
		case len(out.Done) == want:
			out.Pending = append(out.Pending, id)
		default:
			delete(h.started, id)
			out.Done = append(out.Done, abi.Finished{ID: id, Result: result})
		}
	}
	return out, nil
}

func (h *Host) memory(r abi.SessionMemory) (abi.SessionMemoryResult, error) {
	list := h.lists[r.Key]
	switch r.Op {
	case "append":
		h.lists[r.Key] = append(list, r.Items...)
		return abi.SessionMemoryResult{}, nil
	case "window":
		from := 0
		if r.Limit > 0 {
			from = max(0, len(list)-r.Limit)
		}
		return abi.SessionMemoryResult{Items: list[from:], Count: len(list)}, nil
	case "get":
		return abi.SessionMemoryResult{Value: h.values[r.Key]}, nil
	case "set":
		if delete(h.values, r.Key); len(r.Value) > 0 && string(r.Value) != "null" {
			h.values[r.Key] = r.Value
		}
		return abi.SessionMemoryResult{}, nil
	}
	return abi.SessionMemoryResult{}, invalid("memory_session has no operation %q", r.Op)
}

func (h *Host) readFile(r abi.FileRead) (abi.FileContent, error) {
	if err := inside(r.Path); err != nil {
		return abi.FileContent{}, err
	}
	text, ok := h.Files[r.Path]
	if !ok {
		return abi.FileContent{}, &abi.Error{Code: abi.CodeNotFound, Message: "no file " + r.Path}
	}
	limit := r.Limit
	if limit == 0 {
		limit = 1 << 20
	}
	from := min(max(r.Offset, 0), int64(len(text)))
	to := min(from+limit, int64(len(text)))
	c := abi.FileContent{FileInfo: info(r.Path, text), EOF: to == int64(len(text))}
	if part := text[from:to]; utf8.ValidString(part) {
		c.Text = part
	} else {
		c.Data = []byte(part)
	}
	return c, nil
}

func (h *Host) writeFile(r abi.FileWrite) (abi.FileInfo, error) {
	if err := inside(r.Path); err != nil {
		return abi.FileInfo{}, err
	}
	text := r.Text + string(r.Data)
	if r.Append {
		text = h.Files[r.Path] + text
	}
	h.Files[r.Path] = text
	if r.Remove {
		delete(h.Files, r.Path)
	}
	return info(r.Path, text), nil
}

func (h *Host) listFiles(r abi.FileList) (abi.FileListing, error) {
	if err := inside(r.Path); err != nil {
		return abi.FileListing{}, err
	}
	folder := strings.TrimSuffix(r.Path, "/") + "/"
	found := map[string]abi.FileInfo{}
	for name, text := range h.Files {
		rest, below := strings.CutPrefix("/"+name, "/"+strings.TrimPrefix(folder, "/"))
		if !below {
			continue
		}
		if sub, _, deeper := strings.Cut(rest, "/"); deeper && !r.Recursive {
			p := path.Join(r.Path, sub)
			found[p] = abi.FileInfo{Path: p, Folder: true}
			continue
		}
		found[name] = info(name, text)
	}
	out := abi.FileListing{Files: []abi.FileInfo{}}
	for _, p := range slices.Sorted(maps.Keys(found)) {
		out.Files = append(out.Files, found[p])
	}
	return out, nil
}

func info(p, text string) abi.FileInfo { return abi.FileInfo{Path: p, Size: int64(len(text))} }

// inside denies what a real host's policy would.
func inside(p string) error {
	if path.IsAbs(p) || slices.Contains(strings.Split(p, "/"), "..") {
		return &abi.Error{Code: abi.CodeDenied, Message: p + " is outside the workspace", Policy: "vespiarytest"}
	}
	return nil
}

func invalid(format string, args ...any) error {
	return &abi.Error{Code: abi.CodeInvalid, Message: fmt.Sprintf(format, args...)}
}
