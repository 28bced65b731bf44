package file

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/store"
)

// op is what a record does to its file.
type op string

const (
	opReplace op = "replace" // the file is this content
	opAppend  op = "append"  // this content comes after what was there
	opRemove  op = "remove"  // there is no file; kept only while an earlier write may still commit
)

// record is one write, or several that were merged.
type record struct {
	Op       op        `json:"op"`
	Size     int64     `json:"size,omitempty"`
	Digest   string    `json:"digest,omitempty"` // of the content; empty for none
	Version  int64     `json:"version,omitempty"`
	Writes   int64     `json:"writes,omitempty"` // of append: how many were merged
	Turn     int       `json:"turn"`
	Modified time.Time `json:"modified"`

	stamp uint64 // from the key
}

// A workspace's keys: "file/", tenant, session and path with "/" between them, a NUL
// and the stamp. No path holds a NUL, so all records of a file stand together.
func workspaceKey(tenant, session string) []byte {
	return []byte("file/" + tenant + "/" + session + "/")
}

func below(run *host.Run, path string) []byte {
	k := append(workspaceKey(run.Tenant, run.Session), path...)
	if path != "" {
		k = append(k, '/')
	}
	return k
}

func fileKey(run *host.Run, path string) []byte {
	return append(append(workspaceKey(run.Tenant, run.Session), path...), 0)
}

func recordKey(run *host.Run, path string, stamp uint64) []byte {
	return binary.BigEndian.AppendUint64(fileKey(run, path), stamp)
}

const stampLen = 8

func decodeRecord(item store.Item) (record, error) {
	var r record
	if err := json.Unmarshal(item.Value, &r); err != nil {
		return r, fmt.Errorf("file: record %q: %w", item.Key, err)
	}
	r.stamp = binary.BigEndian.Uint64(item.Key[len(item.Key)-stampLen:])
	return r, nil
}

func (r record) put(run *host.Run, path string) (store.Op, error) {
	b, err := json.Marshal(r)
	return store.Op{Key: recordKey(run, path, r.stamp), Value: b}, err
}

// state is a file as its records make it.
type state struct {
	path    string
	records []record // all, in the order of their stamps
	pieces  []record // those that make the content
	exists  bool
	size    int64
	version int64
}

func (s *state) take(r record) {
	s.records = append(s.records, r)
	switch r.Op {
	case opReplace:
		s.exists, s.pieces, s.size, s.version = true, []record{r}, r.Size, r.Version
	case opAppend:
		s.exists, s.size, s.version = true, s.size+r.Size, s.version+max(1, r.Writes)
		s.pieces = append(s.pieces, r)
	case opRemove:
		s.exists, s.pieces, s.size, s.version = false, nil, 0, 0
	}
}

func (s *state) last() uint64 {
	if len(s.records) == 0 {
		return 0
	}
	return s.records[len(s.records)-1].stamp
}

func (s *state) info() abi.FileInfo {
	out := abi.FileInfo{Path: s.path, Size: s.size, Version: s.version}
	if len(s.records) > 0 {
		out.Modified = s.records[len(s.records)-1].Modified
	}
	return out
}
