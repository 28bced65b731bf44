package journal

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/host"
)

// unchainedEntry is an entry as it was written before there was a chain: number 7, open.
var unchainedEntry = []byte("\x01\x07\x02\x03\x0c\x04\vcall.result\x034/1\x02{}\x01d\x01s")

func FuzzEntry(f *testing.F) {
	e := host.Entry{Seq: 7, Epoch: 2, Fence: 3, Time: time.Unix(5, 6).UTC(), Kind: host.EntryResult, Turn: 4, Path: "4/1", Body: []byte(`{}`), Digest: "d", Sealed: []byte("s")}
	b, _ := encode(&e, link{1})
	f.Add(b)
	f.Add(sealOld(unchainedEntry))
	f.Add([]byte{})
	f.Add([]byte{chained, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decode(b)
		if err != nil {
			return
		}
		b, _ = encode(&r.Entry, link{})
		again, err := decode(b)
		if d := cmp.Diff(r.Entry, again.Entry); err != nil || d != "" {
			t.Fatalf("%v %s", err, d)
		}
	})
}

func TestCodecRefusesEveryChange(t *testing.T) {
	e := host.Entry{Seq: 7, Time: time.Unix(5, 6).UTC(), Kind: host.EntryIntent, Path: "4/1", Body: []byte(`{"a":1}`)}
	good, _ := encode(&e, link{})
	for i := range good {
		bad := append([]byte(nil), good...)
		bad[i] ^= 0x40
		if _, err := decode(bad); err == nil {
			t.Errorf("byte %d may change unnoticed", i)
		}
		if _, err := decode(good[:i]); err == nil {
			t.Errorf("the entry may end at byte %d", i)
		}
	}
}

func TestEntriesWithoutAChainAreRead(t *testing.T) {
	got, err := decode(sealOld(unchainedEntry))
	want := host.Entry{Seq: 7, Epoch: 2, Fence: 3, Time: time.Unix(0, 6).UTC(), Kind: host.EntryResult, Turn: 4, Path: "4/1", Body: []byte(`{}`), Digest: "d", Sealed: []byte("s")}
	if d := cmp.Diff(want, got.Entry); err != nil || d != "" || got.chained {
		t.Errorf("%v %v\n%s", err, got.chained, d)
	}
}
