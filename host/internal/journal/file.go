package journal

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"
	"unicode/utf8"

	"github.com/klauspost/compress/zstd"

	"github.com/vespiary/vespiary/host"
)

// An exported session is a file of JSON lines, compressed with zstd, between two
// skippable frames (RFC 8878, section 3.1.2), so that `zstd -dc` shows what it holds:
//
//	frame  0x184D2A5E, length 16, "vespiary session"
//	zstd   {"version":1,"session":…,"hash_key":…}
//	       {"seq":…,"kind":…,"body":…,"payload":…}   one line per entry
//	frame  0x184D2A5E, length 40, number of entries (8 bytes, little endian), root
//
// The root is the SHA-256 of all bytes of the file before it: `head -c -32 | sha256sum`.

const (
	fileVersion = 1
	frameMagic  = 0x184D2A5E
	fileMagic   = "vespiary session"
	trailerSize = 8 + 8 + sha256.Size

	// Limits on a file. The line of the longest payload, each byte escaped, fits into maxLine.
	windowSize = 8 << 20                   // of zstd: within it a repeated conversation costs little
	maxLine    = 2*host.MaxPayload + 2<<20 // bytes
	maxEntries = 10_000_000                // of a file
	maxBody    = 1 << 20                   // bytes of an entry's body
	maxWord    = 1 << 10                   // bytes of a path, a kind or an id
	maxEpoch   = 1 << 31                   // leaves room for those to come
	seedSize   = 32
)

// errFile is wrapped by every error about what an exported file holds.
var errFile = errors.New("this is not a whole, unchanged export of a session")

// fileHead is the first line.
type fileHead struct {
	Version int    `json:"version"`
	Session string `json:"session"`
	HashKey []byte `json:"hash_key"`
}

// fileEntry is an entry's line. A payload that is no text, or is longer as one, is in Bytes.
type fileEntry struct {
	Seq     uint64          `json:"seq"`
	Epoch   uint32          `json:"epoch,omitempty"`
	Fence   uint64          `json:"fence"`
	Time    time.Time       `json:"time"`
	Kind    host.EntryKind  `json:"kind"`
	Turn    int             `json:"turn,omitempty"`
	Path    string          `json:"path,omitempty"`
	Body    json.RawMessage `json:"body"`
	Payload *string         `json:"payload,omitempty"`
	Bytes   []byte          `json:"payload_base64,omitempty"`
}

func (f *fileEntry) entry() host.Entry {
	return host.Entry{Seq: f.Seq, Epoch: f.Epoch, Fence: f.Fence, Time: f.Time, Kind: f.Kind, Turn: f.Turn, Path: f.Path, Body: f.Body}
}

// payload is nil for an entry without one.
func (f *fileEntry) payload() []byte {
	if f.Payload != nil {
		return append([]byte{}, *f.Payload...)
	}
	return f.Bytes
}

func frame(content []byte) []byte {
	b := binary.LittleEndian.AppendUint32(nil, frameMagic)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(content))) //nolint:gosec // a few bytes
	return append(b, content...)
}

// fileWriter writes an exported file.
type fileWriter struct {
	w     io.Writer
	sum   hash.Hash
	zip   *zstd.Encoder
	count uint64
}

func newFileWriter(w io.Writer, h fileHead) (*fileWriter, error) {
	f := &fileWriter{sum: sha256.New()}
	f.w = io.MultiWriter(w, f.sum)
	if _, err := f.w.Write(frame([]byte(fileMagic))); err != nil {
		return nil, err
	}
	var err error
	f.zip, err = zstd.NewWriter(f.w, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(windowSize), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return nil, err
	}
	h.Version = fileVersion
	return f, f.line(h)
}

func (f *fileWriter) line(v any) error {
	b, err := plain(v)
	if err != nil {
		return err
	}
	_, err = f.zip.Write(append(b, '\n'))
	return err
}

