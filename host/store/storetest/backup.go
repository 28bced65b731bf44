package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/host/store"
)

// Restore makes the store named name, which does not exist, of a backup. When it
// returns an error nothing is left of the store.
type Restore func(t *testing.T, name string, backup io.Reader) error

// RunBackup runs the suite of stores that implement store.Backuper.
func RunBackup(t *testing.T, open Open, restore Restore) {
	tests := []struct {
		name string
		run  func(*testing.T, *backupSuite)
	}{
		{"Items", testBackupItems},
		{"Nothing", testBackupNothing},
		{"Preconditions", testBackupPreconditions},
		{"IsASnapshot", testBackupIsASnapshot},
		{"Twice", testBackupTwice},
		{"WriterFails", testBackupWriterFails},
		{"Ends", testBackupEnds},
		{"NotWhole", testBackupNotWhole},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := &backupSuite{suite: &suite{open: open, name: t.TempDir()}, restore: restore}
			s.reopen(t)
			t.Cleanup(func() {
				if err := s.Close(); err != nil {
					t.Errorf("close: %v", err)
				}
			})
			tt.run(t, s)
		})
	}
}

type backupSuite struct {
	*suite
	restore Restore
}

// backup takes a backup and checks what is said of it.
func (s *backupSuite) backup(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	backed, err := s.backupTo(t.Context(), t, &b)
	if err != nil {
		t.Fatalf("backup: %v", err)
	}
	if backed.Bytes != int64(b.Len()) || backed.Keys != int64(len(s.all(t))) || backed.Digest == "" {
		t.Errorf("%d bytes: %+v", b.Len(), backed)
	}
	return b.Bytes()
}

func (s *backupSuite) backupTo(ctx context.Context, t *testing.T, w io.Writer) (store.Backed, error) {
	t.Helper()
	b, ok := s.Store.(store.Backuper)
	if !ok {
		t.Fatalf("%T is not a store.Backuper", s.Store)
	}
	return b.Backup(ctx, w)
}

// restored opens what was restored of a backup.
func (s *backupSuite) restored(t *testing.T, backup []byte) *suite {
	t.Helper()
	r := &suite{open: s.open, name: t.TempDir()}
	if err := s.restore(t, r.name, bytes.NewReader(backup)); err != nil {
		t.Fatalf("restore: %v", err)
	}
	r.reopen(t)
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Errorf("close what was restored: %v", err)
		}
	})
	return r
}

// testBackupItems: keys, values and revisions are those that were backed up, and
// they stay.
func testBackupItems(t *testing.T, s *backupSuite) {
	s.commit(t, put("deleted", "1"), put("changed", "1"), put("empty", ""), put("\x00\xff", "\x00"))
	s.commit(t, put("changed", "2"), del("deleted"))
	for _, size := range []int{1000, store.MaxValue - 1, store.MaxValue} {
		s.commit(t, store.Op{Key: bytes.Repeat([]byte{byte(size)}, store.MaxKey), Value: pattern(size, 3)})
	}
	for i := range 100 {
		s.commit(t, put(fmt.Sprintf("many/%d", i), fmt.Sprint(i)))
	}
	want := s.all(t)
	r := s.restored(t, s.backup(t))
	for range 2 {
		if diff := cmp.Diff(want, r.all(t)); diff != "" {
			t.Fatalf("restored (-want +got):\n%.1000s", diff)
		}
		r.reopen(t)
	}
}

// testBackupNothing: a store without keys has a backup too, and counts on.
func testBackupNothing(t *testing.T, s *backupSuite) {
	r := s.restored(t, s.backup(t))
	r.wantItem(t, "a", "1", r.commit(t, put("a", "1")))
	s.commit(t, put("a", "1"))
	last := s.commit(t, del("a"))
	r = s.restored(t, s.backup(t))
	r.wantMissing(t, "a")
	if got := r.commit(t, put("a", "2")); got <= last {
		t.Errorf("revision %d after %d", got, last)
	}
}

