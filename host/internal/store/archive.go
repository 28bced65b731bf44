package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"math"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/vespiary/vespiary/host/store"
)

// A backup is a stream of three parts, little endian throughout:
//
//	header:  magic and version 8 | length of host 1 | host | store's format 4 |
//	         created 8 | revision 8 | CRC32C 4
//	blocks:  length 4 | CRC32C 4 | zstd frame
//	trailer: 0 4 | keys 8 | SHA-256 32
//
// Host is the version of the host that made it; up to there the header stays as it
// is in all versions. Created is in nanoseconds since 1970, or 0. A block's length
// is that of its frame and covered by its checksum. The SHA-256 is that of all
// bytes before it, and nothing follows it. A frame decompresses to items, in the
// order of their keys:
//
//	length of key, uvarint | key | revision, uvarint | length of value, uvarint | value
const (
	backupMagic   = "VSPBACK\x01"
	maxHost       = 255
	blockSize     = 1 << 20 // a block is closed when it has so many bytes
	maxItem       = store.MaxKey + store.MaxValue + 3*binary.MaxVarintLen64
	maxBlock      = blockSize + maxItem
	maxFrame      = maxBlock + maxBlock/64 // what zstd cannot compress gets a little longer
	maxRevision   = 1 << 62                // leaves room to count on
	keysAndDigest = 8 + sha256.Size
)

// ErrBackup says that a backup is damaged, cut off or not a backup at all.
var ErrBackup = errors.New("store: not a whole backup, use another one")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// backupHeader is what a backup says of itself.
type backupHeader struct {
	host     string
	format   uint32
	created  int64
	revision store.Revision
}

func (h backupHeader) append(b []byte) []byte {
	start := len(b)
	b = append(b, backupMagic...)
	b = append(append(b, byte(len(h.host))), h.host...) //nolint:gosec // hostName keeps it within maxHost
	b = binary.LittleEndian.AppendUint32(b, h.format)
	b = binary.LittleEndian.AppendUint64(b, uint64(h.created)) //nolint:gosec // the other way back in readHeader
	b = binary.LittleEndian.AppendUint64(b, uint64(h.revision))
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
}

// tally counts and hashes what passes.
type tally struct {
	sum hash.Hash
	n   int64
}

func (t *tally) Write(b []byte) (int, error) {
	t.n += int64(len(b))
	return t.sum.Write(b) // never fails
}

func (t *tally) backed(h backupHeader, keys int64) store.Backed {
	b := store.Backed{
		Revision: h.revision, Keys: keys, Bytes: t.n,
		Digest: "sha256:" + hex.EncodeToString(t.sum.Sum(nil)),
	}
	if h.created != 0 {
		b.Created = time.Unix(0, h.created).UTC()
	}
	return b
}

// archiver writes a backup. It holds one block.
type archiver struct {
	header backupHeader
	w      io.Writer
	passed *tally
	zstd   *zstd.Encoder
	items  []byte
	frame  []byte
	keys   int64
}

func newArchiver(w io.Writer, h backupHeader) (*archiver, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderCRC(false))
	if err != nil {
		return nil, err
	}
	t := &tally{sum: sha256.New()}
	a := &archiver{header: h, w: io.MultiWriter(w, t), passed: t, zstd: enc}
	_, err = a.w.Write(h.append(nil))
	return a, err
}

func (a *archiver) add(i store.Item) error {
	b := binary.AppendUvarint(a.items, uint64(len(i.Key)))
	b = append(b, i.Key...)
	b = binary.AppendUvarint(b, uint64(i.Revision))
	b = binary.AppendUvarint(b, uint64(len(i.Value)))
	a.items = append(b, i.Value...)
	a.keys++
	if len(a.items) < blockSize {
		return nil
	}
	return a.flush()
}