// add writes an entry. A payload is text where it can be, so that people can read it and
// the compression finds what it has in common with others.
func (f *fileWriter) add(e host.Entry, payload []byte) error {
	f.count++
	out := fileEntry{Seq: e.Seq, Epoch: e.Epoch, Fence: e.Fence, Time: e.Time, Kind: e.Kind, Turn: e.Turn, Path: e.Path, Body: e.Body}
	if payload != nil && utf8.Valid(payload) && escapes(payload) <= len(payload) {
		text := string(payload)
		out.Payload = &text
	} else if payload != nil {
		out.Bytes = payload
	}
	return f.line(out)
}

// escapes is how many bytes a text is longer in JSON, at most.
func escapes(text []byte) int {
	n := bytes.Count(text, []byte{'"'}) + bytes.Count(text, []byte{'\\'})
	n += 3 * (bytes.Count(text, []byte("\u2028")) + bytes.Count(text, []byte("\u2029")))
	for _, b := range text {
		if b < ' ' {
			n += 5
		}
	}
	return n
}

// close writes the trailer.
func (f *fileWriter) close() error {
	if err := f.zip.Close(); err != nil {
		return err
	}
	var trailer [8 + sha256.Size]byte
	binary.LittleEndian.PutUint64(trailer[:], f.count)
	b := frame(trailer[:])
	if _, err := f.w.Write(b[:len(b)-sha256.Size]); err != nil {
		return err
	}
	_, err := f.w.Write(f.sum.Sum(nil))
	return err
}

// trailing reads a file but its trailer, which it keeps, and sums what it reads.
type trailing struct {
	r   *bufio.Reader
	sum hash.Hash
	err error
	end []byte // the trailer, once all before it was read
}

func (t *trailing) Read(p []byte) (int, error) {
	if t.err != nil || len(p) == 0 {
		return 0, t.err
	}
	ahead, err := t.r.Peek(min(len(p), t.r.Size()-trailerSize) + trailerSize)
	n := len(ahead) - trailerSize
	if n <= 0 {
		t.end, t.err = ahead, io.EOF
		if err != nil && !errors.Is(err, io.EOF) {
			t.err = err
		}
		return 0, t.err
	}
	n = copy(p, ahead[:n])
	t.sum.Write(p[:n])
	_, _ = t.r.Discard(n) // it was peeked
	return n, nil
}

// check compares the trailer with what was read.
func (t *trailing) check(count uint64) (link, error) {
	if len(t.end) != trailerSize {
		return link{}, fmt.Errorf("%w: it ends too early", errFile)
	}
	var trailer [8 + sha256.Size]byte
	at := trailerSize - sha256.Size
	binary.LittleEndian.PutUint64(trailer[:], count)
	t.sum.Write(t.end[:at])
	t.sum.Sum(trailer[8:8])
	if !bytes.Equal(frame(trailer[:]), t.end) {
		return link{}, fmt.Errorf("%w: it was altered or cut off, or bytes were added", errFile)
	}
	return link(trailer[8:]), nil
}

// fileReader reads an exported file line by line and checks it. What it returns can be
// relied on only after root.
type fileReader struct {
	in    *trailing
	zip   *zstd.Decoder
	lines *bufio.Reader
	buf   []byte
	count uint64
	last  host.Entry // the newest one
	open  host.Open  // of the newest open entry
}

func newFileReader(r io.Reader) (*fileReader, fileHead, error) {
	f := &fileReader{in: &trailing{r: bufio.NewReaderSize(r, 64<<10), sum: sha256.New()}}
	var h fileHead
	magic := make([]byte, 8+len(fileMagic))
	if _, err := io.ReadFull(f.in, magic); err != nil || !bytes.Equal(magic, frame([]byte(fileMagic))) {
		return nil, h, fmt.Errorf("%w: it does not begin like one", errFile)
	}
	var err error
	f.zip, err = zstd.NewReader(f.in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(windowSize), zstd.WithDecoderLowmem(true))
	if err != nil {
		return nil, h, fmt.Errorf("%w: %w", errFile, err)
	}
	f.lines = bufio.NewReaderSize(f.zip, 64<<10)
	if err := f.head(&h); err != nil {
		f.close()
		return nil, h, err
	}
	return f, h, nil
}

// close ends the decompression; it does not close what is read.
func (f *fileReader) close() { f.zip.Close() }

