package main

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/vespiary/vespiary/abi"
	vespiary "github.com/vespiary/vespiary/sdk/go"
)

const (
	maxFile    = 4 << 20  // bytes of a file that files_read takes in
	maxText    = 50 << 10 // bytes that one files_read returns
	maxListing = 500      // files that one files_list returns
)

type listInput struct {
	Path      string `json:"path,omitempty" doc:"the folder; the whole workspace if left out"`
	Recursive bool   `json:"recursive,omitempty" doc:"also list what is in the folders below"`
}

type listOutput struct {
	Files     []listed `json:"files"`
	Truncated bool     `json:"truncated,omitempty" doc:"there are more files than are listed"`
}

type listed struct {
	Path   string `json:"path"`
	Folder bool   `json:"folder,omitempty"`
	Size   int64  `json:"size" doc:"in bytes"`
}

// String writes the listing for a model to read.
func (o listOutput) String() string {
	if len(o.Files) == 0 {
		return "There are no files here."
	}
	var b strings.Builder
	for _, f := range o.Files {
		if f.Folder {
			fmt.Fprintf(&b, "%s/\n", f.Path)
			continue
		}
		fmt.Fprintf(&b, "%s (%d bytes)\n", f.Path, f.Size)
	}
	if o.Truncated {
		b.WriteString("[there are more; list a folder below]\n")
	}
	return b.String()
}

func list(c *vespiary.Context, in listInput) (listOutput, error) {
	listing, err := c.ListFiles(abi.FileList{Path: in.Path, Recursive: in.Recursive})
	if err != nil {
		return listOutput{}, err
	}
	out := listOutput{Files: []listed{}, Truncated: listing.Truncated || len(listing.Files) > maxListing}
	for _, f := range listing.Files[:min(len(listing.Files), maxListing)] {
		out.Files = append(out.Files, listed{Path: f.Path, Folder: f.Folder, Size: f.Size})
	}
	return out, nil
}

type readInput struct {
	Path    string `json:"path" doc:"the file"`
	From    int    `json:"from,omitempty" doc:"the first line to read, counted from 1"`
	Lines   int    `json:"lines,omitempty" doc:"how many lines to read; as many as fit if left out"`
	Numbers bool   `json:"numbers,omitempty" doc:"put its number before each line"`
}

func read(c *vespiary.Context, in readInput) (string, error) {
	b, whole, err := load(c, in.Path, maxFile)
	if err != nil {
		return "", err
	}
	if binary(b) {
		return "", &abi.Error{Code: abi.CodeInvalid, Message: fmt.Sprintf("%s is not a text file (%d bytes)", in.Path, len(b))}
	}
	text, err := excerpt(string(b), in)
	if err == nil && !whole {
		text += fmt.Sprintf("[only the first %d bytes of this file can be read]\n", maxFile)
	}
	return text, err
}

// load reads a file up to limit bytes and tells whether that is all of it.
func load(c *vespiary.Context, path string, limit int) (content []byte, whole bool, err error) {
	for {
		part, err := c.ReadFile(abi.FileRead{Path: path, Offset: int64(len(content))})
		if err != nil {
			return nil, false, err
		}
		piece := part.Data
		if part.Text != "" {
			piece = []byte(part.Text)
		}
		content = append(content, piece...)
		switch {
		case len(content) > limit:
			return []byte(prefix(string(content), limit)), false, nil
		case part.EOF || len(piece) == 0:
			return content, true, nil
		}
	}
}

// binary tells whether b is something else than UTF-8 text.
func binary(b []byte) bool { return !utf8.Valid(b) || bytes.IndexByte(b, 0) >= 0 }

// prefix is the longest prefix of s in n bytes that splits no character.
func prefix(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// excerpt returns the lines asked for, and where to read on.
func excerpt(text string, in readInput) (string, error) {
	lines := strings.SplitAfter(text, "\n")
	if lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	first := max(in.From, 1)
	if first > max(len(lines), 1) {
		return "", &abi.Error{Code: abi.CodeInvalid, Message: fmt.Sprintf("%s has %d lines, so none from %d", in.Path, len(lines), first)}
	}
	last := len(lines)
	if in.Lines > 0 {
		last = min(last, first-1+in.Lines)
	}
	width := len(strconv.Itoa(last))
	var b strings.Builder
	for n := first; n <= last; n++ {
		line := strings.TrimRight(lines[n-1], "\r\n")
		if in.Numbers {
			line = fmt.Sprintf("%*d  %s", width, n, line)
		}
		if b.Len()+len(line) > maxText && n > first {
			last = n - 1
			break
		}
		b.WriteString(prefix(line, maxText))
		b.WriteByte('\n')
	}
	if last < len(lines) {
		fmt.Fprintf(&b, "[lines %d to %d of %d; read on from %d]\n", first, last, len(lines), last+1)
	}
	return b.String(), nil
}

type writeInput struct {
	Path   string `json:"path" doc:"the file"`
	Text   string `json:"text,omitempty" doc:"what to write"`
	Append bool   `json:"append,omitempty" doc:"add to the end of the file instead of replacing it"`
	Remove bool   `json:"remove,omitempty" doc:"delete the file instead"`
}

func write(c *vespiary.Context, in writeInput) (string, error) {
	if in.Remove && (in.Append || in.Text != "") {
		return "", &abi.Error{Code: abi.CodeInvalid, Message: "remove goes with neither text nor append"}
	}
	info, err := c.WriteFile(abi.FileWrite{Path: in.Path, Text: in.Text, Append: in.Append, Remove: in.Remove})
	switch {
	case err != nil:
		return "", err
	case in.Remove:
		return "Removed " + in.Path + ".", nil
	case in.Append:
		return fmt.Sprintf("Added %d bytes to %s, which has %d bytes now.", len(in.Text), in.Path, info.Size), nil
	}
	return fmt.Sprintf("Wrote %d bytes to %s.", info.Size, in.Path), nil
}
