package main

import (
	"path"
	"strings"
)

// maxPassage is where a passage ends at the next line, in bytes; paragraphs
// shorter than minPassage are joined with what follows.
const (
	maxPassage = 1200
	minPassage = 200
)

// passage is a run of lines below one heading.
type passage struct {
	path    string
	line    int    // of its beginning, counted from 1
	heading string // the headings it stands below, outermost first
	text    string
}

// splitter cuts one file into passages, line by line.
type splitter struct {
	path     string
	markdown bool
	fence    string // the mark that ends the code block around, or ""
	trail    []string
	open     passage
	out      []passage
}

func split(file, text string) []passage {
	s := &splitter{path: file}
	switch strings.ToLower(path.Ext(file)) {
	case ".md", ".markdown", ".mdx":
		s.markdown = true
	}
	n := 0
	for line := range strings.Lines(text) {
		n++
		s.add(n, strings.TrimRight(line, " \t\r\n"))
	}
	s.flush()
	return s.out
}

func (s *splitter) add(n int, line string) {
	s.fences(line)
	if level := headingLevel(line); s.markdown && s.fence == "" && level > 0 {
		s.flush()
		for len(s.trail) < level {
			s.trail = append(s.trail, "")
		}
		s.trail = append(s.trail[:level-1], strings.Trim(line, "# "))
		return
	}
	if line == "" && s.fence == "" && len(s.open.text) >= minPassage || len(s.open.text) > maxPassage {
		s.flush()
	}
	if s.open.text == "" && line == "" {
		return
	}
	if s.open.text == "" {
		s.open = passage{path: s.path, line: n, heading: s.heading()}
	}
	s.open.text += line + "\n"
}

// fences keeps track of Markdown's code blocks, in which "#" is no heading.
func (s *splitter) fences(line string) {
	mark := strings.TrimLeft(line, " ")
	switch {
	case s.fence != "":
		if strings.HasPrefix(mark, s.fence) {
			s.fence = ""
		}
	case strings.HasPrefix(mark, "```"):
		s.fence = "```"
	case strings.HasPrefix(mark, "~~~"):
		s.fence = "~~~"
	}
}

func headingLevel(line string) int {
	rest := strings.TrimLeft(line, "#")
	level := len(line) - len(rest)
	if level > 6 || !strings.HasPrefix(rest, " ") {
		return 0
	}
	return level
}

func (s *splitter) heading() string {
	var names []string
	for _, h := range s.trail {
		if h != "" {
			names = append(names, h)
		}
	}
	return strings.Join(names, " > ")
}

// flush ends the open passage. A heading with nothing below it is no passage.
func (s *splitter) flush() {
	s.open.text = strings.TrimRight(s.open.text, "\n")
	if s.open.text != "" {
		s.out = append(s.out, s.open)
	}
	s.open = passage{}
}
