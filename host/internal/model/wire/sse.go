package wire

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"iter"
)

// Event is one server-sent event. Data is valid until the next one.
type Event struct {
	Name string
	Data []byte
}

// maxEvent bounds one line, and the data of one event, of a stream.
const maxEvent = 4 << 20

var errEventTooLong = errors.New("an event of the stream is longer than 4 MiB")

// Events reads a stream of server-sent events (WHATWG HTML, 9.2.6). Lines end in
// LF, CR or CRLF; comments, ids and retry hints are skipped. Unlike a browser it
// also yields data that no blank line follows at the end of the stream, because
// some servers forget it; a reader must decide by what the data says whether the
// stream was whole. The last pair holds the error that ended it, if not io.EOF.
func Events(r io.Reader) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		s := scanner{r: bufio.NewReaderSize(r, 16<<10), first: true}
		for {
			ev, err := s.next()
			if err != nil && !errors.Is(err, io.EOF) {
				yield(Event{}, err)
				return
			}
			if s.hasData && !yield(ev, nil) {
				return
			}
			if err != nil {
				return
			}
		}
	}
}

// scanner splits a stream into events. It never waits for the byte after a CR: a
// live stream may send that only with its next event.
type scanner struct {
	r       *bufio.Reader
	line    []byte
	data    []byte
	hasData bool
	skipLF  bool
	first   bool
}

// next reads up to the end of an event that has data, or of the stream.
func (s *scanner) next() (Event, error) {
	s.data, s.hasData = s.data[:0], false
	var name string
	for {
		line, err := s.readLine()
		switch {
		case err == nil && len(line) == 0 && s.hasData:
			return Event{name, s.data}, nil
		case err == nil && len(line) == 0:
			name = ""
		default:
			if ferr := s.field(line, &name); ferr != nil {
				return Event{}, ferr
			}
		}
		if err != nil {
			return Event{name, s.data}, err
		}
	}
}

// field takes one "name: value" line.
func (s *scanner) field(line []byte, name *string) error {
	key, value, _ := bytes.Cut(line, []byte(":"))
	value = bytes.TrimPrefix(value, []byte(" "))
	switch string(key) {
	case "event":
		*name = string(value)
	case "data":
		if len(s.data)+len(value) >= maxEvent {
			return errEventTooLong
		}
		if s.hasData {
			s.data = append(s.data, '\n')
		}
		s.data, s.hasData = append(s.data, value...), true
	}
	return nil
}

// readLine reads byte by byte, because LF, CR and CRLF all end a line and a stream
// may pause between any two bytes.
func (s *scanner) readLine() ([]byte, error) {
	s.line = s.line[:0]
	for {
		b, err := s.r.ReadByte()
		if err != nil {
			return s.stripped(), err
		}
		skip := s.skipLF && b == '\n'
		s.skipLF = b == '\r'
		switch {
		case skip:
		case b == '\n' || b == '\r':
			return s.stripped(), nil
		case len(s.line) >= maxEvent:
			return nil, errEventTooLong
		default:
			s.line = append(s.line, b)
		}
	}
}

// stripped returns the line without the byte order mark that may open a stream.
func (s *scanner) stripped() []byte {
	if !s.first {
		return s.line
	}
	s.first = false
	return bytes.TrimPrefix(s.line, []byte("\xef\xbb\xbf"))
}
