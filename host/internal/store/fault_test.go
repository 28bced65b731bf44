package store

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/table"

	"github.com/vespiary/vespiary/host/internal/store/redo"
	"github.com/vespiary/vespiary/host/store"
)

func put(key string, value []byte) store.Batch {
	return store.Batch{Ops: []store.Op{{Key: []byte(key), Value: value}}}
}

func commit(t *testing.T, s *Local, b store.Batch) store.Revision {
	t.Helper()
	r, err := s.Commit(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func closeStore(t *testing.T, s *Local) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, s *Local, key string) (i store.Item, err error) {
	t.Helper()
	err = s.View(t.Context(), func(tx store.Tx) error {
		i, err = tx.Get([]byte(key))
		return err
	})
	return i, err
}

// noise is bytes that do not compress and differ by seed.
func noise(n int, seed uint64) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)}).Read(b)
	return b
}

// TestSyncFails: the batch in flight gets the cause, later ones ErrClosed and the
// cause, views go on, and nothing that was acknowledged is lost.
func TestSyncFails(t *testing.T) {
	errDisk := errors.New("input/output error")
	var fail atomic.Bool
	o := Options{Dir: t.TempDir(), Edge: true, syncFile: func(f *os.File) error {
		if fail.Load() {
			return errDisk
		}
		return f.Sync()
	}}
	s := open(t, o)
	commit(t, s, put("a", []byte("1")))
	watch := s.Watch(t.Context(), nil)
	fail.Store(true)
	if _, err := s.Commit(t.Context(), put("b", []byte("1"))); !errors.Is(err, errDisk) || errors.Is(err, store.ErrClosed) {
		t.Errorf("commit whose sync fails: %v", err)
	}
	fail.Store(false)
	if _, err := s.Commit(t.Context(), put("c", []byte("1"))); !errors.Is(err, errDisk) || !errors.Is(err, store.ErrClosed) {
		t.Errorf("commit after a failure: %v", err)
	}
	for _, err := range watch {
		if !errors.Is(err, store.ErrClosed) || !errors.Is(err, errDisk) {
			t.Errorf("watch: %v", err)
		}
	}
	if _, err := get(t, s, "a"); err != nil {
		t.Errorf("view after a failure: %v", err)
	}
	if _, err := get(t, s, "b"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("view of what failed: %v", err)
	}
	closeStore(t, s)
	s = open(t, o)
	defer closeStore(t, s)
	if _, err := get(t, s, "a"); err != nil {
		t.Errorf("acknowledged key after reopening: %v", err)
	}
	if _, err := get(t, s, "c"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("refused key after reopening: %v", err)
	}
	commit(t, s, put("d", []byte("1")))
}

func TestLocked(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+dir, childJob+"=hold")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	_, err = Open(t.Context(), Options{Dir: dir})
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), fmt.Sprint(cmd.Process.Pid)) {
		t.Errorf("open of a folder in use: %v", err)
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	s := open(t, Options{Dir: dir})
	if _, err := Open(t.Context(), Options{Dir: dir}); !errors.Is(err, ErrLocked) {
		t.Errorf("second open in one process: %v", err)
	}
	closeStore(t, s)
}

const crashSize = 40 << 10

// crashedStore is a store as a crash leaves it: with a redo log to apply and tables.
func crashedStore(t *testing.T) (dir string) {
	t.Helper()
	from := t.TempDir()
	s := open(t, Options{Dir: from, Edge: true, MinFree: 1})
	for round := range 2 {
		for i := range 12 {
			commit(t, s, put(fmt.Sprintf("key/%d/%02d", round, i), noise(crashSize, uint64(i))))
		}
		if round == 0 { // tables that are not in the redo log
			closeStore(t, s)
			s = open(t, Options{Dir: from, Edge: true, MinFree: 1})
		}
	}
	dir = t.TempDir()
	copyTorn(t, filepath.Join(from, "db"), filepath.Join(dir, "db"))
	copyTorn(t, filepath.Join(from, "redo"), filepath.Join(dir, "redo"))
	closeStore(t, s)
	return dir
}

