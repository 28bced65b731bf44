package store

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/table"

	"github.com/vespiary/vespiary/host/store"
)

// childEnv names the store that a child process works on, and childJob what it does.
const (
	childEnv = "VESPIARY_STORE_CHILD"
	childJob = "VESPIARY_STORE_JOB"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		if err := child(dir, os.Getenv(childJob)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(3)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func child(dir, job string) error {
	switch job {
	case "restore":
		return restoreChild(dir)
	case "upgrade":
		return upgradeChild(dir)
	}
	s, err := Open(context.Background(), Options{Dir: dir, Edge: true, MinFree: 1})
	if err != nil {
		return err
	}
	if job == "hold" {
		fmt.Println("open")
		_, err := io.Copy(io.Discard, os.Stdin)
		return err
	}
	failed := make(chan error)
	for w := range crashWriters {
		go func() { failed <- crashWrite(s, w) }()
	}
	return <-failed
}

const (
	crashWriters = 16
	crashKeys    = 3 // keys that each batch writes
)

func crashKey(w, part int) []byte { return fmt.Appendf(nil, "writer/%02d/%d", w, part) }

func crashLog(w int, n uint64) []byte {
	return binary.BigEndian.AppendUint64(fmt.Appendf(nil, "log/%02d/", w), n)
}

// crashWrite commits numbered batches without end. Each writes its number to
// crashKeys keys and appends an entry; a line on standard output acknowledges it.
func crashWrite(s *Local, w int) error {
	ctx := context.Background()
	last, r, err := crashState(ctx, s, w)
	if err != nil {
		return err
	}
	for n := last + 1; ; n++ {
		b := store.Batch{Conds: []store.Cond{{Key: crashKey(w, 0), Revision: r}}}
		for part := range crashKeys {
			b.Ops = append(b.Ops, store.Op{Key: crashKey(w, part), Value: binary.BigEndian.AppendUint64(nil, n)})
		}
		b.Ops = append(b.Ops, store.Op{Key: crashLog(w, n), Value: crashValue(w, n)})
		if r, err = s.Commit(ctx, b); err != nil {
			return err
		}
		line := fmt.Appendf(nil, "%d %d %d\n", w, n, r)
		if _, err := os.Stdout.Write(line); err != nil {
			return err
		}
	}
}

// crashValue is mostly short, sometimes long, and follows from its place.
func crashValue(w int, n uint64) []byte {
	size := 200 + int(n*31)%300
	if n%16 == 0 {
		size = 20_000
	}
	v := binary.BigEndian.AppendUint64([]byte{byte(w)}, n)
	return append(v, bytes.Repeat([]byte{byte(n)}, size)...)
}

// crashState reads a writer's newest number and checks that batches are whole.
func crashState(ctx context.Context, s *Local, w int) (n uint64, r store.Revision, err error) {
	err = s.View(ctx, func(tx store.Tx) error {
		for part := range crashKeys {
			i, err := tx.Get(crashKey(w, part))
			if errors.Is(err, store.ErrNotFound) && n == 0 {
				continue
			}
			if err != nil {
				return fmt.Errorf("part %d of writer %d: %w", part, w, err)
			}
			if got := binary.BigEndian.Uint64(i.Value); part > 0 && (got != n || i.Revision != r) {
				return fmt.Errorf("writer %d: part %d is of batch %d at %d, part 0 of %d at %d", w, part, got, i.Revision, n, r)
			}
			n, r = binary.BigEndian.Uint64(i.Value), i.Revision
		}
		return crashEntries(tx, w, n)
	})
	return n, r, err
}

// crashEntries checks that a writer's log has entries 1 to n.
func crashEntries(tx store.Tx, w int, n uint64) error {
	next := uint64(1)
	for i, err := range tx.Scan(store.Query{Prefix: fmt.Appendf(nil, "log/%02d/", w)}) {
		if err != nil {
			return err
		}
		if !bytes.Equal(i.Key, crashLog(w, next)) || !bytes.Equal(i.Value, crashValue(w, next)) {
			return fmt.Errorf("writer %d: entry %q where %d should be", w, i.Key, next)
		}
		next++
	}
	if next != n+1 {
		return fmt.Errorf("writer %d: %d entries, want %d", w, next-1, n)
	}
	return nil
}

// TestKill kills a process that commits, again and again, and in every other round
// sets Badger's folder back to a copy that was made while the process ran: more
// than a power cut may lose.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	rounds := 8
	if testing.Short() {
		rounds = 4
	}
	var acked [crashWriters]uint64
	total := 0
	for round := range rounds {
		setBack := round%2 == 1
		n, err := killRound(t, dir, setBack, &acked)
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		total += n
		// Most rounds leave it to the next child, so that the redo log grows.
		if round%4 == 3 || round == rounds-1 {
			checkAfterKill(t, dir, &acked)
		}
	}
	t.Logf("%d rounds, %d acknowledged batches, none lost", rounds, total)
	if total == 0 {
		t.Error("nothing was acknowledged")
	}
}

// killRound runs a child for some time and returns how many batches it acknowledged.
func killRound(t *testing.T, dir string, setBack bool, acked *[crashWriters]uint64) (int, error) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	kill := 100 + rand.IntN(1000) // acknowledgements
	backup := 1 + rand.IntN(kill)
	n := 0
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var w int
		var seq, r uint64
		if _, err := fmt.Sscan(lines.Text(), &w, &seq, &r); err != nil {
			continue // the kill cut the line off
		}
		acked[w] = max(acked[w], seq)
		if n++; n == backup && setBack {
			copyTorn(t, filepath.Join(dir, "db"), filepath.Join(dir, "old"))
		}
		if n == kill {
			time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond)
			_ = cmd.Process.Kill()
		}
	}
	if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() == 3 {
		return n, fmt.Errorf("the child ended by itself: %w", err)
	}
	if !setBack {
		return n, nil
	}
	return n, errors.Join(os.RemoveAll(filepath.Join(dir, "db")), os.Rename(filepath.Join(dir, "old"), filepath.Join(dir, "db")))
}

