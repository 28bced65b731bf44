package redo

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/host/store"
)

const testSegment = 4096

func rec(r store.Revision, ops ...store.Op) Record { return Record{r, ops} }

func put(key, value string) store.Op { return store.Op{Key: []byte(key), Value: []byte(value)} }

// reopen opens the log in dir and returns it with the records it handed back.
func reopen(t *testing.T, dir string, held store.Revision) (l *Log, got []Record) {
	t.Helper()
	l, got, err := tryOpen(dir, held)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l, got
}

func tryOpen(dir string, held store.Revision) (*Log, []Record, error) {
	var got []Record
	l, err := Open(Options{Dir: dir, SegmentSize: testSegment}, Held{held, held}, func(r Record) error {
		got = append(got, r)
		return nil
	})
	return l, got, err
}

func add(t *testing.T, l *Log, recs ...Record) (rolled bool) {
	t.Helper()
	rolled, err := l.Append(recs)
	if err != nil {
		t.Fatal(err)
	}
	return rolled
}

func segments(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"+segmentExt))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestRoundTrip(t *testing.T) {
	dir := t.TempDir()
	l, _ := reopen(t, dir, 41)
	want := []Record{
		rec(42, put("a", "1"), store.Op{Key: []byte("b")}, put("c", "")),
		rec(43, put("", "empty key")),
		rec(44, store.Op{Key: []byte("big"), Value: bytes.Repeat([]byte("x"), 3*testSegment)}),
		rec(45, put("after", "big")),
	}
	add(t, l, want[:2]...)
	if !add(t, l, want[2]) {
		t.Error("a record that does not fit did not begin a segment")
	}
	add(t, l, want[3])
	if l.Last() != 45 || l.First() != 41 {
		t.Errorf("log from %d to %d, want 41 to 45", l.First(), l.Last())
	}
	l, got := reopen(t, dir, 41)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
	add(t, l, rec(46, put("d", "1")))
	if _, got = reopen(t, dir, 46); len(got) != 5 || got[4].Revision != 46 {
		t.Errorf("after appending to a reopened log: %+v", got)
	}
}