// head reads the first line.
func (f *fileReader) head(h *fileHead) error {
	b, err := f.line()
	if err != nil {
		return fmt.Errorf("%w: it has no first line", errFile)
	}
	if err := json.Unmarshal(b, h); err != nil {
		return fmt.Errorf("%w: its first line: %w", errFile, err)
	}
	switch {
	case h.Version != fileVersion:
		return fmt.Errorf("%w: it has version %d, this host reads version %d", errFile, h.Version, fileVersion)
	case len(h.HashKey) != keySize, h.Session == "", len(h.Session) > maxWord:
		return fmt.Errorf("%w: its first line lacks a session or a hash key", errFile)
	}
	return nil
}

// line returns the next line, io.EOF after the last one. It is valid until the next call.
func (f *fileReader) line() ([]byte, error) {
	f.buf = f.buf[:0]
	for {
		b, err := f.lines.ReadSlice('\n')
		line := append(f.buf, b...)
		if f.buf = line; len(line) > maxLine {
			return nil, fmt.Errorf("%w: a line is over %d bytes", errFile, maxLine)
		}
		switch {
		case err == nil:
			return line[:len(line)-1], nil
		case errors.Is(err, io.EOF) && len(line) == 0:
			return nil, io.EOF
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, fmt.Errorf("%w: %w", errFile, err)
		}
	}
}

// next returns the next entry, io.EOF after the last one.
func (f *fileReader) next() (*fileEntry, error) {
	b, err := f.line()
	if err != nil {
		return nil, err
	}
	e := &fileEntry{}
	if err := json.Unmarshal(b, e); err != nil {
		return nil, fmt.Errorf("%w: entry after %d: %w", errFile, f.last.Seq, err)
	}
	if err := f.check(e); err != nil {
		return nil, err
	}
	f.count++
	f.last = e.entry()
	return e, nil
}

// check refuses what no export holds. What a file says is bounded here, before anything is
// made of it: the digest at its end tells that it is unchanged, not that it is right.
func (f *fileReader) check(e *fileEntry) error {
	e.Time = e.Time.UTC()
	first := f.count == 0
	for _, c := range []struct {
		bad bool
		why string
	}{
		{f.count == maxEntries, "there are too many entries"},
		{first && (e.Seq != 1 || e.Kind != host.EntryOpen), "it does not begin with entry 1 of kind open"},
		{e.Seq <= f.last.Seq || e.Seq > 1<<62, "it is out of order"},
		{!time.Unix(0, e.Time.UnixNano()).Equal(e.Time), "its time is out of range"},
		{e.Epoch >= maxEpoch || e.Turn < 0 || e.Turn > 1<<31, "its epoch or turn is out of range"},
		{e.Kind == "" || max(len(e.Kind), len(e.Path)) > maxWord, "its kind is missing, or that or its path is too long"},
		{len(e.Body) == 0 || len(e.Body) > maxBody, "its body is missing or too long"},
		{e.Payload != nil && (len(*e.Payload) > host.MaxPayload || e.Bytes != nil), "its payload is too long, or not the only one"},
		{len(e.Bytes) > host.MaxPayload, "its payload is too long"},
		{e.Kind == host.EntryOpen && f.opened(e) != nil, "it does not say what the session is"},
	} {
		if c.bad {
			return fmt.Errorf("%w: entry %d after %d: %s", errFile, e.Seq, f.last.Seq, c.why)
		}
	}
	return nil
}

// opened takes in what an open entry says.
func (f *fileReader) opened(e *fileEntry) error {
	var o host.Open
	if err := json.Unmarshal(e.Body, &o); err != nil {
		return err
	}
	if len(o.Seed) != seedSize {
		return errFile
	}
	f.open = o
	return nil
}

// root returns the digest of the file, which has been read to its end.
func (f *fileReader) root() (link, error) {
	if _, err := f.lines.ReadByte(); !errors.Is(err, io.EOF) {
		return link{}, fmt.Errorf("%w: it was not read to its end: %w", errFile, err)
	}
	return f.in.check(f.count)
}
