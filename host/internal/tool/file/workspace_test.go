package file

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	words "github.com/vespiary/vespiary/host/store"
)

func TestWorkspace(t *testing.T) {
	b := newBench(t, Options{})
	info := b.mustWrite(abi.FileWrite{Path: "./notes//a.md", Text: "one"})
	if diff := cmp.Diff(abi.FileInfo{Path: "notes/a.md", Size: 3, Version: 1, Modified: noon}, info); diff != "" {
		t.Errorf("first write (-want +got):\n%s", diff)
	}
	if info := b.mustWrite(abi.FileWrite{Path: "notes/a.md", Text: " two", Append: true}); info.Size != 7 || info.Version != 2 {
		t.Errorf("after an append: %+v", info)
	}
	if got := b.text("notes/a.md"); got != "one two" {
		t.Errorf("got %q", got)
	}
	if info := b.mustWrite(abi.FileWrite{Path: "notes/a.md", Data: []byte("3")}); info.Size != 1 || info.Version != 3 {
		t.Errorf("after a replacement: %+v", info)
	}
	b.mustWrite(abi.FileWrite{Path: "log.txt", Text: "x", Append: true})
	b.mustWrite(abi.FileWrite{Path: "empty"})
	if got := b.text("notes/a.md") + b.text("log.txt") + b.text("empty"); got != "3x" {
		t.Errorf("got %q", got)
	}
	b.mustWrite(abi.FileWrite{Path: "log.txt", Remove: true})
	if _, err := b.read(abi.FileRead{Path: "log.txt"}); code(t, err) != abi.CodeNotFound {
		t.Errorf("a removed file: %v", err)
	}
	if info := b.mustWrite(abi.FileWrite{Path: "log.txt", Text: "y", Append: true}); info.Version != 1 || info.Size != 1 {
		t.Errorf("a file made anew: %+v", info)
	}
	if got := b.text("log.txt"); got != "y" {
		t.Errorf("got %q", got)
	}
}

func TestWriteRefused(t *testing.T) {
	b := newBench(t, Options{})
	b.folders = map[string]string{"docs": t.TempDir()}
	b.turn(1)
	b.mustWrite(abi.FileWrite{Path: "a/b", Text: "x"})
	for _, test := range []struct {
		in   abi.FileWrite
		want abi.Code
	}{
		{abi.FileWrite{Path: "x", Text: "a", Data: []byte("b")}, abi.CodeInvalid},
		{abi.FileWrite{Path: "x", Text: "a", Remove: true}, abi.CodeInvalid},
		{abi.FileWrite{Path: "x", Append: true, Remove: true}, abi.CodeInvalid},
		{abi.FileWrite{Path: "", Text: "a"}, abi.CodeInvalid},
		{abi.FileWrite{Path: "a", Text: "a"}, abi.CodeInvalid},
		{abi.FileWrite{Path: "a/b/c", Text: "a"}, abi.CodeInvalid},
		{abi.FileWrite{Path: "a/b/c/d", Text: "a"}, abi.CodeInvalid},
		{abi.FileWrite{Path: "docs/x", Text: "a"}, abi.CodeInvalid},
		{abi.FileWrite{Path: "docs", Text: "a"}, abi.CodeInvalid},
		{abi.FileWrite{Path: "../x", Text: "a"}, abi.CodeDenied},
		{abi.FileWrite{Path: "/x", Text: "a"}, abi.CodeDenied},
		{abi.FileWrite{Path: "missing", Remove: true}, abi.CodeNotFound},
		{abi.FileWrite{Path: "a", Remove: true}, abi.CodeInvalid},
		{abi.FileWrite{Path: "x", Text: strings.Repeat("a", maxWrite+1)}, abi.CodeInvalid},
		{abi.FileWrite{Path: "x", Text: strings.Repeat("\x01", maxWrite/2)}, abi.CodeInvalid},
	} {
		if _, err := b.write(test.in); err == nil || code(t, err) != test.want {
			t.Errorf("%.80q: got %v, want %s", test.in.Path, err, test.want)
		}
	}
	if diff := cmp.Diff([]string{"a/", "a/b", "docs/"}, b.paths(abi.FileList{Recursive: true})); diff != "" {
		t.Errorf("what was refused left something (-want +got):\n%s", diff)
	}
}

