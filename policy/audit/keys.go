package audit

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/vespiary/vespiary/host/store"
)

// What the keys of the log begin with. A tenant and a chain hold no "/", and numbers are
// eight bytes, big endian, so that keys are in the order of what they name.
//
//	audit/r/<tenant>/<chain>/<n>   record, as canonical JSON
//	audit/q/<tenant>/<place>       record that is not in the tree yet: its hash
//	audit/i/<tenant>/<place>       record that is: its number there
//	audit/l/<tenant>/<number>      leaf of the tree: the record's hash and its place
//	audit/t/<tenant>/<block>       hashes of the tree, blockSize to a block
//	audit/c/<tenant>               the newest signed checkpoint
//
// A place is the time of a record, its chain, "/" and its number there. It is unique, and in
// the order of time.
const (
	records     = 'r'
	queue       = 'q'
	index       = 'i'
	leaves      = 'l'
	treeHashes  = 't'
	checkpoints = 'c'
)

const (
	maxName = 200 // bytes of a tenant or a chain
	number  = 8   // bytes
)

var errKey = errors.New("audit: malformed key")

// prefix returns the beginning of the keys of one kind and tenant.
func prefix(kind byte, tenant string) []byte {
	return appendPrefix(make([]byte, 0, 64+len(tenant)), kind, tenant)
}

func appendPrefix(dst []byte, kind byte, tenant string) []byte {
	return append(append(append(append(dst, "audit/"...), kind, '/'), tenant...), '/')
}

func recordPrefix(tenant, chain string) []byte {
	return append(append(prefix(records, tenant), chain...), '/')
}

func recordKey(tenant, chain string, n uint64) []byte {
	return binary.BigEndian.AppendUint64(recordPrefix(tenant, chain), n)
}

func numberKey(kind byte, tenant string, n int64) []byte {
	return binary.BigEndian.AppendUint64(prefix(kind, tenant), uint64(n)) //nolint:gosec // sizes of a tree are not negative
}

func checkpointKey(tenant string) []byte {
	k := prefix(checkpoints, tenant)
	return k[:len(k)-1]
}

// place names a record by time, chain and number.
type place struct {
	time  int64 // Unix nanoseconds
	chain string
	n     uint64
}

func (p place) append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(p.time)) //nolint:gosec // checkTime holds it to what is not negative
	dst = append(append(dst, p.chain...), '/')
	return binary.BigEndian.AppendUint64(dst, p.n)
}

func (p place) id() string { return recordID(p.chain, p.n) }

func (p place) key(kind byte, tenant string) []byte { return p.append(prefix(kind, tenant)) }

func parsePlace(b []byte) (place, error) {
	end := len(b) - number - 1
	if end <= number || b[end] != '/' {
		return place{}, errKey
	}
	at := binary.BigEndian.Uint64(b)
	n := binary.BigEndian.Uint64(b[end+1:])
	return place{int64(at), string(b[number:end]), n}, nil //nolint:gosec // the bits are what counts
}

// parseRecordKey returns the chain and the number that follow the prefix of a tenant.
func parseRecordKey(b []byte) (chain string, n uint64, err error) {
	end := len(b) - number - 1
	if end <= 0 || b[end] != '/' || bytes.IndexByte(b[:end], '/') >= 0 {
		return "", 0, errKey
	}
	return string(b[:end]), binary.BigEndian.Uint64(b[end+1:]), nil
}

func recordID(chain string, n uint64) string {
	var buf [maxName + 24]byte
	return string(strconv.AppendUint(append(append(buf[:0], chain...), '.'), n, 10))
}

// parseID returns what recordID made the id from.
func parseID(id string) (chain string, n uint64, err error) {
	i := strings.LastIndexByte(id, '.')
	if i > 0 {
		n, err = strconv.ParseUint(id[i+1:], 10, 64)
	}
	if i <= 0 || err != nil || recordID(id[:i], n) != id || checkName("chain", id[:i]) != nil {
		return "", 0, fmt.Errorf("audit: %q is no id of a record, which is a chain and a number: task.12: %w", id, store.ErrNotFound)
	}
	return id[:i], n, nil
}

// checkName refuses what cannot be a part of a key.
func checkName(what, s string) error {
	if s == "" || len(s) > maxName || strings.IndexByte(s, '/') >= 0 || !utf8.ValidString(s) {
		return fmt.Errorf(`audit: %q cannot be a %s: that is 1 to %d bytes of UTF-8 without "/"`, s, what, maxName)
	}
	return nil
}

// lastSecond is in the year 2242: UnixNano has no words for much later ones.
const lastSecond = 1 << 33

// checkTime refuses what UnixNano does not hold in the order of time.
func checkTime(t time.Time) error {
	if s := t.Unix(); s < 0 || s >= lastSecond {
		return fmt.Errorf("audit: the time of a record, %v, is not between 1970 and 2242", t)
	}
	return nil
}
