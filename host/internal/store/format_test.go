package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dgraph-io/badger/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/host/store"
)

// version1 makes a folder as the first hosts left it after a crash: no marker, a
// database with the revisions 1 to 3, and a redo log that holds 2 to 4. It is made
// of literals, so that changes of today's code do not change it.
func version1(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	db, err := badger.OpenManaged(badger.DefaultOptions(filepath.Join(dir, "db")).
		WithLogger(nil).WithMemTableSize(8 << 20).WithValueThreshold(1 << 20).WithValueLogFileSize(1 << 20))
	check(t, err)
	b := db.NewManagedWriteBatch()
	check(t, b.SetEntryAt(badger.NewEntry([]byte("mrev"), nil), 1))
	check(t, b.SetEntryAt(badger.NewEntry([]byte("dkept"), []byte("1")), 1))
	check(t, b.SetEntryAt(badger.NewEntry([]byte("dchanged"), []byte("2")), 2))
	check(t, b.SetEntryAt(badger.NewEntry([]byte("dfull"), noise(1<<20-1, 1)).WithMeta(7).WithDiscard(), 3))
	check(t, b.Flush())
	check(t, db.Close())

	table := crc32.MakeTable(crc32.Castagnoli)
	segment := []byte("VSPREDO\x01" + "\x03\x00\x00\x00\x00\x00\x00\x00" + "\x01\x00\x00\x00\x00\x00\x00\x00" + "MARK")
	head := crc32.Checksum(segment, table)
	segment = binary.LittleEndian.AppendUint32(segment, head)
	for revision, ops := range []string{2: "\x07changed\x022", 3: "\x04gone\x00", 4: "\x07changed\x024\x05empty\x01"} {
		if ops == "" {
			continue
		}
		rec := binary.LittleEndian.AppendUint32(nil, uint32(len(ops)))
		rec = binary.LittleEndian.AppendUint32(rec, 0) // its place in the group
		rec = append(binary.LittleEndian.AppendUint64(rec, uint64(revision)), ops...)
		segment = binary.LittleEndian.AppendUint32(append(segment, "MARK"...), crc32.Update(head, table, rec))
		segment = append(segment, rec...)
	}
	check(t, os.Mkdir(filepath.Join(dir, "redo"), 0o700))
	check(t, os.WriteFile(filepath.Join(dir, "redo", "0000000000000003.redo"), append(segment, make([]byte, 100)...), 0o600))
	return dir
}

// wantVersion1 checks that a store holds what version1 put there.
func wantVersion1(t *testing.T, s *Local) {
	t.Helper()
	want := map[string]string{
		"kept": "1@1", "changed": "4@4", "full": describe(append(noise(1<<20-1, 1), 7), 3), "empty": "@4",
	}
	if diff := cmp.Diff(want, content(t, s)); diff != "" {
		t.Errorf("content (-want +got):\n%s", diff)
	}
	if r := commit(t, s, put("new", nil)); r != 5 {
		t.Errorf("the next revision is %d", r)
	}
}

func TestVersion1(t *testing.T) {
	dir := version1(t)
	var log bytes.Buffer
	s := open(t, Options{Dir: dir, Edge: true, Host: "v2.0.0", Log: slog.New(slog.NewTextHandler(&log, nil))})
	wantVersion1(t, s)
	closeStore(t, s)
	wantMarker(t, dir, "vespiary store\nformat 2\nhost v2.0.0\n")
	if !strings.Contains(log.String(), "upgrading the store") || !strings.Contains(log.String(), "from=1 to=2") {
		t.Errorf("the log does not tell of the upgrade: %s", &log)
	}
	log.Reset()
	s = open(t, Options{Dir: dir, Edge: true, Host: "v2.1.0", Log: slog.New(slog.NewTextHandler(&log, nil))})
	closeStore(t, s)
	wantMarker(t, dir, "vespiary store\nformat 2\nhost v2.0.0\n")
	if strings.Contains(log.String(), "upgrading") {
		t.Errorf("it is upgraded again: %s", &log)
	}
}

func wantMarker(t *testing.T, dir, want string) {
	t.Helper()
	if m, err := os.ReadFile(filepath.Join(dir, markerName)); err != nil || string(m) != want {
		t.Errorf("the marker is %q, %v, want %q", m, err, want)
	}
}

// TestNewFolder has the marker from its first moment and is not upgraded.
func TestNewFolder(t *testing.T) {
	dir := t.TempDir()
	o := Options{Dir: dir, Edge: true, upgrades: []upgrade{{"never", func(context.Context, string) error { return errors.New("it ran") }}}}
	closeStore(t, open(t, o))
	wantMarker(t, dir, "vespiary store\nformat 2\nhost \n")
}

func TestMarkers(t *testing.T) {
	for text, want := range map[string]string{
		"vespiary store\nformat 3\nhost v3.1.0\n":                    "use vespiary v3.1.0 or newer",
		"vespiary store\nformat 12\nhost \nkeys are elsewhere now\n": "use a newer version of vespiary",
		"vespiary store\nformat 2\nhost v1.0.0\n":                    "",
		"":                                   "damaged",
		"vespiary store\nformat 2\n":         "damaged",
		"vespiary store\nformat 2\nhost":     "damaged",
		"vespiary store\nformat 0\nhost \n":  "damaged",
		"vespiary store\nformat -1\nhost \n": "damaged",
		"vespiary store\nformat x\nhost \n":  "damaged",
		"another store\nformat 2\nhost \n":   "damaged",
		"vespiary store\nfarmat 2\nhost \n":  "damaged",
	} {
		dir := t.TempDir()
		check(t, os.WriteFile(filepath.Join(dir, markerName), []byte(text), 0o600))
		s, err := Open(t.Context(), Options{Dir: dir, Edge: true})
		if err == nil {
			closeStore(t, s)
		}
		newer := strings.HasPrefix(want, "use")
		if (err == nil) != (want == "") || errors.Is(err, ErrNewer) != newer || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
		if left, _ := os.ReadDir(filepath.Join(dir, dbName)); err != nil && len(left) > 0 {
			t.Errorf("%q: a database was made: %v", text, left)
		}
	}
}

