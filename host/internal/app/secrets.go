package app

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// masterKey reads the key that all others in the data folder are wrapped under, and
// makes it when the folder is new.
func masterKey(data string) ([]byte, error) {
	path := filepath.Join(data, "master.key")
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return newMasterKey(data, path)
	}
	if err != nil {
		return nil, fmt.Errorf("read the master key: %w", err)
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(b)))
	if err != nil || len(key) != 32 {
		return nil, fmt.Errorf("read the master key: %s does not hold 64 hexadecimal digits; restore it from a backup", path)
	}
	return key, nil
}

// newMasterKey refuses a folder that has data already: a new key could not read it.
func newMasterKey(data, path string) ([]byte, error) {
	if _, err := os.Stat(filepath.Join(data, "store")); err == nil {
		return nil, fmt.Errorf("read the master key: %s is missing although the folder holds data that needs it; restore it from a backup", path)
	}
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	if err := os.MkdirAll(data, 0o700); err != nil {
		return nil, err
	}
	return key, writeSecret(path, []byte(hex.EncodeToString(key)+"\n"))
}

// writeSecret writes a new file that only its owner can read, durably.
func writeSecret(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Sync(), f.Close())
}
