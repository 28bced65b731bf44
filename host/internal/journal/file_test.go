package journal

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/vespiary/vespiary/host"
)

const (
	goodHead = `{"version":1,"session":"s","hash_key":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}`
	goodOpen = `{"seq":1,"fence":1,"time":"2026-01-02T03:04:05Z","kind":"open","body":{"session":{"id":"s"},"seed":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}}`
)

var fast = sync.OnceValue(func() *zstd.Encoder {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(1<<16), zstd.WithEncoderConcurrency(1))
	if err != nil {
		panic(err)
	}
	return e
})

// fileOf is a file with these lines, whose frames and digest are right.
func fileOf(count uint64, lines string) []byte {
	b := fast().EncodeAll([]byte(lines), frame([]byte(fileMagic)))
	trailer := binary.LittleEndian.AppendUint64(nil, count)
	b = append(b, frame(append(trailer, make([]byte, 32)...))...)
	b = b[:len(b)-32]
	root := sha256.Sum256(b)
	return append(b, root[:]...)
}

func TestFilesThatSayTooMuchAreRefused(t *testing.T) {
	entry := func(old, new string) string {
		return strings.Replace(`{"seq":2,"fence":1,"time":"2026-01-02T03:04:06Z","kind":"k","turn":1,"body":{},"payload":"x"}`, old, new, 1)
	}
	good := goodHead + "\n" + goodOpen + "\n"
	if sum, err := VerifyExport(bytes.NewReader(fileOf(2, good+entry("", "")+"\n"))); err != nil || sum.Entries != 2 {
		t.Fatalf("a good file: %+v, %v", sum, err)
	}
	for name, c := range map[string]struct {
		lines string
		count uint64
	}{
		"count":          {good, 2},
		"no entries":     {goodHead + "\n", 0},
		"no head":        {"", 0},
		"no open":        {goodHead + "\n" + entry("", "") + "\n", 1},
		"version":        {strings.Replace(good, `"version":1`, `"version":2`, 1), 1},
		"hash key":       {strings.Replace(good, `AAAA`, ``, 1), 1},
		"seed":           {strings.Replace(good, `"seed":"AAAA`, `"seed":"`, 1), 1},
		"no end of line": {good + entry("", ""), 2},
		"no JSON":        {good + "{\n", 2},
		"empty line":     {good + "\n", 2},
		"order":          {good + entry(`"seq":2`, `"seq":1`) + "\n", 2},
		"twice":          {good + entry("", "") + "\n" + entry("", "") + "\n", 3},
		"seq":            {good + entry(`"seq":2`, `"seq":18446744073709551615`) + "\n", 2},
		"time":           {good + entry("2026", "2500") + "\n", 2},
		"epoch":          {good + entry(`"fence"`, `"epoch":4294967295,"fence"`) + "\n", 2},
		"turn":           {good + entry(`"turn":1`, `"turn":-1`) + "\n", 2},
		"kind":           {good + entry(`"k"`, `""`) + "\n", 2},
		"path":           {good + entry(`"turn"`, `"path":"`+strings.Repeat("1", maxWord+1)+`","turn"`) + "\n", 2},
		"body":           {good + entry(`,"body":{}`, "") + "\n", 2},
		"long body":      {good + entry(`{}`, `"`+strings.Repeat("x", maxBody)+`"`) + "\n", 2},
		"payload":        {good + entry(`"x"`, `"`+strings.Repeat("x", host.MaxPayload+1)+`"`) + "\n", 2},
		"two payloads":   {good + entry(`"x"`, `"x","payload_base64":"AAAA"`) + "\n", 2},
		"line":           {good + strings.Repeat(" ", maxLine+1) + entry("", "") + "\n", 2},
	} {
		if _, err := VerifyExport(bytes.NewReader(fileOf(c.count, c.lines))); !errors.Is(err, errFile) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzExport reads bytes as a whole file, and as the lines of one whose digest is right.
func FuzzExport(f *testing.F) {
	f.Add(fileOf(1, goodHead+"\n"+goodOpen+"\n"))
	f.Add([]byte(goodHead + "\n" + goodOpen + "\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if sum, err := VerifyExport(bytes.NewReader(b)); err == nil && sum.Entries == 0 {
			t.Error("a file without entries is good")
		}
		sum, err := VerifyExport(bytes.NewReader(fileOf(uint64(max(0, bytes.Count(b, []byte("\n"))-1)), string(b))))
		if err == nil && (sum.Entries == 0 || len(sum.Open.Seed) != seedSize) {
			t.Errorf("taken: %+v", sum)
		}
	})
}

// TestFilesAreReadableWithoutThisProgram decompresses a file as any zstd does.
func TestFilesAreReadableWithoutThisProgram(t *testing.T) {
	var b bytes.Buffer
	f, err := newFileWriter(&b, fileHead{Session: "s", HashKey: make([]byte, keySize)})
	if err != nil {
		t.Fatal(err)
	}
	e := host.Entry{Seq: 1, Time: time.Unix(1, 0).UTC(), Kind: host.EntryOpen, Body: []byte(`{"seed":"<&>"}`)}
	for _, payload := range []string{"plain\u2028 \"text\"", "\xff", strings.Repeat("\x01", 100)} {
		if err := f.add(e, []byte(payload)); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.close(); err != nil {
		t.Fatal(err)
	}
	d, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	got, err := d.DecodeAll(b.Bytes(), nil)
	want := `{"version":1,"session":"s","hash_key":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}
{"seq":1,"fence":0,"time":"1970-01-01T00:00:01Z","kind":"open","body":{"seed":"<&>"},"payload":"plain\u2028 \"text\""}
{"seq":1,"fence":0,"time":"1970-01-01T00:00:01Z","kind":"open","body":{"seed":"<&>"},"payload_base64":"/w=="}
`
	if err != nil || !strings.HasPrefix(string(got), want) || !strings.Contains(string(got[len(want):]), `"payload_base64":"AQEB`) {
		t.Errorf("%v\n%s", err, got)
	}
}