// artificial is a way from format 1 to 4. Its steps append to a file each, in two
// writes, and check that those before them are done.
func artificial(between func()) []upgrade {
	step := func(n int) upgrade {
		return upgrade{fmt.Sprint("step ", n), func(_ context.Context, dir string) error {
			if b, err := os.ReadFile(filepath.Join(dir, fmt.Sprint("step-", n-1))); n > 1 && (err != nil || string(b) != "whole") {
				return fmt.Errorf("step %d runs after %q, %w", n, b, err)
			}
			path := filepath.Join(dir, fmt.Sprint("step-", n))
			between()
			if err := os.WriteFile(path, []byte("half"), 0o600); err != nil {
				return err
			}
			between()
			return os.WriteFile(path, []byte("whole"), 0o600)
		}}
	}
	return []upgrade{step(1), step(2), step(3)}
}

// upgradeEnv says after how many events a child that upgrades kills itself.
const upgradeEnv = "VESPIARY_STORE_KILL"

// upgradeChild opens a folder and is killed at an event, which is half of a step or
// the marker before it is durable.
func upgradeChild(dir string) error {
	var at, n int
	if _, err := fmt.Sscan(os.Getenv(upgradeEnv), &at); err != nil {
		return err
	}
	event := func() {
		if n++; n == at {
			self, err := os.FindProcess(os.Getpid())
			if err == nil && self.Kill() == nil {
				select {}
			}
		}
	}
	o := Options{Dir: dir, Edge: true, upgrades: artificial(event), syncFile: func(f *os.File) error {
		event()
		return f.Sync()
	}}
	s, err := Open(context.Background(), o)
	if err != nil {
		return err
	}
	return s.Close()
}

// TestUpgradeKilled kills an upgrade at every event, and goes on in the next round
// with what that left.
func TestUpgradeKilled(t *testing.T) {
	killed := 0
	for at := 1; ; at++ {
		dir := version1(t)
		first := upgradeRound(t, dir, at)
		if first && upgradeRound(t, dir, 2) { // once more, soon after it goes on
			killed++
		}
		s := open(t, Options{Dir: dir, Edge: true, Host: "v4.0.0", upgrades: artificial(func() {})})
		wantVersion1(t, s)
		closeStore(t, s)
		for n := range 3 {
			if b, err := os.ReadFile(filepath.Join(dir, fmt.Sprint("step-", n+1))); err != nil || string(b) != "whole" {
				t.Errorf("killed at %d: step %d left %q, %v", at, n+1, b, err)
			}
		}
		if m, err := os.ReadFile(filepath.Join(dir, markerName)); err != nil || !strings.Contains(string(m), "format 4\n") {
			t.Errorf("killed at %d: the marker is %q, %v", at, m, err)
		}
		if !first {
			break
		}
		killed++
	}
	if killed < 9 {
		t.Errorf("only %d rounds were killed", killed)
	}
}

// upgradeRound reports whether the child was killed.
func upgradeRound(t *testing.T, dir string, at int) bool {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+dir, childJob+"=upgrade", fmt.Sprint(upgradeEnv, "=", at))
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() > 0 {
		t.Fatalf("child: %v: %s", err, out)
	}
	return err != nil
}

// TestUpgradeFails: the folder stays at the last format that it got to, and the
// next opening goes on from there.
func TestUpgradeFails(t *testing.T) {
	dir := version1(t)
	errStep := errors.New("no")
	steps := artificial(func() {})
	steps[1].run = func(context.Context, string) error { return errStep }
	o := Options{Dir: dir, Edge: true, Host: "v4.0.0", upgrades: steps}
	if _, err := Open(t.Context(), o); !errors.Is(err, errStep) || !strings.Contains(err.Error(), "from format 2 to 3") {
		t.Errorf("open: %v", err)
	}
	wantMarker(t, dir, "vespiary store\nformat 2\nhost v4.0.0\n")
	o.upgrades = artificial(func() {})
	s := open(t, o)
	wantVersion1(t, s)
	closeStore(t, s)
	wantMarker(t, dir, "vespiary store\nformat 4\nhost v4.0.0\n")
	if _, err := Open(t.Context(), Options{Dir: dir, Edge: true}); !errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), "v4.0.0") {
		t.Errorf("open by an older host: %v", err)
	}
}

// TestOldBackup: a backup of an older format is upgraded when what was restored of
// it is opened.
func TestOldBackup(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir(), Edge: true})
	commit(t, s, put("a", []byte("1")))
	b, _ := backedUp(t, s)
	closeStore(t, s)
	o := Options{Dir: filepath.Join(t.TempDir(), "store"), Edge: true, Host: "v4.0.0", upgrades: artificial(func() {})}
	o.upgrades[1].run = func(_ context.Context, dir string) error {
		return os.WriteFile(filepath.Join(dir, "step-2"), []byte("whole"), 0o600)
	}
	_, err := Restore(t.Context(), o, bytes.NewReader(b), nil)
	check(t, err)
	wantMarker(t, o.Dir, "vespiary store\nformat 2\nhost \n")
	s = open(t, o)
	defer closeStore(t, s)
	wantMarker(t, o.Dir, "vespiary store\nformat 4\nhost v4.0.0\n")
	if i, err := get(t, s, "a"); err != nil || i.Revision != store.Revision(1) {
		t.Errorf("revision %d, %v", i.Revision, err)
	}
}