func TestTrimAndReuse(t *testing.T) {
	dir := t.TempDir()
	l, _ := reopen(t, dir, 0)
	const keep = 2 * testSegment
	value := strings.Repeat("v", 1000)
	for r := store.Revision(1); r <= 100; r++ {
		if add(t, l, rec(r, put("k", value))) {
			synced := r - 5
			if err := l.Trim(synced, keep); err != nil {
				t.Fatal(err)
			}
			if l.First() > synced || l.Size() < min(keep, int64(r)*1000) {
				t.Fatalf("at %d the log begins after %d and has %d bytes", r, l.First(), l.Size())
			}
		}
	}
	if l.Size() > keep+2*testSegment {
		t.Errorf("the log keeps %d bytes, asked for %d", l.Size(), keep)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(files); n > keep/testSegment+3+maxSpares {
		t.Errorf("%d files: %v", n, files)
	}
	first := l.First()
	_, got := reopen(t, dir, 100)
	if len(got) != int(100-first) || got[0].Revision != first+1 {
		t.Errorf("%d records after %d", len(got), first)
	}
}

func TestTrimNothingUnsynced(t *testing.T) {
	dir := t.TempDir()
	l, _ := reopen(t, dir, 0)
	for r := store.Revision(1); r <= 50; r++ {
		add(t, l, rec(r, put("k", strings.Repeat("v", 1000))))
	}
	if err := l.Trim(0, 0); err != nil {
		t.Fatal(err)
	}
	if _, got := reopen(t, dir, 0); len(got) != 50 {
		t.Errorf("%d records left of 50 that were not synced", len(got))
	}
}

func TestReset(t *testing.T) {
	dir := t.TempDir()
	l, _ := reopen(t, dir, 0)
	for r := store.Revision(1); r <= 50; r++ {
		add(t, l, rec(r, put("k", strings.Repeat("v", 1000))))
	}
	for range 2 { // the second one has nothing to do
		if err := l.Reset(); err != nil {
			t.Fatal(err)
		}
	}
	l, got := reopen(t, dir, 50)
	if len(got) != 0 || l.Last() != 50 {
		t.Errorf("a reset log has %d records and ends at %d", len(got), l.Last())
	}
	add(t, l, rec(51, put("a", "1")))
	if _, got = reopen(t, dir, 51); len(got) != 1 {
		t.Errorf("%d records after reset and append, want 1", len(got))
	}
}

// TestDamage damages a log of three groups in one segment and opens it.
func TestDamage(t *testing.T) {
	groups := [][]Record{
		{rec(1, put("a", "1")), rec(2, put("b", "22"))},
		{rec(3, put("c", "333"))},
		{rec(4, put("d", "4444")), rec(5, put("e", "55555")), rec(6, put("f", "666666"))},
	}
	var offsets []int64 // of records 1 to 6, and the end
	off := int64(headerSize)
	for _, r := range append(append(groups[0], groups[1]...), groups[2]...) {
		offsets = append(offsets, off)
		off += encodedSize([]Record{r})
	}
	offsets = append(offsets, off)
	at := func(r int) int64 { return offsets[r-1] }
	tests := []struct {
		name string
		from int64 // damaged with zeros
		to   int64
		held store.Revision
		left int // records that are handed back, or -1: refused
		at   int64
	}{
		{"nothing", 0, 0, 3, 6, 0},
		{"last record's value", at(7) - 1, at(7), 3, 5, 0},
		{"last record", at(6), at(7), 3, 5, 0},
		{"last record's mark", at(6), at(6) + 4, 3, 5, 0},
		{"last record's length", at(6) + 8, at(6) + 12, 3, 5, 0},
		{"last group", at(4), at(7), 3, 3, 0},
		{"first page of the last group", at(4), at(5) + 2, 3, 3, 0},
		{"middle of the last group", at(5), at(5) + 30, 3, 4, 0},
		{"last record that the database has", at(7) - 1, at(7), 6, -1, at(6)},
		{"last group that the database has", at(4), at(7), 4, -1, at(4)},
		{"record of a middle group", at(3), at(3) + 1, 3, -1, at(3)},
		{"value of a middle group", at(4) - 2, at(4), 3, -1, at(3)},
		{"second record of the first group", at(2) + 24, at(2) + 28, 3, -1, at(2)},
		{"first record", at(1), at(1) + 4, 3, -1, at(1)},
		{"header", 8, 9, 3, -1, 0},
		{"magic", 0, 1, 3, -1, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			l, _ := reopen(t, dir, 0)
			for _, g := range groups {
				add(t, l, g...)
			}
			file := segments(t, dir)[0]
			damage(t, file, tt.from, tt.to)
			_, got, err := tryOpen(dir, tt.held)
			if tt.left < 0 {
				wantDamage(t, err, file, tt.at)
				return
			}
			if err != nil || len(got) != tt.left {
				t.Fatalf("%d records, %v, want %d", len(got), err, tt.left)
			}
			appendAfterCut(t, dir, tt.left)
		})
	}
}

// appendAfterCut appends to a log whose torn end was cut off and checks that
// nothing of that end comes back.
func appendAfterCut(t *testing.T, dir string, left int) {
	t.Helper()
	for i := range 4 {
		n := store.Revision(left + i)
		l, got := reopen(t, dir, n)
		if l.Last() != n || len(got) != int(n) {
			t.Fatalf("the log ends at %d and has %d records, want %d", l.Last(), len(got), n)
		}
		add(t, l, rec(n+1, put("n", "x")))
	}
}

func damage(t *testing.T, file string, from, to int64) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if _, err := f.WriteAt(make([]byte, to-from), from); err != nil {
		t.Fatal(err)
	}
}

func wantDamage(t *testing.T, err error, file string, at int64) {
	t.Helper()
	d, ok := errors.AsType[*DamageError](err)
	if !ok || d.File != file || d.Offset != at {
		t.Fatalf("error is %v, want damage of %s at %d", err, file, at)
	}
	if !strings.Contains(err.Error(), "restore") || strings.Contains(err.Error(), "\n") {
		t.Errorf("the error does not say in one line what to do: %v", err)
	}
}

