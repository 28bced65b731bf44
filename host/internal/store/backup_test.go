package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/host/store"
)

// backedUp returns a backup of a store.
func backedUp(t *testing.T, s *Local) ([]byte, store.Backed) {
	t.Helper()
	var b bytes.Buffer
	backed, err := s.Backup(t.Context(), &b)
	check(t, err)
	return b.Bytes(), backed
}

// content is everything in a store: by key, what describe says.
func content(t *testing.T, s *Local) map[string]string {
	t.Helper()
	items := map[string]string{}
	check(t, s.View(t.Context(), func(tx store.Tx) error {
		for i, err := range tx.Scan(store.Query{}) {
			if err != nil {
				return err
			}
			items[string(i.Key)] = describe(i.Value, i.Revision)
		}
		return nil
	}))
	return items
}

// describe makes large values short.
func describe(value []byte, r store.Revision) string {
	if len(value) > 50 {
		return fmt.Sprintf("%x@%d", sha256.Sum256(value), r)
	}
	return fmt.Sprintf("%s@%d", value, r)
}

// commits is what writers committed, by revision.
type commits struct {
	mu  sync.Mutex
	ops map[store.Revision][]store.Op
}

// write commits random batches until ctx ends.
func (c *commits) write(ctx context.Context, t *testing.T, s *Local, seed uint64) {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 0))
	for n := seed; ctx.Err() == nil; n++ {
		b := store.Batch{Ops: make([]store.Op, 1+random.IntN(8))}
		for i := range b.Ops {
			b.Ops[i].Key = fmt.Appendf(nil, "key/%03d", i*50+random.IntN(50))
			switch size := random.IntN(40); {
			case size > 8:
				b.Ops[i].Value = noise(random.IntN(500), n)
			case size == 8:
				b.Ops[i].Value = noise(random.IntN(100_000), n)
			case size == 7 && random.IntN(8) == 0:
				b.Ops[i].Value = noise(store.MaxValue, n)
			}
		}
		r, err := s.Commit(context.Background(), b)
		if err != nil {
			t.Error(err)
			return
		}
		c.mu.Lock()
		c.ops[r] = b.Ops
		c.mu.Unlock()
	}
}

// at is what the store holds at a revision.
func (c *commits) at(r store.Revision) map[string]string {
	items := map[string]string{}
	for _, rev := range slices.Sorted(maps.Keys(c.ops)) {
		for _, op := range c.ops[rev] {
			switch {
			case rev > r:
			case op.Value == nil:
				delete(items, string(op.Key))
			default:
				items[string(op.Key)] = describe(op.Value, rev)
			}
		}
	}
	return items
}

// TestBackupWhileWriting takes backups while others write. What is restored of each
// is the store at one revision, which no commit before the call is missing from.
func TestBackupWhileWriting(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir(), Edge: true})
	defer closeStore(t, s)
	ctx, stop := context.WithCancel(t.Context())
	c := &commits{ops: map[store.Revision][]store.Op{}}
	var wg sync.WaitGroup
	for w := range uint64(4) {
		wg.Go(func() { c.write(ctx, t, s, w*1_000_000) })
	}
	var backups [][]byte
	var all []store.Backed
	for n := range 3 {
		for s.Stats().Commits < uint64(n)*400+50 {
			time.Sleep(time.Millisecond)
		}
		before := s.Stats().Revision
		b, backed := backedUp(t, s)
		if backed.Revision < before {
			t.Errorf("the backup has revision %d, and %d was committed", backed.Revision, before)
		}
		backups, all = append(backups, b), append(all, backed)
	}
	stop()
	wg.Wait()
	for i, b := range backups {
		o := Options{Dir: filepath.Join(t.TempDir(), "store"), Edge: true}
		backed, err := Restore(t.Context(), o, bytes.NewReader(b), nil)
		check(t, err)
		if diff := cmp.Diff(all[i], backed); diff != "" {
			t.Errorf("restored (-backed up +restored):\n%s", diff)
		}
		restored := open(t, o)
		if diff := cmp.Diff(c.at(backed.Revision), content(t, restored)); diff != "" {
			t.Errorf("at revision %d (-want +got):\n%.2000s", backed.Revision, diff)
		}
		closeStore(t, restored)
	}
}