// flush writes the block.
func (a *archiver) flush() error {
	if len(a.items) == 0 {
		return nil
	}
	b := a.zstd.EncodeAll(a.items, append(a.frame[:0], make([]byte, 8)...))
	binary.LittleEndian.PutUint32(b, uint32(len(b)-8)) //nolint:gosec // at most maxFrame
	binary.LittleEndian.PutUint32(b[4:], blockChecksum(b[:4], b[8:]))
	a.items, a.frame = a.items[:0], b
	_, err := a.w.Write(b)
	return err
}

// close writes what is left and the trailer.
func (a *archiver) close() (store.Backed, error) {
	if err := a.flush(); err != nil {
		return store.Backed{}, err
	}
	b := binary.LittleEndian.AppendUint64(make([]byte, 4), uint64(a.keys)) //nolint:gosec // a count
	if _, err := a.w.Write(b); err != nil {
		return store.Backed{}, err
	}
	if _, err := a.w.Write(a.passed.sum.Sum(nil)); err != nil {
		return store.Backed{}, err
	}
	return a.passed.backed(a.header, a.keys), nil
}

func blockChecksum(length, frame []byte) uint32 {
	return crc32.Update(crc32.Checksum(length, castagnoli), castagnoli, frame)
}

// unarchiver reads a backup.
type unarchiver struct {
	header backupHeader
	r      io.Reader
	passed *tally
	zstd   *zstd.Decoder
	last   []byte // key
	keys   int64
}

// readBackup calls begin with the header and then each with every item, in the
// order of their keys. Only when it returns without an error are the items known to
// be those that were backed up. Errors of the two are returned as they are.
func readBackup(r io.Reader, begin func(backupHeader) error, each func(store.Item) error) (store.Backed, error) {
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxBlock))
	if err != nil {
		return store.Backed{}, err
	}
	defer dec.Close()
	t := &tally{sum: sha256.New()}
	u := &unarchiver{r: io.TeeReader(r, t), passed: t, zstd: dec}
	if err := u.readHeader(); err != nil {
		return store.Backed{}, err
	}
	if err := begin(u.header); err != nil {
		return store.Backed{}, err
	}
	for {
		items, err := u.block()
		if err != nil {
			return store.Backed{}, err
		}
		if items == nil {
			return u.trailer()
		}
		if err := u.items(items, each); err != nil {
			return store.Backed{}, err
		}
	}
}

// read fills b. A reader's failure is not the backup's.
func (u *unarchiver) read(b []byte) error {
	_, err := io.ReadFull(u.r, b)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return u.damaged("it is cut off")
	}
	if err != nil {
		return fmt.Errorf("read backup: %w", err)
	}
	return nil
}

func (u *unarchiver) damaged(format string, a ...any) error {
	return fmt.Errorf("%w: %s; read up to byte %d", ErrBackup, fmt.Sprintf(format, a...), u.passed.n)
}

func (u *unarchiver) readHeader() error {
	var b [len(backupMagic) + 1 + maxHost + 24]byte
	n := len(backupMagic) + 1
	if err := u.read(b[:n]); err != nil {
		return err
	}
	if !bytes.Equal(b[:7], []byte(backupMagic)[:7]) {
		return u.damaged("it is not a backup of a store")
	}
	host := int(b[n-1])
	if err := u.read(b[n : n+host]); err != nil {
		return err
	}
	u.header.host = hostName(string(b[n : n+host]))
	if b[7] != backupMagic[7] {
		return newer("the backup", u.header.host, int(b[7]), int(backupMagic[7]))
	}
	n += host
	if err := u.read(b[n : n+24]); err != nil {
		return err
	}
	u.header.format = binary.LittleEndian.Uint32(b[n:])
	u.header.created = int64(binary.LittleEndian.Uint64(b[n+4:])) //nolint:gosec // the other way in append
	u.header.revision = store.Revision(binary.LittleEndian.Uint64(b[n+12:]))
	if crc32.Checksum(b[:n+20], castagnoli) != binary.LittleEndian.Uint32(b[n+20:]) {
		return u.damaged("the checksum of its header is wrong")
	}
	if f := u.header.format; f == 0 || f > math.MaxInt32 || u.header.revision > maxRevision {
		return u.damaged("its header is not plausible")
	}
	return nil
}

