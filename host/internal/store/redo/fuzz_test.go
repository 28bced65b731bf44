package redo

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/vespiary/vespiary/host/store"
)

// FuzzWalk reads arbitrary bytes as a segment. Whatever walk hands out must encode
// to the very bytes it was read from, with checksums computed here.
func FuzzWalk(f *testing.F) {
	h, head := newHeader(1, 0, [4]byte{9, 8, 7, 6})
	whole := h.appendGroup(head, []Record{rec(1, put("a", "1"), store.Op{Key: []byte("b")}), rec(2, put("c", ""))})
	whole = h.appendGroup(whole, []Record{rec(3, put("key", "value"))})
	f.Add(whole)
	f.Add(whole[:len(whole)-1])
	f.Add(append(bytes.Clone(whole), make([]byte, 100)...))
	f.Add(head)
	flipped := bytes.Clone(whole)
	flipped[headerSize+recordHeader] ^= 1
	f.Add(flipped)
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := parseHeader(b)
		if err != nil {
			// Give the rest a chance to be read.
			var head []byte
			h, head = newHeader(1, 0, [4]byte{9, 8, 7, 6})
			b = append(head, b...)
		}
		off, next := headerSize, h.base+1
		end, last, _, _ := h.walk(b, func(r Record) error {
			if r.Revision != next {
				t.Errorf("revision %d, want %d", r.Revision, next)
			}
			next++
			off += checkRecord(t, h, b[off:], r)
			return nil
		})
		if end != off || last != next-1 {
			t.Errorf("walk ends at %d with revision %d, want %d and %d", end, last, off, next-1)
		}
	})
}

// checkRecord checks a record against the bytes it was read from, and returns how
// many those are.
func checkRecord(t *testing.T, h header, b []byte, r Record) int {
	t.Helper()
	size := recordHeader + int(binary.LittleEndian.Uint32(b[8:]))
	if got := crc32.Update(h.crc, crc32.MakeTable(crc32.Castagnoli), b[8:size]); got != binary.LittleEndian.Uint32(b[4:]) {
		t.Errorf("a record with a wrong checksum was accepted: %x", b[:size])
	}
	if r.Revision != store.Revision(binary.LittleEndian.Uint64(b[16:])) {
		t.Errorf("revision %d was made up", r.Revision)
	}
	again := h.appendGroup(nil, []Record{r})
	ops, err := decodeOps(again[recordHeader:])
	if diff := cmp.Diff(r.Ops, ops); diff != "" || err != nil {
		t.Errorf("ops do not round-trip: %v\n%s", err, diff)
	}
	return size
}

// FuzzRoundTrip writes a group and reads it back, whole, cut off and with one byte
// changed: it gets the records before the damage and no others.
func FuzzRoundTrip(f *testing.F) {
	f.Add([]byte("key"), []byte("value"), uint64(0), uint16(40), byte(1))
	f.Add([]byte{}, []byte{}, uint64(1<<40), uint16(100), byte(0x80))
	f.Add(bytes.Repeat([]byte{0xff}, 200), []byte{0}, uint64(7), uint16(0), byte(0xff))
	f.Fuzz(func(t *testing.T, key, value []byte, base uint64, at uint16, flip byte) {
		base &= 1<<63 - 1
		want := []Record{
			rec(store.Revision(base+1), put(string(key), string(value)), store.Op{Key: []byte(string(value))}),
			rec(store.Revision(base+2), put(string(value), string(key))),
		}
		h, b := newHeader(1, store.Revision(base), [4]byte{1, 2, 3, 4})
		b = h.appendGroup(b, want)
		if n := headerSize + encodedSize(want); n != int64(len(b)) {
			t.Fatalf("encoded size is %d, counted %d", len(b), n)
		}
		if diff := cmp.Diff(want, read(t, h, b)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		i := headerSize + int(at)%(len(b)-headerSize)
		whole := 0
		if i >= headerSize+int(encodedSize(want[:1])) {
			whole = 1
		}
		if diff := cmp.Diff(want[:whole], read(t, h, b[:i]), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("cut at %d (-want +got):\n%s", i, diff)
		}
		if flip == 0 {
			return
		}
		b[i] ^= flip
		if diff := cmp.Diff(want[:whole], read(t, h, b), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("byte %d changed (-want +got):\n%s", i, diff)
		}
	})
}

func read(t *testing.T, h header, b []byte) (got []Record) {
	t.Helper()
	_, _, _, err := h.walk(b, func(r Record) error {
		got = append(got, r)
		return nil
	})
	if err != nil {
		t.Errorf("walk: %v", err)
	}
	return got
}
