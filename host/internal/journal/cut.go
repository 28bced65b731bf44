package journal

import (
	"bytes"
	"encoding/binary"
)

// A conversation's text passes through a journal many times: as an event, in every
// request to the model after it, in what memory returns, as the reply. So a payload is
// cut into parts that are stored once per session: long JSON strings, and arrays element
// by element as chains of nodes, of which one that has grown shares all but its end. What
// is left of the payload is a recipe, from which it is joined again byte by byte. Nothing
// rests on the payload being JSON: other bytes are only cut badly.

const (
	shareMin = 512 // bytes of a string that becomes a part
	groupMin = 256 // bytes that the first elements of an array must need to become a node
	// groupStep is the number of nodes after which nodes get twice as large, so that a
	// large array does not become a large number of them.
	groupStep = 64
	maxDepth  = 64 // of arrays and objects
)

// The kinds of portions that a recipe consists of.
const (
	portionLiteral byte = iota // bytes as they are
	portionString              // the content of a JSON string
	portionEscaped             // the same, in which <, > and & are written \u003c, \u003e and \u0026
	portionChain               // elements of an array
)

// refSize is about what a portion other than a literal adds to a recipe, in bytes.
const refSize = nameSize + 3

// cutting is a payload's bytes from..to in a recipe.
type cutting struct {
	kind     byte
	from, to int
	name     name // of the part, unless the kind is portionLiteral
}

func (c *cutting) size() int {
	if c.kind == portionLiteral {
		return c.to - c.from
	}
	return refSize
}

// cutter makes cuttings of raw in one pass. part is given the content of each part and
// names it.
type cutter struct {
	raw   []byte
	part  func(kind byte, content []byte) name // content is valid during the call
	out   []cutting
	lit   int // where the literal under way begins
	done  int // size of out
	open  []level
	node  []byte // scratch, as plain is
	plain []byte
}

// level is an array or object that has begun. Only an array of strings, objects or arrays
// can become a chain.
type level struct {
	array  bool
	at     int   // where its content begins
	base   int   // size of the recipe there
	first  int   // index of its first cutting, or of a literal that goes on into it
	groups []int // indexes of cuttings behind which a node ends
	from   int   // size where the node under way begins
}

// cut reads raw once and returns the cuttings of raw, of which there is one when nothing can be shared.
func (c *cutter) cut() []cutting {
	for i := 0; i < len(c.raw); i++ {
		switch c.raw[i] {
		case '"':
			i = c.text(i + 1)
		case '[', '{':
			if len(c.open) == maxDepth {
				c.flush(len(c.raw))
				return c.out
			}
			c.push(i)
		case ',':
			if n := len(c.open); n > 0 && c.open[n-1].array {
				c.boundary(&c.open[n-1], i)
			}
		case ']', '}':
			c.pop(i)
		}
	}
	c.flush(len(c.raw))
	return c.out
}

// size is what the recipe needs up to the place at.
func (c *cutter) size(at int) int { return c.done + at - c.lit }

// flush ends the literal under way.
func (c *cutter) flush(at int) {
	if at > c.lit {
		c.add(cutting{kind: portionLiteral, from: c.lit, to: at})
	}
	c.lit = at
}

func (c *cutter) add(n cutting) {
	c.out = append(c.out, n)
	c.done += n.size()
}

// text takes the string whose content begins at from and returns where it ends.
func (c *cutter) text(from int) int {
	to := endOfString(c.raw, from)
	if to-from >= shareMin && to < len(c.raw) {
		c.flush(from)
		kind, content := portionString, c.raw[from:to]
		plain, ok := unescape(c.plain[:0], content)
		if c.plain = plain; ok {
			kind, content = portionEscaped, plain
		}
		c.add(cutting{kind: kind, from: from, to: to, name: c.part(portionString, content)})
		c.lit = to
	}
	return to
}

// endOfString returns the place of the quote that ends a string, len(raw) without one.
func endOfString(raw []byte, from int) int {
	for i := from; ; i++ {
		n := bytes.IndexByte(raw[i:], '"')
		if n < 0 {
			return len(raw)
		}
		i += n
		slashes := 0
		for i-slashes > from && raw[i-slashes-1] == '\\' {
			slashes++
		}
		if slashes%2 == 0 {
			return i
		}
	}
}

// push begins the array or object at i. An array of numbers, such as a vector, does not
// grow from one payload to the next, and as a chain would only cost more.
func (c *cutter) push(i int) {
	l := level{array: c.raw[i] == '[', at: i + 1, first: len(c.out), base: c.size(i + 1), from: c.size(i + 1)}
	if l.array {
		inside := bytes.TrimLeft(c.raw[i+1:min(i+64, len(c.raw))], " \t\r\n")
		l.array = len(inside) > 0 && bytes.IndexByte([]byte(`"{[`), inside[0]) >= 0
	}
	c.open = append(c.open, l)
}

