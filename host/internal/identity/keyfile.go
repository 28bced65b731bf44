package identity

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

const pemType = "PRIVATE KEY"

// LoadOrCreate reads the keys of a Signer from a file, or makes one where there is no
// file. It holds Ed25519 keys in PEM (PKCS #8). The first one signs, the others are
// published, so a new key is put in front of the old one:
//
//	(umask 077; (openssl genpkey -algorithm ed25519; cat FILE) > new && mv new FILE)
//
// and the old one removed when no token of it is worth something, minutes later.
func LoadOrCreate(path string) ([]ed25519.PrivateKey, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return create(path)
	}
	if err != nil {
		return nil, fmt.Errorf("read the signing keys: %w", err)
	}
	keys, err := parseKeyFile(data)
	if err != nil {
		return nil, fmt.Errorf("read the signing keys: %s: %w; restore it from a backup, or remove it to have a new key made", path, err)
	}
	return keys, nil
}

func parseKeyFile(data []byte) ([]ed25519.PrivateKey, error) {
	var keys []ed25519.PrivateKey
	for {
		block, rest := pem.Decode(data)
		if block == nil {
			break
		}
		key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			return nil, err
		}
		k, ok := key.(ed25519.PrivateKey)
		if !ok {
			return nil, fmt.Errorf("it holds a key of the type %T, not Ed25519", key)
		}
		keys, data = append(keys, k), rest
	}
	if len(keys) == 0 || len(bytes.TrimSpace(data)) > 0 {
		return nil, errors.New("it is not a list of private keys in PEM")
	}
	return keys, nil
}

func create(path string) ([]ed25519.PrivateKey, error) {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, fmt.Errorf("make a signing key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("make a signing key: %w", err)
	}
	if err := writeWhole(path, pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der})); err != nil {
		return nil, fmt.Errorf("make a signing key: %w", err)
	}
	return []ed25519.PrivateKey{key}, nil
}

// writeWhole writes a file that only its owner can read, so that a crash leaves all of it
// or nothing.
func writeWhole(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncFolder(filepath.Dir(path))
}

func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
