package cedar

import "bytes"

// Limits that keep the recursive parser and type checker within their stack: a
// stack overflow ends a Go process and cannot be recovered.
const (
	maxFile      = 16 << 20 // bytes
	maxStatement = 64 << 10 // bytes
	maxNesting   = 64       // open brackets
	maxDots      = 64       // in one path; "has a.b.c" takes the square of its length
)

// statement is the text of one policy, from its first token to its semicolon.
type statement struct {
	text    []byte
	line    int // of the first token, from 1
	nesting int // deepest bracket
	dots    int // most in one path
}

// splitter cuts a file into statements, so that a fault in one policy does not
// hide those in the next. A semicolon outside strings and comments ends a policy
// and stands nowhere else in the grammar.
type splitter struct {
	src       []byte
	pos, line int
}

func statements(src []byte) []statement {
	s := &splitter{src: src, line: 1}
	var all []statement
	for s.skipBlank(); s.pos < len(s.src); s.skipBlank() {
		all = append(all, s.next())
	}
	return all
}

// next reads up to the next semicolon, or to the end of a file that lacks one.
func (s *splitter) next() statement {
	st := statement{line: s.line}
	start, depth, dots := s.pos, 0, 0
	for s.pos < len(s.src) {
		if s.atComment() {
			s.skipComment()
			continue
		}
		c := s.src[s.pos]
		depth += nesting(c)
		dots = dotted(c, dots)
		st.nesting, st.dots = max(st.nesting, depth), max(st.dots, dots)
		if c == '"' {
			s.skipString()
			continue
		}
		s.step()
		if c == ';' {
			break
		}
	}
	st.text = s.src[start:s.pos]
	return st
}

// dotted counts dots with nothing but names and white space between them.
func dotted(c byte, before int) int {
	switch {
	case c == '.':
		return before + 1
	case c == '_' || c <= ' ' || '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z':
		return before
	default:
		return 0
	}
}

func nesting(c byte) int {
	switch c {
	case '(', '[', '{':
		return 1
	case ')', ']', '}':
		return -1
	default:
		return 0
	}
}

// step moves on by one byte and counts lines.
func (s *splitter) step() {
	if s.src[s.pos] == '\n' {
		s.line++
	}
	s.pos++
}

// skipBlank moves past white space and comments.
func (s *splitter) skipBlank() {
	for s.pos < len(s.src) {
		switch {
		case bytes.IndexByte([]byte(" \t\r\n"), s.src[s.pos]) >= 0:
			s.step()
		case s.atComment():
			s.skipComment()
		default:
			return
		}
	}
}

func (s *splitter) atComment() bool {
	rest := s.src[s.pos:]
	return len(rest) > 1 && rest[0] == '/' && (rest[1] == '/' || rest[1] == '*')
}

// skipComment moves past a comment; one that is never closed takes the rest.
func (s *splitter) skipComment() {
	end := "\n"
	if s.src[s.pos+1] == '*' {
		end = "*/"
	}
	from := s.pos + 2
	stop := len(s.src)
	if n := bytes.Index(s.src[from:], []byte(end)); n >= 0 {
		stop = from + n + len(end)
	}
	s.line += bytes.Count(s.src[s.pos:stop], []byte("\n"))
	s.pos = stop
}

// skipString moves past a string. A string cannot span lines, so one that is not
// closed ends with its line and spoils no other policy.
func (s *splitter) skipString() {
	for s.pos++; s.pos < len(s.src); s.pos++ {
		switch s.src[s.pos] {
		case '\n':
			return
		case '"':
			s.pos++
			return
		case '\\':
			if s.pos+1 < len(s.src) && s.src[s.pos+1] != '\n' {
				s.pos++
			}
		}
	}
}