// Calls that run beside one another commit in any order; the file is the one that the
// order of their stamps makes.
func TestParallelAppendsAreAllKept(t *testing.T) {
	for round := range 5 {
		b := newBench(t, Options{})
		b.mustWrite(abi.FileWrite{Path: "log", Text: "begin;"})
		const n = 24
		var writes []abi.FileWrite
		for i := range n {
			writes = append(writes, abi.FileWrite{Path: "log", Text: fmt.Sprintf("%02d;", i), Append: true})
		}
		b.parallel(writes, rand.New(rand.NewPCG(1, uint64(round))).Perm(n))
		got, err := b.read(abi.FileRead{Path: "log"})
		if err != nil {
			t.Fatal(err)
		}
		pieces := strings.Split(strings.TrimSuffix(got.Text, ";"), ";")
		if got.Version != n+1 || pieces[0] != "begin" || len(pieces) != n+1 {
			t.Fatalf("version %d, content %q", got.Version, got.Text)
		}
		slices.Sort(pieces)
		if len(slices.Compact(pieces)) != n+1 {
			t.Errorf("a piece was lost or doubled: %q", got.Text)
		}
	}
}

func TestOrderOfCommitsDoesNotMatter(t *testing.T) {
	b := newBench(t, Options{})
	for _, test := range []struct {
		name   string
		writes []abi.FileWrite
		want   string // "-" for no file
	}{
		{"replace, append", []abi.FileWrite{{Text: "a"}, {Text: "b", Append: true}}, "ab"},
		{"append, replace", []abi.FileWrite{{Text: "a", Append: true}, {Text: "b"}}, "b"},
		{"replace, replace", []abi.FileWrite{{Text: "a"}, {Text: "b"}}, "b"},
		{"append, append, append", []abi.FileWrite{{Text: "a", Append: true}, {Text: "b", Append: true}, {Text: "c", Append: true}}, "0abc"},
		{"replace, remove", []abi.FileWrite{{Text: "a"}, {Remove: true}}, "-"},
		{"remove, append", []abi.FileWrite{{Remove: true}, {Text: "a", Append: true}}, "a"},
		{"append, remove, append", []abi.FileWrite{{Text: "a", Append: true}, {Remove: true}, {Text: "b", Append: true}}, "b"},
	} {
		for _, order := range [][]int{{0, 1, 2}, {2, 1, 0}, {1, 0, 2}, {0, 2, 1}} {
			path := fmt.Sprint(test.name, order)
			b.mustWrite(abi.FileWrite{Path: path, Text: "0"})
			b.turn(b.root.Turn + 1)
			var outs []host.Output
			for _, w := range test.writes {
				w.Path = path
				out, err := b.perform(abi.CallFileWrite, w)
				if err != nil {
					t.Fatal(err)
				}
				outs = append(outs, out)
			}
			for _, i := range order {
				if i < len(outs) {
					b.record(outs[i])
					b.commit()
				}
			}
			if got := b.contentOr(path, "-"); got != test.want {
				t.Errorf("%s, committed in the order %v: got %q, want %q", test.name, order, got, test.want)
			}
		}
	}
}

// contentOr is a file's text, or none when there is no file.
func (b *bench) contentOr(path, none string) string {
	b.t.Helper()
	got, err := b.read(abi.FileRead{Path: path})
	if err != nil {
		return none
	}
	return got.Text
}

// A write that a crash kept from committing runs again, and happens once.
func TestWriteAfterACrash(t *testing.T) {
	b := newBench(t, Options{})
	b.mustWrite(abi.FileWrite{Path: "log", Text: "a", Append: true})
	b.commit()
	lost := abi.FileWrite{Path: "log", Text: "b", Append: true}
	if _, err := b.perform(abi.CallFileWrite, lost); err != nil {
		t.Fatal(err)
	}
	b.mustWrite(abi.FileWrite{Path: "log", Text: "c", Append: true}) // recorded, but not committed either
	b.crash()
	if info := b.mustWrite(lost); info.Size != 2 || info.Version != 2 {
		t.Errorf("the write that ran again reports %+v", info)
	}
	if got := b.text("log"); got != "ab" {
		t.Errorf("got %q", got)
	}
}

