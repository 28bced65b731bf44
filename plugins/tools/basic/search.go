package main

import (
	"fmt"
	"path"
	"strings"

	"github.com/vespiary/vespiary/abi"
	vespiary "github.com/vespiary/vespiary/sdk/go"
)

// What one search takes in.
const (
	maxSearched = 512 << 10 // bytes of a file; longer ones are left out
	maxCorpus   = 8 << 20   // bytes of all files
	maxFiles    = 1000
	batch       = 16 // files read at the same time
	maxMatches  = 50
)

type searchInput struct {
	Query string `json:"query" doc:"the words to look for"`
	Path  string `json:"path,omitempty" doc:"the folder to search; the whole workspace if left out"`
	Limit int    `json:"limit,omitempty" doc:"how many passages to return; 5 if left out, at most 50"`
}

type searchOutput struct {
	Matches []match  `json:"matches" doc:"the best first"`
	Files   int      `json:"files" doc:"how many files were searched"`
	Skipped []string `json:"skipped,omitempty" doc:"files that were not searched, and why"`
}

type match struct {
	Path    string  `json:"path"`
	Line    int     `json:"line" doc:"where the passage begins, counted from 1"`
	Heading string  `json:"heading,omitempty"`
	Text    string  `json:"text"`
	Score   float64 `json:"score" doc:"compares within one search only"`
}

// String writes the matches for a model to read.
func (o searchOutput) String() string {
	var b strings.Builder
	if len(o.Matches) == 0 {
		fmt.Fprintf(&b, "Nothing fits in %d files. Try other words.\n", o.Files)
	}
	for i, m := range o.Matches {
		if i > 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "%s:%d", m.Path, m.Line)
		if m.Heading != "" {
			fmt.Fprintf(&b, " (%s)", m.Heading)
		}
		fmt.Fprintf(&b, "\n%s\n", m.Text)
	}
	for i, why := range o.Skipped {
		if i == 5 {
			fmt.Fprintf(&b, "[and %d more]\n", len(o.Skipped)-i)
			break
		}
		fmt.Fprintf(&b, "[not searched: %s]\n", why)
	}
	return b.String()
}

func search(c *vespiary.Context, in searchInput) (searchOutput, error) {
	if len(terms(in.Query)) == 0 {
		return searchOutput{}, &abi.Error{Code: abi.CodeInvalid, Message: "the query has no word that tells something; give other words"}
	}
	if in.Limit <= 0 {
		in.Limit = 5
	}
	corpus, err := gather(c, in.Path)
	if err != nil {
		return searchOutput{}, err
	}
	out := searchOutput{Matches: []match{}, Files: corpus.files, Skipped: corpus.skipped}
	for _, f := range rank(corpus.passages, in.Query, min(in.Limit, maxMatches)) {
		out.Matches = append(out.Matches, match{f.path, f.line, f.heading, f.text, f.score})
	}
	return out, nil
}

// corpus is what one search looks through.
type corpus struct {
	passages []passage
	files    int
	skipped  []string
}

func (c *corpus) skip(path, why string) { c.skipped = append(c.skipped, path+": "+why) }

// gather reads the text files below folder. One that cannot be read is skipped,
// with the reason for the model to know.
func gather(c *vespiary.Context, folder string) (*corpus, error) {
	out := &corpus{}
	listing, err := out.tree(c, folder)
	if err != nil {
		return nil, err
	}
	paths := out.choose(listing)
	for len(paths) > 0 {
		n := min(batch, len(paths))
		texts, errs := vespiary.All(c, paths[:n], func(c *vespiary.Context, p string) ([]byte, error) {
			b, _, err := load(c, p, maxSearched)
			return b, err
		})
		for i, p := range paths[:n] {
			out.take(p, texts[i], errs[i])
		}
		paths = paths[n:]
	}
	return out, nil
}

// tree lists all below folder. The root shows mounted folders without what is in
// them: each is asked for by its own name, so that policy decides about each.
func (c *corpus) tree(ctx *vespiary.Context, folder string) (abi.FileListing, error) {
	listing, err := ctx.ListFiles(abi.FileList{Path: folder, Recursive: true})
	if err != nil || path.Clean(folder) != "." {
		return listing, err
	}
	for _, f := range listing.Files {
		if !f.Folder || !f.ReadOnly {
			continue
		}
		mounted, err := ctx.ListFiles(abi.FileList{Path: f.Path, Recursive: true})
		if err != nil {
			c.skip(f.Path, err.Error())
			continue
		}
		listing.Files = append(listing.Files, mounted.Files...)
		listing.Truncated = listing.Truncated || mounted.Truncated
	}
	return listing, nil
}

// choose returns the files worth reading, within the limits of a search.
func (c *corpus) choose(listing abi.FileListing) []string {
	var paths []string
	total := int64(0)
	for _, f := range listing.Files {
		switch {
		case f.Folder || media[strings.ToLower(path.Ext(f.Path))]:
		case f.Size > maxSearched:
			c.skip(f.Path, fmt.Sprintf("%d bytes are too many", f.Size))
		case len(paths) == maxFiles || total+f.Size > maxCorpus:
			c.skip(f.Path, "there are too many files; search a folder below")
		default:
			total += f.Size
			paths = append(paths, f.Path)
		}
	}
	if listing.Truncated {
		c.skip("…", "there are more files than can be listed; search a folder below")
	}
	return paths
}

// media are the endings of files that hold no text for certain.
var media = map[string]bool{
	".png": true, ".jpg": true, ".jpeg": true, ".gif": true, ".webp": true, ".ico": true, ".pdf": true, ".zip": true,
	".gz": true, ".tar": true, ".wasm": true, ".mp3": true, ".mp4": true, ".woff": true, ".woff2": true, ".ttf": true,
}

func (c *corpus) take(path string, text []byte, err error) {
	switch {
	case err != nil:
		c.skip(path, vespiary.Explain(err))
	case binary(text):
	default:
		c.files++
		c.passages = append(c.passages, split(path, string(text))...)
	}
}
