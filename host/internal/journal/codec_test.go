package journal

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/host"
)

func FuzzEntry(f *testing.F) {
	e := host.Entry{Seq: 7, Epoch: 2, Fence: 3, Time: time.Unix(5, 6).UTC(), Kind: host.EntryResult, Turn: 4, Path: "4/1", Body: []byte(`{}`), Digest: "d", Sealed: []byte("s")}
	f.Add(encode(&e))
	f.Add([]byte{})
	f.Add([]byte{codecVersion, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := decode(b)
		if err != nil {
			return
		}
		again, err := decode(encode(&e))
		if d := cmp.Diff(e, again); err != nil || d != "" {
			t.Fatalf("%v %s", err, d)
		}
	})
}

func TestCodecRefusesEveryChange(t *testing.T) {
	e := host.Entry{Seq: 7, Time: time.Unix(5, 6).UTC(), Kind: host.EntryIntent, Path: "4/1", Body: []byte(`{"a":1}`)}
	good := encode(&e)
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
