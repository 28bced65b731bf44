package store

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/vespiary/vespiary/host/store"
)

// smallDisk mounts a file system of some MiB in memory. Where that is not allowed
// it skips the test, except as root under CI.
func smallDisk(t *testing.T, size int) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm", size)); err != nil {
		if os.Getenv("CI") == "true" && os.Getuid() == 0 {
			t.Fatalf("mount tmpfs: %v", err)
		}
		t.Skipf("needs to mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}

// TestFullDisk fills a small disk with the store itself, with the least free space
// that Options calls safe. Badger writes through mmap, so if the watermark were too
// low, the signal SIGBUS would end this process.
func TestFullDisk(t *testing.T) {
	disk := smallDisk(t, 208)
	ballast := filepath.Join(disk, "ballast")
	check(t, os.WriteFile(ballast, make([]byte, 16*mib), 0o600))
	f := &filler{o: Options{Dir: filepath.Join(disk, "store"), Edge: true}, want: map[string]uint64{}}
	f.s = open(t, f.o)
	committed := []int{f.fill(t)}
	f.check(t)
	closeStore(t, f.s)

	f.s = open(t, f.o) // closing emptied the redo log
	f.check(t)
	committed = append(committed, f.fill(t))
	f.check(t)
	check(t, os.Remove(ballast))
	committed = append(committed, f.fill(t))
	if committed[2] == 0 {
		t.Error("nothing could be committed after space was freed")
	}
	t.Logf("commits of 256 KiB until full: at first, after reopening, after freeing 16 MiB: %d; least free space %d MiB", committed, f.least/mib)
	f.check(t)
	if refused := f.s.Stats().Refused; refused == 0 {
		t.Error("stats do not count refused commits")
	}
	from := f.o.Dir
	f.o.Dir = filepath.Join(smallDisk(t, 208), "store")
	for _, sub := range []string{"db", "redo"} {
		copyTorn(t, filepath.Join(from, sub), filepath.Join(f.o.Dir, sub))
	}
	closeStore(t, f.s)

	// As after a crash with the disk as full as the store lets it become.
	free, err := freeBytes(f.o.Dir)
	check(t, err)
	if room := free - f.o.withDefaults().MinFree; room > 0 {
		check(t, os.WriteFile(f.o.Dir+".ballast", make([]byte, room), 0o600))
	}
	f.s = open(t, f.o)
	f.check(t)
	closeStore(t, f.s)
}

const fillSize = 256 << 10

// filler commits values until the store is full and knows which were acknowledged.
type filler struct {
	o     Options
	s     *Local
	want  map[string]uint64 // key to seed
	n     uint64
	least int64
}

func (f *filler) fill(t *testing.T) (committed int) {
	t.Helper()
	for refused := 0; refused < 5; {
		f.n++
		key := fmt.Sprintf("key/%d", f.n*2654435761%400)
		_, err := f.s.Commit(t.Context(), put(key, noise(fillSize, f.n)))
		switch {
		case errors.Is(err, store.ErrFull):
			refused++
		case err != nil:
			t.Fatal(err)
		default:
			f.want[key] = f.n
			committed++
		}
		free, err := freeBytes(f.o.Dir)
		check(t, err)
		if f.least == 0 || free < f.least {
			f.least = free
		}
		if committed > 4000 {
			t.Fatal("the store never gets full")
		}
	}
	return committed
}

func (f *filler) check(t *testing.T) {
	t.Helper()
	for key, seed := range f.want {
		if i, err := get(t, f.s, key); err != nil || !bytes.Equal(i.Value, noise(fillSize, seed)) {
			t.Errorf("%s: %d bytes, %v", key, len(i.Value), err)
		}
	}
}

// TestFullDiskByOthers: others fill the disk, and the store only reads until they
// free it.
func TestFullDiskByOthers(t *testing.T) {
	disk := smallDisk(t, 96)
	o := Options{Dir: filepath.Join(disk, "store"), Edge: true, MinFree: 24 * mib}
	s := open(t, o)
	defer closeStore(t, s)
	commit(t, s, put("a", []byte("1")))
	free, err := freeBytes(disk)
	check(t, err)
	ballast := filepath.Join(disk, "ballast")
	check(t, os.WriteFile(ballast, make([]byte, free-o.MinFree+1), 0o600))
	for range 10 {
		if _, err := s.Commit(t.Context(), put("b", []byte("1"))); !errors.Is(err, store.ErrFull) {
			t.Fatalf("commit on a full disk: %v, want ErrFull", err)
		}
	}
	if _, err := get(t, s, "a"); err != nil {
		t.Errorf("view on a full disk: %v", err)
	}
	if _, err := get(t, s, "b"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a refused batch was written: %v", err)
	}
	if _, err := s.Commit(t.Context(), put("a", nil)); !errors.Is(err, store.ErrFull) {
		t.Fatalf("deletion on a full disk: %v, want ErrFull", err)
	}
	check(t, os.Truncate(ballast, free-o.MinFree-mib)) // leaves room for deletions only
	if _, err := s.Commit(t.Context(), put("b", nil)); err != nil {
		t.Errorf("deletion below the watermark: %v", err)
	}
	if _, err := s.Commit(t.Context(), store.Batch{Conds: []store.Cond{{Key: []byte("b")}}}); err != nil {
		t.Errorf("conditions alone below the watermark: %v", err)
	}
	mixed := store.Batch{Ops: append(put("a", nil).Ops, put("b", []byte("1")).Ops...)}
	if _, err := s.Commit(t.Context(), mixed); !errors.Is(err, store.ErrFull) {
		t.Errorf("a value below the watermark: %v, want ErrFull", err)
	}
	check(t, os.Remove(ballast))
	commit(t, s, put("b", []byte("2")))
	if st := s.Stats(); st.Refused != 12 || st.FreeBytes < o.MinFree {
		t.Errorf("stats are %+v", st)
	}
}

// TestNoRoomToOpen: a disk with no space left at all is not opened, since Badger
// would be killed by its first write.
func TestNoRoomToOpen(t *testing.T) {
	disk := smallDisk(t, 64)
	o := Options{Dir: filepath.Join(disk, "store"), Edge: true, MinFree: 16 * mib}
	s := open(t, o)
	commit(t, s, put("a", []byte("1")))
	closeStore(t, s)
	ballast := filepath.Join(disk, "ballast")
	free, err := freeBytes(disk)
	check(t, err)
	check(t, os.WriteFile(ballast, make([]byte, free), 0o600))
	if _, err := Open(t.Context(), o); !errors.Is(err, store.ErrFull) {
		t.Errorf("open on a disk without space: %v, want ErrFull", err)
	}
	check(t, os.Remove(ballast))
	s = open(t, o)
	if _, err := get(t, s, "a"); err != nil {
		t.Error(err)
	}
	closeStore(t, s)
}

// TestDeleteOnFullDisk fills a small disk with the store itself and deletes its way
// out: deletions go on where values are refused, and compaction gives the space back.
func TestDeleteOnFullDisk(t *testing.T) {
	o := Options{Dir: filepath.Join(smallDisk(t, 208), "store"), Edge: true}
	f := &filler{o: o, s: open(t, o), want: map[string]uint64{}}
	f.fill(t)
	for key := range f.want {
		_, err := f.s.Commit(t.Context(), put(key, nil))
		for tries := 0; errors.Is(err, store.ErrFull) && tries < 1000; tries++ {
			time.Sleep(10 * time.Millisecond) // a compaction under way has the old tables and the new
			_, err = f.s.Commit(t.Context(), put(key, nil))
		}
		check(t, err)
	}
	closeStore(t, f.s) // moves the deletions to a table
	f.s = open(t, o)
	defer closeStore(t, f.s)
	check(t, f.s.db.Flatten(1))
	deleted := len(f.want)
	clear(f.want)
	if n := f.fill(t); n < deleted/2 {
		t.Errorf("%d values find room where %d were deleted", n, deleted)
	}
	f.check(t)
}