// TestDamagedDatabase damages each kind of file in several places. Opening either
// fails with a message, or finds everything; it never ends the process.
func TestDamagedDatabase(t *testing.T) {
	dir := crashedStore(t)
	minor := map[string]bool{".vlog": true, "DISCARD": true, "KEYREGISTRY": true, "LOCK": true}
	var files []string
	for _, sub := range []string{"db", "redo"} {
		found, err := filepath.Glob(filepath.Join(dir, sub, "*"))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	seen := map[string]int{}
	for _, file := range files {
		kind := filepath.Ext(file)
		if kind == "" {
			kind = filepath.Base(file)
		}
		if seen[kind]++; seen[kind] > 1 && kind != ".redo" {
			continue
		}
		for name, change := range damages {
			if minor[kind] && name != "empty" && name != "1st byte" {
				continue
			}
			t.Run(filepath.Base(file)+"/"+name, func(t *testing.T) {
				t.Parallel()
				copied := copyStore(t, dir)
				rel, err := filepath.Rel(dir, file)
				if err != nil {
					t.Fatal(err)
				}
				if !change(t, filepath.Join(copied, rel)) {
					t.Skip("nothing to damage")
				}
				opened(t, copied, needed(t, dir, file))
			})
		}
	}
	if len(seen) < 5 {
		t.Errorf("only these kinds of files: %v", seen)
	}
}

// needed tells whether any damage of a file must be noticed. Others may have parts
// that do not matter: segments used before, and logs whose content is elsewhere.
func needed(t *testing.T, dir, file string) bool {
	t.Helper()
	if filepath.Ext(file) == ".sst" { // unless it awaits removal
		id, _ := table.ParseFileID(file)
		_, ok := tables(t, filepath.Join(dir, "db"))[id]
		return ok
	}
	return filepath.Base(file) == badger.ManifestFilename
}

// damages change a file and report whether they could.
var damages = map[string]func(*testing.T, string) bool{
	"removed": func(t *testing.T, path string) bool {
		t.Helper()
		return check(t, os.Remove(path))
	},
	"empty": func(t *testing.T, path string) bool {
		t.Helper()
		return check(t, os.Truncate(path, 0))
	},
	"short": func(t *testing.T, path string) bool {
		t.Helper()
		return check(t, os.Truncate(path, 3))
	},
	"halved": func(t *testing.T, path string) bool {
		t.Helper()
		info, err := os.Stat(path)
		return check(t, err) && check(t, os.Truncate(path, info.Size()/2))
	},
	"1st byte":    flip(func(int) int { return 0 }),
	"10th byte":   flip(func(int) int { return 10 }),
	"middle":      flip(func(n int) int { return n / 2 }),
	"near end":    flip(func(n int) int { return n - 40 }),
	"5th to last": flip(func(n int) int { return n - 5 }),
	"last byte":   flip(func(n int) int { return n - 1 }),
}

func check(t *testing.T, err error) bool {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return true
}

// flip inverts a byte at a place in what is not zero at the end of a file.
func flip(at func(size int) int) func(*testing.T, string) bool {
	return func(t *testing.T, path string) bool {
		t.Helper()
		b, err := os.ReadFile(path)
		check(t, err)
		i := at(len(bytes.TrimRight(b, "\x00")))
		if i < 0 || i >= len(b) {
			return false
		}
		b[i] ^= 0xff
		return check(t, os.WriteFile(path, b, 0o600))
	}
}

func copyStore(t *testing.T, dir string) string {
	t.Helper()
	to := t.TempDir()
	for _, sub := range []string{"db", "redo"} {
		copyTorn(t, filepath.Join(dir, sub), filepath.Join(to, sub))
	}
	return to
}

// opened opens a damaged store and checks the error or the content.
func opened(t *testing.T, dir string, mustFail bool) {
	t.Helper()
	s, err := Open(t.Context(), Options{Dir: dir, Edge: true, MinFree: 1})
	if err != nil {
		if !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "restore") {
			t.Errorf("the error does not say where and what to do: %v", err)
		}
		if n := strings.Count(err.Error(), "\n"); n > 0 {
			t.Errorf("the error has %d lines: %v", n+1, err)
		}
		t.Log(err)
		return
	}
	defer closeStore(t, s)
	if mustFail {
		t.Error("the damage was not noticed")
	}
	for round := range 2 {
		for i := range 12 {
			key := fmt.Sprintf("key/%d/%02d", round, i)
			if it, err := get(t, s, key); err != nil || !bytes.Equal(it.Value, noise(crashSize, uint64(i))) {
				t.Errorf("%s after opening without an error: %d bytes, %v", key, len(it.Value), err)
			}
		}
	}
}