// pop ends the innermost array or object at i, whichever bracket stands there: a chain is
// whatever lies between two places, so that a wrong one does no harm.
func (c *cutter) pop(i int) {
	n := len(c.open) - 1
	if n < 0 {
		return
	}
	if l := &c.open[n]; l.array {
		c.boundary(l, i)
		c.chain(l)
	}
	c.open = c.open[:n]
}

// boundary ends a node at the end of an element, if it is large enough. That depends on
// the elements before it alone, so that an array that has grown has the same nodes.
func (c *cutter) boundary(l *level, at int) {
	if c.size(at)-l.from < groupMin<<min(len(l.groups)/groupStep, 16) {
		return
	}
	c.flush(at)
	if len(l.groups) == 0 {
		c.split(l)
	}
	l.groups = append(l.groups, len(c.out))
	l.from = c.size(at)
}

// split makes the array's content begin with a cutting of its own. It is late, so that
// the many arrays that are too small for a node cost no cutting each.
func (c *cutter) split(l *level) {
	if first := &c.out[l.first]; first.from < l.at {
		rest := cutting{kind: portionLiteral, from: l.at, to: first.to}
		first.to = l.at
		l.first++
		if rest.from < rest.to {
			c.out = append(c.out[:l.first], append([]cutting{rest}, c.out[l.first:]...)...)
		}
	}
}

// The first byte of a node. A later node has the name of the one before, and all have
// the recipe of their elements.
const (
	firstNode byte = iota
	laterNode
)

// chain replaces the nodes of an array by the name of the last one. What is behind the
// last node stays in the recipe. An array of one node is left alone: it would be no
// shorter.
func (c *cutter) chain(l *level) {
	if len(l.groups) < 2 {
		return
	}
	var last name
	from := l.first
	c.node = append(c.node[:0], firstNode)
	for _, to := range l.groups {
		c.node = appendRecipe(c.node, c.raw, c.out[from:to])
		last = c.part(portionChain, c.node)
		c.node, from = append(append(c.node[:0], laterNode), last[:]...), to
	}
	ref := cutting{kind: portionChain, from: l.at, to: c.out[from-1].to, name: last}
	tail := append([]cutting(nil), c.out[from:]...)
	c.out, c.done = c.out[:l.first], l.base
	c.add(ref)
	for _, t := range tail {
		c.add(t)
	}
}

// appendRecipe writes cuttings of raw: for each its kind and length, and its bytes or
// the name of the part that has them.
func appendRecipe(b, raw []byte, cuttings []cutting) []byte {
	for i := 0; i < len(cuttings); i++ {
		c := cuttings[i]
		for c.kind == portionLiteral && i+1 < len(cuttings) && cuttings[i+1].kind == portionLiteral {
			i++
			c.to = cuttings[i].to
		}
		b = binary.AppendUvarint(b, uint64(c.to-c.from)<<2|uint64(c.kind)) //nolint:gosec // to is not before from
		if c.kind == portionLiteral {
			b = append(b, raw[c.from:c.to]...)
		} else {
			b = append(b, c.name[:]...)
		}
	}
	return b
}

// escaped are the characters that some encoders of JSON escape and others do not, by the
// end of their escape \u00...
var escaped = []struct {
	char byte
	code string
}{{'<', "3c"}, {'>', "3e"}, {'&', "26"}}

const escapeStart = `\u00`

// unescape appends a text with <, > and & as they are, so that it is one part however it
// was encoded. It is false where escape would not undo that, or nothing is to do.
func unescape(out, b []byte) ([]byte, bool) {
	if !bytes.Contains(b, []byte(escapeStart)) || bytes.ContainsAny(b, "<>&") {
		return out, false
	}
	was := len(b)
	for {
		i := bytes.Index(b, []byte(escapeStart))
		if i < 0 {
			break
		}
		rest := b[i+len(escapeStart):]
		out = append(out, b[:i]...)
		if char := charOf(rest); char != 0 {
			out, b = append(out, char), rest[2:]
		} else {
			out, b = append(out, escapeStart...), rest
		}
	}
	out = append(out, b...)
	return out, len(out) < was
}

func charOf(code []byte) byte {
	for _, e := range escaped {
		if bytes.HasPrefix(code, []byte(e.code)) {
			return e.char
		}
	}
	return 0
}

// escape undoes unescape.
func escape(b []byte) []byte {
	for _, e := range escaped {
		b = bytes.ReplaceAll(b, []byte{e.char}, []byte(escapeStart+e.code))
	}
	return b
}