// testBackupPreconditions: revisions from before the backup hold in what was
// restored, and those that only the original gave do not.
func testBackupPreconditions(t *testing.T, s *backupSuite) {
	held := s.commit(t, put("a", "1"))
	backup := s.backup(t)
	late := s.commit(t, put("a", "2"))
	r := s.restored(t, backup)
	for name, tt := range map[string]struct {
		cond store.Cond
		want error
	}{
		"held":        {store.Cond{Key: []byte("a"), Revision: held}, nil},
		"never was":   {store.Cond{Key: []byte("b")}, nil},
		"late":        {store.Cond{Key: []byte("a"), Revision: late}, store.ErrConflict},
		"not missing": {store.Cond{Key: []byte("a")}, store.ErrConflict},
	} {
		if _, err := r.Commit(t.Context(), store.Batch{Conds: []store.Cond{tt.cond}}); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
	for range 5 {
		if got := r.commit(t, put("a", "3")); got <= late {
			t.Fatalf("revision %d, and the original gave %d", got, late)
		}
	}
}

// during calls fn at the first write.
type during struct {
	bytes.Buffer
	fn func()
}

func (d *during) Write(b []byte) (int, error) {
	if fn := d.fn; fn != nil {
		d.fn = nil
		fn()
	}
	return d.Buffer.Write(b)
}

// testBackupIsASnapshot commits in the middle of a backup, which neither waits for
// the other.
func testBackupIsASnapshot(t *testing.T, s *backupSuite) {
	s.commit(t, put("a", "1"), put("b", "1"), put("c", "1"))
	want := s.all(t)
	w := &during{fn: func() {
		for i := range 50 {
			s.commit(t, put("b", fmt.Sprint(i)), put(fmt.Sprint("d", i), "1"), del("c"))
		}
	}}
	if _, err := s.backupTo(t.Context(), t, w); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, s.restored(t, w.Bytes()).all(t)); diff != "" {
		t.Errorf("restored (-want +got):\n%s", diff)
	}
}

// testBackupTwice backs up what was restored.
func testBackupTwice(t *testing.T, s *backupSuite) {
	s.commit(t, put("a", "1"))
	first := s.restored(t, s.backup(t))
	first.commit(t, put("b", "2"))
	again := &backupSuite{suite: first, restore: s.restore}
	second := s.restored(t, again.backup(t))
	if diff := cmp.Diff(first.all(t), second.all(t)); diff != "" {
		t.Errorf("restored twice (-want +got):\n%s", diff)
	}
}

type broken struct{ left int }

var errBroken = errors.New("the pipe broke")

func (b *broken) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		return 0, errBroken
	}
	return len(p), nil
}

// testBackupWriterFails breaks the writer at each byte. It harms the store as
// little as the backup after that.
func testBackupWriterFails(t *testing.T, s *backupSuite) {
	s.commit(t, put("a", "1"))
	whole := s.backup(t)
	for n := range len(whole) {
		if _, err := s.backupTo(t.Context(), t, &broken{n}); !errors.Is(err, errBroken) {
			t.Errorf("broken after %d of %d bytes: %v", n, len(whole), err)
		}
	}
	s.commit(t, put("b", "1"))
	s.restored(t, s.backup(t))
}

func testBackupEnds(t *testing.T, s *backupSuite) {
	s.commit(t, put("a", "1"))
	if _, err := s.backupTo(ended(t), t, io.Discard); !errors.Is(err, context.Canceled) {
		t.Errorf("with an ended context: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.backupTo(t.Context(), t, io.Discard); !errors.Is(err, store.ErrClosed) {
		t.Errorf("of a closed store: %v, want ErrClosed", err)
	}
}

// testBackupNotWhole: a backup that is cut off or changed is refused, and what
// could be restored of it is gone.
func testBackupNotWhole(t *testing.T, s *backupSuite) {
	s.commit(t, put("a", "1"), put("b", "2"))
	whole := s.backup(t)
	changed := bytes.Clone(whole)
	changed[len(changed)/2] ^= 1
	name := t.TempDir()
	for what, b := range map[string][]byte{
		"nothing": {}, "half": whole[:len(whole)/2], "all but a byte": whole[:len(whole)-1],
		"a byte more": append(bytes.Clone(whole), 0), "a changed bit": changed,
	} {
		if err := s.restore(t, name, bytes.NewReader(b)); err == nil {
			t.Errorf("%s was restored", what)
		}
	}
	if err := s.restore(t, name, bytes.NewReader(whole)); err != nil {
		t.Errorf("after others that were refused: %v", err)
	}
}
