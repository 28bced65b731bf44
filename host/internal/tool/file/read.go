package file

import (
	"context"
	"unicode/utf8"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/tool/request"
)

// maxRead is how many bytes one call reads. As JSON they may become six times as
// long, which still fits a record of the journal.
const maxRead = 1 << 20

// read is the capability file_read.
type read struct{ files *Files }

type readState struct {
	place place
	in    abi.FileRead
}

// Classify implements host.Capability.
func (read) Classify(_ context.Context, c *host.Call) (host.Class, error) {
	var in abi.FileRead
	if err := request.Decode(c, &in); err != nil {
		return host.Class{}, err
	}
	if in.Offset < 0 || in.Limit < 0 {
		return host.Class{}, request.Invalid(c, "offset and limit must not be negative")
	}
	if in.Limit == 0 || in.Limit > maxRead {
		in.Limit = maxRead
	}
	p := locate(c.Run.Agent, in.Path)
	return classOf(p, "fileRead", host.Observe, abi.RecoverRead, readState{p, in}), nil
}

// Perform implements host.Capability.
func (r read) Perform(ctx context.Context, c *host.Call) (host.Output, error) {
	s, _ := c.Class.State.(readState)
	var out abi.FileContent
	var err error
	switch {
	case !s.place.inside():
		err = outside(c, s.place)
	case s.place.mounted():
		out, err = r.files.readMounted(ctx, c, s.place, s.in)
	default:
		out, err = r.files.readWorkspace(ctx, c, s.place, s.in)
	}
	if err != nil {
		return host.Output{}, err
	}
	return output(s.place, out)
}

// lookahead is how far beyond its limit a reading looks, to tell text whose last
// letter was cut from what is not text.
const lookahead = utf8.UTFMax - 1

// content makes the answer of the bytes from offset on: limit and lookahead more, or
// up to the file's end.
func content(info abi.FileInfo, offset int64, b []byte, limit int64) abi.FileContent {
	b = b[:cut(b, int(limit))]
	out := abi.FileContent{FileInfo: info, EOF: offset+int64(len(b)) >= info.Size}
	if utf8.Valid(b) {
		out.Text = string(b)
	} else {
		out.Data = b
	}
	return out
}

// cut returns how many of the bytes to give for a limit. It leaves a letter that the
// limit splits to the next reading, unless there is no room for even that one.
func cut(b []byte, limit int) int {
	if len(b) <= limit || utf8.Valid(b[:limit]) {
		return min(limit, len(b))
	}
	for split := 1; split <= min(lookahead, limit); split++ {
		n := limit - split
		if !utf8.Valid(b[:n]) || utf8.FullRune(b[n:limit]) {
			continue
		}
		if _, size := utf8.DecodeRune(b[n:]); size > 1 && n == 0 {
			return size
		} else if size > 1 {
			return n
		}
	}
	return limit
}