// block returns the items of the next block, or nil after the last one. They are
// the caller's to keep.
func (u *unarchiver) block() ([]byte, error) {
	var head [8]byte
	if err := u.read(head[:4]); err != nil {
		return nil, err
	}
	length := binary.LittleEndian.Uint32(head[:])
	if length == 0 {
		return nil, nil
	}
	if length > maxFrame {
		return nil, u.damaged("a block has an impossible length")
	}
	if err := u.read(head[4:]); err != nil {
		return nil, err
	}
	frame := make([]byte, length)
	if err := u.read(frame); err != nil {
		return nil, err
	}
	if blockChecksum(head[:4], frame) != binary.LittleEndian.Uint32(head[4:]) {
		return nil, u.damaged("the checksum of a block is wrong")
	}
	items, err := u.zstd.DecodeAll(frame, nil)
	if err != nil || len(items) == 0 {
		return nil, u.damaged("a block cannot be decompressed: %v", err)
	}
	return items, nil
}

func (u *unarchiver) items(b []byte, each func(store.Item) error) error {
	for len(b) > 0 {
		i, rest, ok := cutItem(b)
		switch {
		case !ok:
			return u.damaged("an item is not whole")
		case len(i.Key) > store.MaxKey || len(i.Value) > store.MaxValue:
			return u.damaged("an item is too large")
		case u.keys > 0 && bytes.Compare(u.last, i.Key) >= 0:
			return u.damaged("its keys are not in order")
		case i.Revision == 0 || i.Revision > u.header.revision:
			return u.damaged("an item has revision %d and the backup %d", i.Revision, u.header.revision)
		}
		if err := each(i); err != nil {
			return err
		}
		u.last, b = i.Key, rest
		u.keys++
	}
	return nil
}

// cutItem takes the first item off a block, without copying it.
func cutItem(b []byte) (i store.Item, rest []byte, ok bool) {
	if i.Key, b, ok = cutBytes(b); !ok {
		return i, nil, false
	}
	r, w := binary.Uvarint(b)
	if w <= 0 {
		return i, nil, false
	}
	i.Revision = store.Revision(r)
	i.Value, rest, ok = cutBytes(b[w:])
	return i, rest, ok
}

// cutBytes takes a length and as many bytes off b. They are not nil.
func cutBytes(b []byte) (head, rest []byte, ok bool) {
	n, w := binary.Uvarint(b)
	if w <= 0 || n > uint64(len(b)-w) { //nolint:gosec // w is at most len(b)
		return nil, nil, false
	}
	end := w + int(n) //nolint:gosec // within b
	return b[w:end:end], b[end:], true
}

// trailer checks the end of a backup, after the 0 that begins it.
func (u *unarchiver) trailer() (store.Backed, error) {
	var b [keysAndDigest]byte
	if err := u.read(b[:8]); err != nil {
		return store.Backed{}, err
	}
	want := u.passed.sum.Sum(nil)
	if err := u.read(b[8:]); err != nil {
		return store.Backed{}, err
	}
	if !bytes.Equal(want, b[8:]) {
		return store.Backed{}, u.damaged("it was altered: its SHA-256 is another")
	}
	if keys := binary.LittleEndian.Uint64(b[:]); keys != uint64(u.keys) { //nolint:gosec // a count
		return store.Backed{}, u.damaged("it has %d items where %d should be", u.keys, keys)
	}
	backed := u.passed.backed(u.header, u.keys)
	if n, err := io.ReadFull(u.r, b[:1]); n > 0 || !errors.Is(err, io.EOF) {
		if n == 0 {
			return store.Backed{}, fmt.Errorf("read backup: %w", err)
		}
		return store.Backed{}, u.damaged("something follows its end")
	}
	return backed, nil
}