// TestRestoredStore: what was learned before the backup still holds, and what was
// learned after it never does.
func TestRestoredStore(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir(), Edge: true, Host: "v1.2.3", Now: func() time.Time { return time.Unix(1_800_000_000, 5) }})
	held := commit(t, s, put("fence", []byte("1")))
	commit(t, s, put("gone", []byte("1")))
	last := commit(t, s, put("gone", nil))
	b, backed := backedUp(t, s)
	want := store.Backed{
		Revision: last, Created: time.Unix(1_800_000_000, 5).UTC(), Keys: 1, Bytes: int64(len(b)), Digest: backed.Digest,
	}
	if diff := cmp.Diff(want, backed); diff != "" || !strings.HasPrefix(backed.Digest, "sha256:") {
		t.Errorf("backed up (-want +got):\n%s", diff)
	}
	late := commit(t, s, put("fence", []byte("2")))
	closeStore(t, s)

	dir := t.TempDir() // exists and is empty
	o := Options{Dir: dir, Edge: true}
	_, err := Restore(t.Context(), o, bytes.NewReader(b), nil)
	check(t, err)
	for range 2 {
		s = open(t, o)
		fenced := put("fence", []byte("3"))
		fenced.Conds = []store.Cond{{Key: []byte("fence"), Revision: late}}
		if _, err := s.Commit(t.Context(), fenced); !errors.Is(err, store.ErrConflict) {
			t.Errorf("commit of one who wrote after the backup: %v, want ErrConflict", err)
		}
		fenced.Conds[0].Revision = held
		fenced.Conds = append(fenced.Conds, store.Cond{Key: []byte("gone")})
		if held, err = s.Commit(t.Context(), fenced); err != nil || held <= late {
			t.Errorf("commit of one who wrote before the backup: revision %d, %v", held, err)
		}
		closeStore(t, s)
	}
	if m, err := os.ReadFile(filepath.Join(dir, markerName)); err != nil || string(m) != "vespiary store\nformat 2\nhost v1.2.3\n" {
		t.Errorf("the marker is %q, %v", m, err)
	}
}

// writes keeps sizes of writes, and fails after some bytes.
type writes struct {
	largest, left int
	during        func()
}

var errWriter = errors.New("the pipe broke")

func (w *writes) Write(b []byte) (int, error) {
	w.largest = max(w.largest, len(b))
	if w.during != nil {
		w.during()
	}
	if w.left -= len(b); w.left < 0 {
		return 0, errWriter
	}
	return len(b), nil
}

// fill writes some blocks.
func fill(t *testing.T, s *Local) {
	t.Helper()
	for i := range 6 {
		commit(t, s, put(fmt.Sprint(i), noise(store.MaxValue-i%2, uint64(i))))
	}
}

func TestBackupStops(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir(), Edge: true})
	fill(t, s)
	w := &writes{left: 1 << 30}
	_, err := s.Backup(t.Context(), w)
	check(t, err)
	if w.largest > maxFrame+8 || w.left == 1<<30 {
		t.Errorf("%d bytes are written at once", w.largest)
	}
	if _, err := s.Backup(t.Context(), &writes{left: 3 * store.MaxValue}); !errors.Is(err, errWriter) {
		t.Errorf("with a writer that fails: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := s.Backup(ctx, &writes{left: 1 << 30, during: cancel}); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that ends: %v", err)
	}
	closed := make(chan error, 1)
	closing := sync.OnceFunc(func() {
		go func() { closed <- s.Close() }()
		for !s.commits.ended() {
			time.Sleep(time.Millisecond)
		}
	})
	if _, err := s.Backup(t.Context(), &writes{left: 1 << 30, during: closing}); !errors.Is(err, store.ErrClosed) {
		t.Errorf("of a store that closes: %v", err)
	}
	check(t, <-closed)
	if _, err := s.Backup(t.Context(), io.Discard); !errors.Is(err, store.ErrClosed) {
		t.Errorf("of a closed store: %v", err)
	}
}

// refused restores what cannot be, and looks for what is left of it.
func refused(t *testing.T, b []byte, want error) (err error) {
	t.Helper()
	in := t.TempDir()
	_, err = Restore(t.Context(), Options{Dir: filepath.Join(in, "store"), Edge: true}, bytes.NewReader(b), nil)
	if !errors.Is(err, want) {
		t.Errorf("restore: %v, want %v", err, want)
	}
	if err != nil && strings.Contains(err.Error(), "\n") {
		t.Errorf("the error has several lines: %v", err)
	}
	if left, _ := os.ReadDir(in); len(left) > 0 {
		t.Errorf("%v is left behind", left)
	}
	return err
}