// TestDamagedChain damages a log of several segments.
func TestDamagedChain(t *testing.T) {
	tests := []struct {
		name string
		harm func(t *testing.T, files []string)
		held store.Revision
		want string
	}{
		{"missing first", func(t *testing.T, f []string) {
			t.Helper()
			remove(t, f[0])
		}, 0, "set back or removed"},
		{"missing middle", func(t *testing.T, f []string) {
			t.Helper()
			remove(t, f[1])
		}, 20, "segment 2, which should follow, is missing"},
		{"missing last", func(t *testing.T, f []string) {
			t.Helper()
			remove(t, f[len(f)-1])
		}, 20, "the database holds revision 20"},
		{"end of a middle one", func(t *testing.T, f []string) {
			t.Helper()
			damage(t, f[1], headerSize+2*1027, testSegment)
		}, 20, "unreadable, and the next segment follows"},
		{"swapped", func(t *testing.T, f []string) {
			t.Helper()
			for _, m := range [][2]string{{f[1], f[1] + ".x"}, {f[2], f[1]}, {f[1] + ".x", f[2]}} {
				if err := os.Rename(m[0], m[1]); err != nil {
					t.Fatal(err)
				}
			}
		}, 20, "it holds segment 3"},
		{"truncated", func(t *testing.T, f []string) {
			t.Helper()
			if err := os.Truncate(f[1], 10); err != nil {
				t.Fatal(err)
			}
		}, 20, "shorter than its header"},
		{"strange name", func(t *testing.T, f []string) {
			t.Helper()
			if err := os.WriteFile(filepath.Join(filepath.Dir(f[0]), "x.redo"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, 20, "its name"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			l, _ := reopen(t, dir, 0)
			for r := store.Revision(1); r <= 20; r++ {
				add(t, l, rec(r, put("k", strings.Repeat("v", 1000))))
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			tt.harm(t, segments(t, dir))
			if _, _, err := tryOpen(dir, tt.held); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error is %v, want %q", err, tt.want)
			}
		})
	}
}

func remove(t *testing.T, file string) {
	t.Helper()
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
}

// TestFormat pins the bytes of a segment: logs of earlier versions must stay
// readable.
func TestFormat(t *testing.T) {
	h, b := newHeader(3, 7, [4]byte{1, 2, 3, 4})
	b = h.appendGroup(b, []Record{rec(8, put("key", "value"), store.Op{Key: []byte("gone")}), rec(9, put("k", ""))})
	want := "56535052 45444f01 03000000 00000000 07000000 00000000 01020304 df69de64 " +
		"01020304 cfae41fb 10000000 00000000 08000000 00000000 036b6579 0676616c 75650467 6f6e6500 " +
		"01020304 fcfd31b4 03000000 01000000 09000000 00000000 016b01 "
	if got := hexWords(b); got != want {
		t.Errorf("segment is\n%s\nwant\n%s", got, want)
	}
}

func hexWords(b []byte) string {
	var s strings.Builder
	for i := 0; i < len(b); i += 4 {
		fmt.Fprintf(&s, "%x ", b[i:min(i+4, len(b))])
	}
	return s.String()
}

// TestUnknownVersion: a log of a later program is not taken for damage.
func TestUnknownVersion(t *testing.T) {
	dir := t.TempDir()
	reopen(t, dir, 0)
	file := segments(t, dir)[0]
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	b[7]++
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := tryOpen(dir, 0); err == nil || !strings.Contains(err.Error(), "format 2") {
		t.Errorf("error is %v", err)
	}
}

// TestFailedSync: after a failed sync nothing is appended any more.
func TestFailedSync(t *testing.T) {
	dir := t.TempDir()
	errDisk := errors.New("input/output error")
	fail := false
	l, err := Open(Options{Dir: dir, SegmentSize: testSegment, Sync: func(f *os.File) error {
		if fail {
			return errDisk
		}
		return f.Sync()
	}}, Held{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	add(t, l, rec(1, put("a", "1")))
	fail = true
	if _, err := l.Append([]Record{rec(2, put("a", "2"))}); !errors.Is(err, errDisk) {
		t.Errorf("append: %v", err)
	}
	fail = false
	if _, err := l.Append([]Record{rec(2, put("a", "2"))}); !errors.Is(err, errDisk) {
		t.Errorf("append after a failure: %v", err)
	}
	if err := l.Reset(); !errors.Is(err, errDisk) {
		t.Errorf("reset after a failure: %v", err)
	}
	if l.Last() != 1 {
		t.Errorf("last revision is %d, want 1", l.Last())
	}
}

// TestApplyError stops at the record that the caller cannot apply.
func TestApplyError(t *testing.T) {
	dir := t.TempDir()
	l, _ := reopen(t, dir, 0)
	add(t, l, rec(1, put("a", "1")), rec(2, put("b", "1")))
	errMine := errors.New("mine")
	_, err := Open(Options{Dir: dir, SegmentSize: testSegment}, Held{}, func(r Record) error {
		if r.Revision == 2 {
			return errMine
		}
		return nil
	})
	if !errors.Is(err, errMine) || !strings.Contains(err.Error(), "revision 2") {
		t.Errorf("error is %v", err)
	}
	if _, ok := errors.AsType[*DamageError](err); ok {
		t.Error("an error of the caller is called damage")
	}
}
