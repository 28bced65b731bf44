package strict

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing that is wrong with a file. Line and Column count from 1;
// 0 means the file as a whole.
type Problem struct {
	File    string
	Line    int
	Column  int
	Path    string // of keys: "agents.support.model"; empty for the file
	Message string // what is wrong and what to do
}

// String has the form file:line:column: path: message.
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
	}
	b.WriteString(": ")
	if p.Path != "" {
		b.WriteString(p.Path + ": ")
	}
	b.WriteString(p.Message)
	return b.String()
}

// Error holds all problems of a file in the order of their positions.
type Error struct{ Problems []Problem }

// Error returns one line for each problem.
func (e *Error) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

type position struct{ line, column int }

// Report collects problems and remembers where each path of the file stands.
type Report struct {
	file     string
	at       map[string]position
	problems []Problem
}

// Has reports whether the file gives a value for path.
func (r *Report) Has(path string) bool {
	_, ok := r.at[path]
	return ok
}

// Addf adds a problem at path, or at the nearest path around it that the file
// has. It does nothing where path or a path around it already has a problem,
// so that checks may follow a failed decoding without repeating it.
func (r *Report) Addf(path, format string, args ...any) {
	for _, p := range r.problems {
		if p.Path == path || p.Path != "" && strings.HasPrefix(path, p.Path+".") {
			return
		}
	}
	r.add(r.find(path), path, fmt.Sprintf(format, args...))
}

// Err returns an *Error with all problems, or nil.
func (r *Report) Err() error {
	if len(r.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(r.problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return &Error{Problems: r.problems}
}

func (r *Report) add(pos position, path, message string) {
	r.problems = append(r.problems, Problem{r.file, pos.line, pos.column, path, message})
}

func (r *Report) find(path string) position {
	for {
		if pos, ok := r.at[path]; ok {
			return pos
		}
		end := strings.LastIndexByte(path, '.')
		if end < 0 {
			return r.at[""]
		}
		path = path[:end]
	}
}
