package app_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/app"
	"github.com/vespiary/vespiary/host/internal/config"
	"github.com/vespiary/vespiary/registry"
)

// shelved is a data folder with two modules, and its backup.
func shelved(t *testing.T) (data string, digests []registry.Digest, backup []byte) {
	t.Helper()
	data = t.TempDir()
	kept := modules(t, data)
	for _, name := range []string{"one", "two"} {
		d, err := kept.Put(t.Context(), "", []byte("\x00asm"+name), "test")
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, d)
	}
	put(t, filepath.Join(data, "modules", string(digests[0])[7:9], ".new-1"), "half a module")
	return data, digests, backUp(t, data)
}

func modules(t *testing.T, data string) *registry.Registry {
	t.Helper()
	kept, err := registry.New(registry.Options{Dir: filepath.Join(data, "modules"), Tenant: host.DefaultTenant, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	return kept
}

func backUp(t *testing.T, data string) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := (app.App{}).Backup(t.Context(), &config.Config{Data: data}, &b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// refused makes sure that a backup is taken for what it is, and that nothing comes of it.
func refused(t *testing.T, backup []byte, want string) {
	t.Helper()
	if _, err := (app.App{}).VerifyBackup(t.Context(), bytes.NewReader(backup)); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("verifying: %v, want %s", err, want)
	}
	data := t.TempDir()
	_, err := (app.App{}).Restore(t.Context(), &config.Config{Data: data}, bytes.NewReader(backup))
	if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
		t.Errorf("restoring: %v, want %s", err, want)
	}
	if all, _ := filepath.Glob(filepath.Join(data, "store*")); all != nil {
		t.Errorf("it left %s", all)
	}
}

// TestBackupIsWhole cuts a backup at the ends of its parts, where it looks like one.
func TestBackupIsWhole(t *testing.T) {
	_, digests, backup := shelved(t)
	var cuts []int
	in := bytes.NewReader(backup)
	for parts := tar.NewReader(in); ; {
		if _, err := parts.Next(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		cuts = append(cuts, len(backup)-in.Len()-512) // before its header
	}
	if len(cuts) != 1+len(digests) {
		t.Fatalf("%d parts, want the store and two modules", len(cuts))
	}
	for _, n := range append(cuts, len(backup)-1024, len(backup)-512) {
		refused(t, backup[:n], "cut off")
	}
	data := t.TempDir()
	if _, err := (app.App{}).Restore(t.Context(), &config.Config{Data: data}, bytes.NewReader(backup)); err != nil {
		t.Fatal(err)
	}
	for _, d := range digests {
		if _, err := modules(t, data).Bytes(t.Context(), d); err != nil {
			t.Error(err)
		}
	}
}

// TestDamagedModule backs up a host on whose disk a module went bad.
func TestDamagedModule(t *testing.T) {
	data, digests, _ := shelved(t)
	sum := string(digests[1])[7:]
	if err := os.WriteFile(filepath.Join(data, "modules", sum[:2], sum+".wasm"), []byte("\x00asmtw"), 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, backUp(t, data), "install it again")
}

// TestForeignParts puts into a backup what no host does.
func TestForeignParts(t *testing.T) {
	_, digests, backup := shelved(t)
	sum := string(digests[0])[7:]
	for _, h := range []tar.Header{
		{Name: "modules/../../evil", Typeflag: tar.TypeReg},
		{Name: "modules/" + sum[:2] + "/../" + sum + ".wasm", Typeflag: tar.TypeReg},
		{Name: "/modules/" + sum[:2] + "/" + sum + ".wasm", Typeflag: tar.TypeReg},
		{Name: "modules/" + sum[:2] + "/" + sum + ".wasm", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"},
		{Name: "modules/", Typeflag: tar.TypeDir},
		{Name: "store.backup", Typeflag: tar.TypeReg},
	} {
		var b bytes.Buffer
		b.Write(backup[:len(backup)-1024])
		w := tar.NewWriter(&b)
		if err := errors.Join(w.WriteHeader(&h), w.Close()); err != nil {
			t.Fatal(err)
		}
		refused(t, b.Bytes(), "no host puts there")
	}
}
