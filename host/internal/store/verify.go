package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/ristretto/v2/z"

	"github.com/vespiary/vespiary/host/store"
)

// verify reads the tables that Badger is about to open and returns the newest
// revision in them. Badger reads them in goroutines of its own, where damage ends
// the process, and later takes a block that it cannot read for the end of the
// table. quick leaves out the blocks.
func verify(o badger.Options, quick bool) (newest store.Revision, err error) {
	m, err := manifest(o)
	if err != nil {
		return 0, err
	}
	mode := options.OnTableRead
	if quick {
		mode = options.NoVerification
	}
	for id, t := range m.Tables {
		path := table.NewFilename(id, o.Dir)
		version, err := checkTable(path, table.Options{
			ReadOnly: true, BlockSize: o.BlockSize, Compression: t.Compression, ChkMode: mode,
		})
		if err != nil {
			return 0, fmt.Errorf("table %s is damaged: %w", path, err)
		}
		newest = max(newest, store.Revision(version))
	}
	return newest, nil
}

// manifest reads the list of tables. Badger would take a missing one for an empty
// database, and remove all tables.
func manifest(o badger.Options) (badger.Manifest, error) {
	path := filepath.Join(o.Dir, badger.ManifestFilename)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		for _, ext := range []string{"*.sst", "*.mem"} {
			if files, _ := filepath.Glob(filepath.Join(o.Dir, ext)); len(files) > 0 {
				return badger.Manifest{}, fmt.Errorf("%s is missing", path)
			}
		}
		return badger.Manifest{}, nil
	}
	if err != nil {
		return badger.Manifest{}, err
	}
	defer func() { _ = f.Close() }()
	m, _, err := badger.ReplayManifestFile(f, o.ExternalMagicVersion, o)
	if err != nil {
		return m, fmt.Errorf("%s is damaged: %w", path, err)
	}
	return m, nil
}

// sweep removes files of Badger that hold nothing and that a power cut can leave
// in a state that Badger does not open: value logs, because we have no values in
// them, and memtable logs without a header, because the redo log has their content.
func (s *Local) sweep(dir string) error {
	files, _ := filepath.Glob(filepath.Join(dir, "*.vlog"))
	if len(s.redoFiles()) > 0 {
		logs, _ := filepath.Glob(filepath.Join(dir, "*.mem"))
		for _, path := range logs {
			ok, err := hasHeader(path)
			if err != nil {
				return err
			}
			if !ok {
				s.opts.Log.Warn("memtable log has no header; its content is in the redo log", "file", path)
				files = append(files, path)
			}
		}
	}
	for _, path := range files {
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	return nil
}

// hasHeader tells whether a memtable log has a header for data that is not
// encrypted: a key id of 0 and an initial vector.
func hasHeader(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer func() { _ = f.Close() }()
	var head [20]byte
	switch _, err := io.ReadFull(f, head[:]); err {
	case io.EOF, io.ErrUnexpectedEOF:
		return false, nil
	default:
		return binary.BigEndian.Uint64(head[:8]) == 0, err
	}
}

// checkFooter checks the lengths at the end of a table. Badger exits on bad ones.
//
//	… | index | length of index 4 | checksum | length of checksum 4
func checkFooter(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
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

// checkTable opens a table on its own and returns its newest version.
func checkTable(path string, o table.Options) (version uint64, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("it cannot be read: %v", r)
		}
	}()
	if err := checkFooter(path); err != nil {
		return 0, err
	}
	m, err := z.OpenMmapFile(path, os.O_RDONLY, 0)
	if err != nil {
		return 0, err
	}
	t, err := table.OpenTable(m, o)
	if err != nil {
		return 0, err
	}
	return t.MaxVersion(), m.Close(-1)
}