func TestPiecesOfEarlierTurnsAreMerged(t *testing.T) {
	b := newBench(t, Options{})
	want := "start"
	b.mustWrite(abi.FileWrite{Path: "log", Text: want})
	for turn := 1; turn <= 4; turn++ {
		b.turn(turn)
		for i := range mergeFrom + 1 {
			piece := fmt.Sprintf("%d.%d ", turn, i)
			want += piece
			b.mustWrite(abi.FileWrite{Path: "log", Text: piece, Append: true})
		}
	}
	b.turn(5)
	b.mustWrite(abi.FileWrite{Path: "log", Text: "end", Append: true})
	got, err := b.read(abi.FileRead{Path: "log"})
	if err != nil || got.Text != want+"end" {
		t.Errorf("got %q, %v", got.Text, err)
	}
	if writes := int64(4*(mergeFrom+1) + 2); got.Version != writes {
		t.Errorf("version %d after %d writes", got.Version, writes)
	}
	if n := b.records(); n > mergeFrom {
		t.Errorf("%d records are left of a file whose turns are over", n)
	}
	b.mustWrite(abi.FileWrite{Path: "log", Text: "new"})
	b.commit()
	if n := b.records(); n != 1 {
		t.Errorf("%d records are left of a file that was replaced", n)
	}
}

