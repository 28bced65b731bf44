package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/ristretto/v2/z"
)

// verify reads the tables that Badger is about to open. Badger reads them in
// goroutines of its own, where damage ends the process, and later takes a block
// that it cannot read for the end of the table.
func verify(o badger.Options, footersOnly bool) error {
	f, err := os.Open(filepath.Join(o.Dir, badger.ManifestFilename))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	m, _, err := badger.ReplayManifestFile(f, o.ExternalMagicVersion, o)
	if err != nil {
		return fmt.Errorf("%s is damaged: %w", f.Name(), err)
	}
	for id, t := range m.Tables {
		path := table.NewFilename(id, o.Dir)
		err := checkFooter(path)
		if err == nil && !footersOnly {
			err = checkTable(path, table.Options{
				ReadOnly: true, BlockSize: o.BlockSize, Compression: t.Compression, ChkMode: options.OnTableRead,
			})
		}
		if err != nil {
			return fmt.Errorf("table %s is damaged: %w", path, err)
		}
	}
	return nil
}

// checkFooter checks the lengths at the end of a table. Badger exits on bad ones.
//
//	… | index | length of index 4 | checksum | length of checksum 4
func checkFooter(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	left := info.Size()
	for _, part := range []string{"checksum", "index"} {
		var b [4]byte
		if left -= 4; left < 0 {
			return errors.New("it is too short")
		}
		if _, err := f.ReadAt(b[:], left); err != nil {
			return err
		}
		if left -= int64(binary.BigEndian.Uint32(b[:])); left < 0 {
			return fmt.Errorf("its %s has no plausible length", part)
		}
	}
	return nil
}

// checkTable reads a table whole and checks all checksums.
func checkTable(path string, o table.Options) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	m, err := z.OpenMmapFile(path, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	if _, err := table.OpenTable(m, o); err != nil {
		return err
	}
	return m.Close(-1)
}