// TestDatabaseRemoved: a redo log without its database is not a small store.
func TestDatabaseRemoved(t *testing.T) {
	dir := t.TempDir()
	o := Options{Dir: dir, Edge: true, MinFree: 1}
	s := open(t, o)
	commit(t, s, put("a", []byte("1")))
	closeStore(t, s)
	check(t, os.RemoveAll(filepath.Join(dir, "db")))
	if _, err := Open(t.Context(), o); err == nil || !strings.Contains(err.Error(), "one of them was set back or removed") {
		t.Errorf("open without the database: %v", err)
	}
}

// TestRedoRemoved: without a redo log the store goes on with what Badger has, as
// the message of a DamageError says.
func TestRedoRemoved(t *testing.T) {
	dir := crashedStore(t)
	check(t, os.RemoveAll(filepath.Join(dir, "redo")))
	s := open(t, Options{Dir: dir, Edge: true, MinFree: 1})
	if _, err := get(t, s, "key/0/03"); err != nil {
		t.Error(err)
	}
	r := commit(t, s, put("a", []byte("1")))
	closeStore(t, s)
	s = open(t, Options{Dir: dir, Edge: true, MinFree: 1})
	defer closeStore(t, s)
	if i, err := get(t, s, "a"); err != nil || i.Revision != r {
		t.Errorf("revision %d, %v, want %d", i.Revision, err, r)
	}
}

// TestLastRecordDamaged: the last record is no torn end once Badger has it.
func TestLastRecordDamaged(t *testing.T) {
	from := t.TempDir()
	s := open(t, Options{Dir: from, Edge: true, MinFree: 1})
	commit(t, s, put("a", []byte("1")))
	commit(t, s, put("b", []byte("2")))
	dir := copyStore(t, from)
	closeStore(t, s)
	files, err := filepath.Glob(filepath.Join(dir, "redo", "*.redo"))
	check(t, err)
	flip(func(n int) int { return n - 1 })(t, files[0])
	_, err = Open(t.Context(), Options{Dir: dir, Edge: true, MinFree: 1})
	if d, ok := errors.AsType[*redo.DamageError](err); !ok || d.File != files[0] {
		t.Errorf("open: %v, want damage of %s", err, files[0])
	}
}

// TestReapply opens copies of one crashed store several times over.
func TestReapply(t *testing.T) {
	dir := crashedStore(t)
	for range 3 {
		s := open(t, Options{Dir: dir, Edge: true, MinFree: 1})
		copied := copyStore(t, dir) // with the log that was just applied
		closeStore(t, s)
		dir = copied
	}
	opened(t, dir, false)
}

// TestValueLogUnused: no value may get into Badger's value log.
func TestValueLogUnused(t *testing.T) {
	for _, edge := range []bool{false, true} {
		dir := t.TempDir()
		s := open(t, Options{Dir: dir, Edge: edge})
		for i, n := range []int{0, 1, 100, 1 << 10, 1 << 16, store.MaxValue - 1, store.MaxValue} {
			commit(t, s, put(fmt.Sprint(i), noise(n, 1)))
		}
		var big store.Batch
		for i := range store.MaxBatch / store.MaxValue {
			big.Ops = append(big.Ops, store.Op{Key: fmt.Appendf(nil, "")[:0], Value: noise(1<<20-1, 2)})
			big.Ops[i].Key = []byte{byte(i)}
		}
		commit(t, s, big)
		closeStore(t, s)
		const header = 20
		check(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil || filepath.Ext(path) != ".vlog" {
				return err
			}
			info, err := e.Info()
			if err == nil && info.Size() > header {
				t.Errorf("edge %v: value log %s has %d bytes", edge, path, info.Size())
			}
			return err
		}))
	}
}