// copyTorn copies a folder while its files change. A table that the manifest names
// is on disk, so a copy that missed one is made again.
func copyTorn(t *testing.T, from, to string) {
	t.Helper()
	for range 100 {
		check(t, os.RemoveAll(to))
		check(t, os.MkdirAll(to, 0o700))
		copyFile(t, from, to, badger.ManifestFilename)
		entries, err := os.ReadDir(from)
		check(t, err)
		for _, e := range entries {
			if e.Name() != badger.ManifestFilename {
				copyFile(t, from, to, e.Name())
			}
		}
		if hasTables(t, to) {
			return
		}
	}
	t.Fatal("no copy has all tables")
}

// copyFile copies a file if it exists, and leaves out zeros at its end.
func copyFile(t *testing.T, from, to, name string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(from, name))
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	check(t, err)
	path := filepath.Join(to, name)
	check(t, os.WriteFile(path, bytes.TrimRight(b, "\x00"), 0o600))
	check(t, os.Truncate(path, int64(len(b))))
}

func hasTables(t *testing.T, dir string) bool {
	t.Helper()
	for id := range tables(t, dir) {
		if _, err := os.Stat(table.NewFilename(id, dir)); err != nil {
			return false
		}
	}
	return true
}

// tables are those that the manifest names, if there is one.
func tables(t *testing.T, dir string) map[uint64]badger.TableManifest {
	t.Helper()
	m, err := manifest(badger.DefaultOptions(dir))
	check(t, err)
	return m.Tables
}

// checkAfterKill opens the store and looks for what was acknowledged.
func checkAfterKill(t *testing.T, dir string, acked *[crashWriters]uint64) {
	t.Helper()
	s := open(t, Options{Dir: dir, Edge: true, MinFree: 1})
	defer func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}()
	for w := range acked {
		n, r, err := crashState(t.Context(), s, w)
		if err != nil {
			t.Fatal(err)
		}
		if n < acked[w] {
			t.Fatalf("writer %d has %d batches, and %d were acknowledged", w, n, acked[w])
		}
		if head := s.Stats().Revision; r > head {
			t.Fatalf("an item has revision %d and the store %d", r, head)
		}
	}
	if _, err := s.Commit(t.Context(), store.Batch{Ops: []store.Op{{Key: []byte("after"), Value: []byte("x")}}}); err != nil {
		t.Errorf("commit after a crash: %v", err)
	}
}