func TestRestoreRefuses(t *testing.T) {
	good := smallBackup(t, smallHeader)
	next := bytes.Clone(good)
	next[7]++
	if err := refused(t, next, ErrNewer); !strings.Contains(err.Error(), "format 2") || !strings.Contains(err.Error(), "v1.0.0 or newer") {
		t.Error(err)
	}
	future := smallBackup(t, backupHeader{"v9.0.0\x1b", 9, 0, 7})
	if err := refused(t, future, ErrNewer); !strings.Contains(err.Error(), "format 9") || !strings.Contains(err.Error(), "vespiary v9.0.0 or newer") {
		t.Error(err)
	}
	dir := t.TempDir()
	check(t, os.WriteFile(filepath.Join(dir, "mine"), nil, 0o600))
	if _, err := Restore(t.Context(), Options{Dir: dir}, bytes.NewReader(good), nil); !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), "mine") {
		t.Errorf("into a folder with a file: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	o := Options{Dir: filepath.Join(dir, "store"), Edge: true}
	if _, err := Restore(ctx, o, bytes.NewReader(good), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that ended: %v", err)
	}
	o.MinFree = 1 << 60
	if _, err := Restore(t.Context(), o, bytes.NewReader(good), nil); !errors.Is(err, store.ErrFull) {
		t.Errorf("with too little space: %v", err)
	}
	o.MinFree = 0
	last := func() error {
		if _, err := os.Stat(o.Dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the store is there before what belongs to it: %v", err)
		}
		return errWriter
	}
	if _, err := Restore(t.Context(), o, bytes.NewReader(good), last); !errors.Is(err, errWriter) {
		t.Errorf("without what belongs to it: %v", err)
	}
	broken := io.MultiReader(bytes.NewReader(good[:len(good)/2]), iotestErr{})
	if _, err := Restore(t.Context(), o, broken, nil); !errors.Is(err, errWriter) || errors.Is(err, ErrBackup) {
		t.Errorf("with a reader that fails: %v", err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("%v is left behind", left)
	}
}

type iotestErr struct{}

func (iotestErr) Read([]byte) (int, error) { return 0, errWriter }

// restoreChild restores standard input.
func restoreChild(dir string) error {
	fmt.Println("restoring")
	_, err := Restore(context.Background(), Options{Dir: dir, Edge: true}, os.Stdin, nil)
	return err
}

// TestRestoreKilled kills a process that restores. What it leaves is no store, and
// does not stand in the way of the next attempt.
func TestRestoreKilled(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir(), Edge: true})
	fill(t, s)
	b, _ := backedUp(t, s)
	want := content(t, s)
	closeStore(t, s)
	dir := filepath.Join(t.TempDir(), "store")
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+dir, childJob+"=restore")
	in, err := cmd.StdinPipe()
	check(t, err)
	check(t, cmd.Start())
	_, err = in.Write(b[:len(b)-100]) // ends when the child has read all but what a pipe holds
	check(t, err)
	check(t, cmd.Process.Kill())
	_ = cmd.Wait()
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("a killed restore leaves the folder: %v", err)
	}
	if left, _ := filepath.Glob(dir + ".restore-*"); len(left) != 1 {
		t.Errorf("beside the folder is %v", left)
	}
	_, err = Restore(t.Context(), Options{Dir: dir, Edge: true}, bytes.NewReader(b), nil)
	check(t, err)
	s = open(t, Options{Dir: dir, Edge: true})
	defer closeStore(t, s)
	if diff := cmp.Diff(want, content(t, s)); diff != "" {
		t.Errorf("restored (-want +got):\n%.1000s", diff)
	}
}

// BenchmarkBackup copies a store of 64 MiB whose values, like encrypted ones, do not
// compress, and restores it.
func BenchmarkBackup(b *testing.B) {
	s, err := Open(b.Context(), Options{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	const size, values = 1 << 10, 64 << 10
	for n := range values / 1024 {
		var batch store.Batch
		for i := range 1024 {
			batch.Ops = append(batch.Ops, store.Op{Key: fmt.Appendf(nil, "session/%06d/%06d", n, i), Value: noise(size, uint64(n*1024+i))})
		}
		if _, err := s.Commit(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
	var made bytes.Buffer
	b.Run("backup", func(b *testing.B) {
		b.SetBytes(size * values)
		b.ReportAllocs()
		for b.Loop() {
			made.Reset()
			if _, err := s.Backup(b.Context(), &made); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("verify", func(b *testing.B) {
		b.SetBytes(size * values)
		for b.Loop() {
			if _, err := VerifyBackup(b.Context(), bytes.NewReader(made.Bytes())); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("restore", func(b *testing.B) {
		b.SetBytes(size * values)
		for b.Loop() {
			o := Options{Dir: filepath.Join(b.TempDir(), "store")}
			if _, err := Restore(b.Context(), o, bytes.NewReader(made.Bytes()), nil); err != nil {
				b.Fatal(err)
			}
		}
	})
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
}
