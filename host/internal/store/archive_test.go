package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/host/store"
)

// smallBackup has two blocks, in a kilobyte or so.
func smallBackup(t *testing.T, h backupHeader) []byte {
	t.Helper()
	var b bytes.Buffer
	a, err := newArchiver(&b, h)
	check(t, err)
	for i, v := range []string{"", "one", strings.Repeat("many ", 100)} {
		check(t, a.add(store.Item{Key: fmt.Appendf(nil, "key/%d", i), Value: []byte(v), Revision: store.Revision(i + 1)}))
		if i == 1 {
			check(t, a.flush())
		}
	}
	_, err = a.close()
	check(t, err)
	return b.Bytes()
}

var smallHeader = backupHeader{"v1.0.0", 2, 1_800_000_000_000_000_000, 7}

// TestDamagedBackup cuts a backup off everywhere and changes every byte of it.
func TestDamagedBackup(t *testing.T) {
	good := smallBackup(t, smallHeader)
	_, err := VerifyBackup(t.Context(), bytes.NewReader(good))
	check(t, err)
	bad := map[string][]byte{"twice": append(bytes.Clone(good), good...), "longer": append(bytes.Clone(good), 0)}
	for i := range good {
		bad[fmt.Sprintf("cut off after %d", i)] = good[:i]
		for _, bit := range []byte{1, 0x80} {
			b := bytes.Clone(good)
			b[i] ^= bit
			bad[fmt.Sprintf("byte %d ^ %#x", i, bit)] = b
		}
	}
	for name, b := range bad {
		_, err := VerifyBackup(t.Context(), bytes.NewReader(b))
		if !errors.Is(err, ErrBackup) && (!errors.Is(err, ErrNewer) || b[7] == backupMagic[7]) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"twice", "cut off after 0", fmt.Sprint("cut off after ", len(good)-1), "byte 3 ^ 0x1", fmt.Sprintf("byte %d ^ 0x80", len(good)-1)} {
		_ = refused(t, bad[name], ErrBackup)
	}
}

// TestForgedBackup: checksums are right and the content is not.
func TestForgedBackup(t *testing.T) {
	forge := func(h backupHeader, keys int64, items ...store.Item) []byte {
		var b bytes.Buffer
		a, err := newArchiver(&b, h)
		check(t, err)
		for _, i := range items {
			check(t, a.add(i))
		}
		a.keys += keys
		_, err = a.close()
		check(t, err)
		return b.Bytes()
	}
	one := store.Item{Key: []byte("a"), Value: []byte{}, Revision: 7}
	two := store.Item{Key: []byte("b"), Value: []byte{}, Revision: 7}
	if _, err := VerifyBackup(t.Context(), bytes.NewReader(forge(smallHeader, 0, one, two))); err != nil {
		t.Fatal(err)
	}
	late, early, long, large := one, one, one, one
	late.Revision++
	early.Revision = 0
	long.Key = make([]byte, store.MaxKey+1)
	large.Value = make([]byte, store.MaxValue+1)
	bomb := store.Item{Key: []byte("a"), Value: make([]byte, 64<<20), Revision: 7}
	for name, b := range map[string][]byte{
		"twice":           forge(smallHeader, 0, one, one),
		"out of order":    forge(smallHeader, 0, two, one),
		"late revision":   forge(smallHeader, 0, late),
		"no revision":     forge(smallHeader, 0, early),
		"long key":        forge(smallHeader, 0, long),
		"large value":     forge(smallHeader, 0, large),
		"bomb":            forge(smallHeader, 0, bomb),
		"too few":         forge(smallHeader, 1, one),
		"high revision":   forge(backupHeader{format: 1, revision: maxRevision + 1}, 0),
		"no format":       forge(backupHeader{}, 0),
		"negative format": forge(backupHeader{format: 1 << 31}, 0),
	} {
		if _, err := VerifyBackup(t.Context(), bytes.NewReader(b)); !errors.Is(err, ErrBackup) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestBackupFormat reads a backup made by version 1 of the format, and one put
// together by hand from its description.
func TestBackupFormat(t *testing.T) {
	golden, err := os.ReadFile(filepath.Join("testdata", "format-1.backup"))
	check(t, err)
	frame := []byte{
		0x28, 0xb5, 0x2f, 0xfd, 0x20, 9, 9<<3 | 1, 0, 0, // magic of zstd, size, one raw block
		3, 'k', 'e', 'y', 5, 3, 'a', 'b', 'c',
	}
	b := []byte("VSPBACK\x01\x02v1\x02\x00\x00\x00" + "\x00\x00\x00\x00\x00\x00\x00\x00" + "\x07\x00\x00\x00\x00\x00\x00\x00")
	b = binary.LittleEndian.AppendUint32(b, blockChecksum(b, nil))
	length := binary.LittleEndian.AppendUint32(nil, uint32(len(frame)))
	b = append(append(b, length...), binary.LittleEndian.AppendUint32(nil, blockChecksum(length, frame))...)
	b = append(append(b, frame...), 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0)
	sum := tally{sum: sha256.New()}
	_, _ = sum.Write(b)
	for name, tt := range map[string]struct {
		backup []byte
		want   []string
	}{
		"golden": {golden, []string{"key/0=@1", "key/1=one@2", "key/2=" + strings.Repeat("many ", 100) + "@3"}},
		"hand":   {sum.sum.Sum(b), []string{"key=abc@5"}},
	} {
		var got []string
		_, err := readBackup(bytes.NewReader(tt.backup), Options{}.canRead, func(i store.Item) error {
			got = append(got, fmt.Sprintf("%s=%s@%d", i.Key, i.Value, i.Revision))
			return nil
		})
		if diff := cmp.Diff(tt.want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
		}
	}
}

// FuzzReadBackup: nothing ends in a panic, and what is good survives another round.
func FuzzReadBackup(f *testing.F) {
	golden, err := os.ReadFile(filepath.Join("testdata", "format-1.backup"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(golden)
	f.Add([]byte(backupMagic + "\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var again bytes.Buffer
		var a *archiver
		backed, err := readBackup(bytes.NewReader(b), func(h backupHeader) (err error) {
			a, err = newArchiver(&again, h)
			return err
		}, func(i store.Item) error { return a.add(i) })
		if err != nil {
			if !errors.Is(err, ErrBackup) && !errors.Is(err, ErrNewer) {
				t.Errorf("error is %v", err)
			}
			return
		}
		_, err = a.close()
		check(t, err)
		second, err := VerifyBackup(t.Context(), &again)
		if second.Keys != backed.Keys || err != nil && !errors.Is(err, ErrNewer) {
			t.Errorf("again: %+v, %v", second, err)
		}
	})
}