// records counts the session's keys.
func (b *bench) records() (n int) {
	b.t.Helper()
	err := b.store.View(context.Background(), func(tx words.Tx) error {
		for _, err := range tx.Scan(words.Query{Prefix: Prefixes("home", "S1")[0], KeysOnly: true}) {
			if err != nil {
				return err
			}
			n++
		}
		return nil
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return n
}

func TestQuota(t *testing.T) {
	b := newBench(t, Options{MaxBytes: 100, MaxFiles: 3, MaxFile: 60})
	b.mustWrite(abi.FileWrite{Path: "a", Text: strings.Repeat("a", 60)})
	if _, err := b.write(abi.FileWrite{Path: "a", Text: "a", Append: true}); code(t, err) != abi.CodeInvalid {
		t.Errorf("a file over its limit: %v", err)
	}
	b.mustWrite(abi.FileWrite{Path: "b", Text: strings.Repeat("b", 40)})
	for range 2 { // from memory, then from the store
		if _, err := b.write(abi.FileWrite{Path: "b", Text: "b", Append: true}); code(t, err) != abi.CodeBudgetExceeded {
			t.Errorf("a workspace over its limit: %v", err)
		}
		b.crash()
		b.turn(2)
	}
	b.mustWrite(abi.FileWrite{Path: "a", Remove: true})
	b.mustWrite(abi.FileWrite{Path: "c", Text: "c"})
	b.mustWrite(abi.FileWrite{Path: "d", Text: "d"})
	if _, err := b.write(abi.FileWrite{Path: "e"}); code(t, err) != abi.CodeBudgetExceeded {
		t.Errorf("a file too many: %v", err)
	}
	b.mustWrite(abi.FileWrite{Path: "c", Text: "more"})
}

// Writes that run beside one another cannot pass the limit together.
func TestQuotaHoldsInParallel(t *testing.T) {
	b := newBench(t, Options{MaxBytes: 50})
	var kept int
	for i := range 20 { // performed, none recorded
		if _, err := b.perform(abi.CallFileWrite, abi.FileWrite{Path: fmt.Sprint(i), Text: strings.Repeat("x", 10)}); err == nil {
			kept++
		}
	}
	if kept != 5 {
		t.Errorf("%d writes of 10 bytes were let through, want 5", kept)
	}
}

func TestReadInParts(t *testing.T) {
	b := newBench(t, Options{})
	text := "aé€😀z" + strings.Repeat("ü", 5)
	for _, piece := range []string{text[:3], text[3:8], text[8:]} { // pieces split letters
		b.mustWrite(abi.FileWrite{Path: "t", Data: []byte(piece), Append: true})
	}
	for limit := int64(1); limit <= 8; limit++ {
		var got string
		for offset := int64(0); ; offset = int64(len(got)) {
			part, err := b.read(abi.FileRead{Path: "t", Offset: offset, Limit: limit})
			if err != nil || part.Data != nil {
				t.Fatalf("limit %d, offset %d: %+v, %v", limit, offset, part, err)
			}
			if got += part.Text; part.EOF {
				break
			}
			if part.Text == "" {
				t.Fatalf("limit %d, offset %d: no progress", limit, offset)
			}
		}
		if got != text {
			t.Errorf("limit %d: got %q", limit, got)
		}
	}
	part, err := b.read(abi.FileRead{Path: "t", Offset: 1000})
	if err != nil || !part.EOF || part.Text != "" {
		t.Errorf("beyond the end: %+v, %v", part, err)
	}
	binary := bytes.Repeat([]byte{0xff, 0x00}, 600<<10)
	b.mustWrite(abi.FileWrite{Path: "b", Data: binary})
	part, err = b.read(abi.FileRead{Path: "b", Limit: 1 << 40})
	if err != nil || part.EOF || !bytes.Equal(part.Data, binary[:maxRead]) || part.Size != int64(len(binary)) {
		t.Errorf("bytes: %d of %d, end %v, %v", len(part.Data), part.Size, part.EOF, err)
	}
	for _, in := range []abi.FileRead{{Path: "t", Offset: -1}, {Path: "t", Limit: -1}} {
		if _, err := b.read(in); code(t, err) != abi.CodeInvalid {
			t.Errorf("%+v: %v", in, err)
		}
	}
}

func TestListWorkspace(t *testing.T) {
	b := newBench(t, Options{})
	b.folders = map[string]string{"docs": t.TempDir()}
	b.turn(1)
	if got := b.paths(abi.FileList{}); !slices.Equal(got, []string{"docs/"}) {
		t.Errorf("an empty workspace: %q", got)
	}
	for _, p := range []string{"b", "a/x", "a/y/z", "a.txt", "c/.hidden/f"} {
		b.mustWrite(abi.FileWrite{Path: p, Text: "x"})
	}
	for _, test := range []struct {
		in   abi.FileList
		want []string
	}{
		{abi.FileList{}, []string{"a/", "a.txt", "b", "c/", "docs/"}},
		{abi.FileList{Path: "a"}, []string{"a/x", "a/y/"}},
		{abi.FileList{Path: "a/", Recursive: true}, []string{"a/x", "a/y/", "a/y/z"}},
		{abi.FileList{Recursive: true}, []string{"a/", "a.txt", "a/x", "a/y/", "a/y/z", "b", "c/", "c/.hidden/", "c/.hidden/f", "docs/"}},
	} {
		if diff := cmp.Diff(test.want, b.paths(test.in)); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", test.in, diff)
		}
	}
	for path, want := range map[string]abi.Code{"b": abi.CodeInvalid, "nothing": abi.CodeNotFound, "..": abi.CodeDenied} {
		if _, err := do[abi.FileListing](b, abi.CallFileList, abi.FileList{Path: path}); code(t, err) != want {
			t.Errorf("%s: got %v, want %s", path, err, want)
		}
	}
	for path, want := range map[string]abi.Code{"a": abi.CodeInvalid, "": abi.CodeInvalid, "nothing": abi.CodeNotFound, "..": abi.CodeDenied} {
		if _, err := b.read(abi.FileRead{Path: path}); code(t, err) != want {
			t.Errorf("read %q: got %v, want %s", path, err, want)
		}
	}
}

func TestLongListingIsTruncated(t *testing.T) {
	b := newBench(t, Options{})
	var outs []host.Output
	for i := range maxListed + 1 {
		out, err := b.perform(abi.CallFileWrite, abi.FileWrite{Path: fmt.Sprintf("f/%05d", i)})
		if err != nil {
			t.Fatal(err)
		}
		outs = append(outs, out)
	}
	for _, out := range outs {
		b.record(out)
	}
	got := b.paths(abi.FileList{Path: "f"})
	if len(got) != maxListed+1 || got[0] != "f/00000" || got[maxListed] != "…" {
		t.Errorf("%d entries, from %s to %s", len(got), got[0], got[len(got)-1])
	}
}

// Nothing that a file holds lies in the store to be read.
func TestContentIsEncrypted(t *testing.T) {
	b := newBench(t, Options{})
	b.mustWrite(abi.FileWrite{Path: "secret", Text: "the treasure lies under the oak"})
	b.commit()
	err := b.store.View(t.Context(), func(tx words.Tx) error {
		for item, err := range tx.Scan(words.Query{}) {
			if err != nil {
				return err
			}
			if bytes.Contains(item.Value, []byte("treasure")) {
				t.Errorf("key %q holds the text", item.Key)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestSessionsAreApart(t *testing.T) {
	b := newBench(t, Options{})
	b.mustWrite(abi.FileWrite{Path: "a", Text: "mine"})
	b.commit()
	other := *b.root
	other.Session = "S10"
	b.root = &other
	if got := b.contentOr("a", "-"); got != "-" {
		t.Errorf("another session reads %q", got)
	}
	if got := b.paths(abi.FileList{Recursive: true}); len(got) != 0 {
		t.Errorf("another session lists %q", got)
	}
}

func TestWriterHonoursItsContext(t *testing.T) {
	b := newBench(t, Options{})
	w := b.files.writer("home/S1")
	w.turn <- struct{}{} // a write under way
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(host.ErrCancelled)
	c := &host.Call{Run: b.root, Name: abi.CallFileWrite, Request: []byte(`{"path":"a","text":"x"}`), Settle: b.log.Commit}
	k := b.files.Capabilities()[abi.CallFileWrite]
	var err error
	if c.Class, err = k.Classify(ctx, c); err != nil {
		t.Fatal(err)
	}
	for range 2 { // waiting for the other write, and after it
		if _, err := k.Perform(ctx, c); err != host.ErrCancelled { //nolint:errorlint // the cause itself
			t.Errorf("got %v", err)
		}
		if len(w.turn) > 0 {
			<-w.turn
		}
	}
}

func TestMemoryOfWritersIsBounded(t *testing.T) {
	f := New(Options{})
	busy := f.writer("busy")
	busy.turn <- struct{}{}
	for i := range 2 * maxWriters {
		f.writer(fmt.Sprint(i))
	}
	if len(f.sessions) > maxWriters || f.writer("busy") != busy {
		t.Errorf("%d sessions are remembered, the one that writes: %v", len(f.sessions), f.sessions["busy"] == busy)
	}
}

// Pieces of the turn that is under way are not merged: a write performed among them
// may still commit, and must find its place.
func TestPiecesOfThisTurnStayApart(t *testing.T) {
	b := newBench(t, Options{})
	b.turn(2)
	add := func(n int) (all string) {
		for i := range n {
			b.mustWrite(abi.FileWrite{Path: "log", Text: fmt.Sprint(i, " "), Append: true})
			all += fmt.Sprint(i, " ")
		}
		return all
	}
	add(mergeFrom)
	late, err := b.perform(abi.CallFileWrite, abi.FileWrite{Path: "log", Text: "anew "})
	if err != nil {
		t.Fatal(err)
	}
	want := "anew " + add(mergeFrom)
	b.record(late)
	if got := b.text("log"); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestLimitOfOneFileHoldsInParallel(t *testing.T) {
	b := newBench(t, Options{MaxFile: 25})
	var sizes []int64
	for range 4 { // performed, none recorded
		out, err := b.perform(abi.CallFileWrite, abi.FileWrite{Path: "f", Text: strings.Repeat("x", 10), Append: true})
		if err != nil {
			continue
		}
		var info abi.FileInfo
		if err := json.Unmarshal(out.OK, &info); err != nil {
			t.Fatal(err)
		}
		sizes = append(sizes, info.Size)
	}
	if !slices.Equal(sizes, []int64{10, 20}) {
		t.Errorf("the writes that were let through report the sizes %v", sizes)
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{100, 100 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			w := newBench(b, Options{MaxBytes: 1 << 40, MaxFile: 1 << 40})
			text := strings.Repeat("x", size)
			b.SetBytes(int64(size))
			for i := 0; b.Loop(); i++ {
				if i%mergeFrom == 0 {
					w.turn(i / mergeFrom)
				}
				w.mustWrite(abi.FileWrite{Path: fmt.Sprint("log", i/10_000), Text: text, Append: true})
			}
		})
	}
}
