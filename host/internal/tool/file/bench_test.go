package file

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/journal"
	"github.com/vespiary/vespiary/host/internal/store"
)

// bench is a real store with the journal of one session, and the files in it.
type bench struct {
	t        testing.TB
	store    *store.Local
	journals *journal.Journals
	log      *journal.Log
	files    *Files
	folders  map[string]string
	root     *host.Run
}

var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func newBench(tb testing.TB, opt Options) *bench {
	tb.Helper()
	s, err := store.Open(context.Background(), store.Options{Dir: tb.TempDir(), Edge: true, MinFree: 1})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = s.Close() })
	keys, err := journal.NewKeys(s, bytes.Repeat([]byte{7}, 32))
	if err != nil {
		tb.Fatal(err)
	}
	b := &bench{t: tb, store: s, journals: journal.New(s, keys, journal.Options{Now: time.Now})}
	if b.log, err = b.journals.Create(context.Background(), host.Open{Session: host.Session{ID: "S1", Tenant: "home", Owner: "owner"}}); err != nil {
		tb.Fatal(err)
	}
	opt.Store, opt.Blobs, opt.Now = s, b.journals, func() time.Time { return noon }
	b.files = New(opt)
	b.turn(1)
	return b
}

// turn begins a turn: what came before has committed.
func (b *bench) turn(n int) {
	b.t.Helper()
	b.commit()
	b.root = &host.Run{Tenant: "home", Session: "S1", Agent: &host.Agent{Name: "a", Folders: b.folders}, Turn: n}
}

// crash loses what has not committed, and begins the turn anew.
func (b *bench) crash() {
	b.t.Helper()
	b.log.Close()
	var err error
	if b.log, err = b.journals.Acquire(context.Background(), "home", "S1"); err != nil {
		b.t.Fatal(err)
	}
	root := *b.root
	b.root = &root
}

func (b *bench) commit() {
	b.t.Helper()
	if err := b.log.Commit(context.Background()); err != nil {
		b.t.Fatal(err)
	}
}

// perform takes a call through both steps; what it wrote is not recorded yet.
func (b *bench) perform(name string, request any) (host.Output, error) {
	b.t.Helper()
	raw, err := json.Marshal(request)
	if err != nil {
		b.t.Fatal(err)
	}
	c := &host.Call{Run: b.root, Name: name, Request: raw, Attempt: 1, Settle: b.log.Commit}
	k := b.files.Capabilities()[name]
	if c.Class, err = k.Classify(context.Background(), c); err != nil {
		return host.Output{}, err
	}
	return k.Perform(context.Background(), c)
}

// record does what the gate does with the output of a call.
func (b *bench) record(out host.Output) {
	b.t.Helper()
	e := host.Entry{Kind: host.EntryResult, Turn: b.root.Turn, Path: "1/1"}
	if _, err := b.log.Append(context.Background(), e, struct{}{}, out.OK, out.Ops...); err != nil {
		b.t.Fatal(err)
	}
}

func do[R any](b *bench, name string, request any) (R, error) {
	b.t.Helper()
	var r R
	out, err := b.perform(name, request)
	if err != nil {
		return r, err
	}
	b.record(out)
	if err := json.Unmarshal(out.OK, &r); err != nil {
		b.t.Fatal(err)
	}
	return r, nil
}

func (b *bench) write(in abi.FileWrite) (abi.FileInfo, error) {
	b.t.Helper()
	return do[abi.FileInfo](b, abi.CallFileWrite, in)
}

func (b *bench) mustWrite(in abi.FileWrite) abi.FileInfo {
	b.t.Helper()
	info, err := b.write(in)
	if err != nil {
		b.t.Fatal(err)
	}
	return info
}

func (b *bench) read(in abi.FileRead) (abi.FileContent, error) {
	b.t.Helper()
	return do[abi.FileContent](b, abi.CallFileRead, in)
}

// text is all of a file.
func (b *bench) text(path string) string {
	b.t.Helper()
	got, err := b.read(abi.FileRead{Path: path})
	if err != nil {
		b.t.Fatalf("read %s: %v", path, err)
	}
	if !got.EOF || got.Size != int64(len(got.Text)) {
		b.t.Errorf("read %s: size %d, %d bytes, end %v", path, got.Size, len(got.Text), got.EOF)
	}
	return got.Text
}

// paths lists what there is, folders with a slash.
func (b *bench) paths(in abi.FileList) (out []string) {
	b.t.Helper()
	got, err := do[abi.FileListing](b, abi.CallFileList, in)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, f := range got.Files {
		p := f.Path
		if f.Folder {
			p += "/"
		}
		out = append(out, p)
	}
	if got.Truncated {
		out = append(out, "…")
	}
	return out
}

func code(t *testing.T, err error) abi.Code {
	t.Helper()
	e, ok := errors.AsType[*abi.Error](err)
	if !ok {
		t.Fatalf("error %v is no *abi.Error", err)
	}
	return e.Code
}

// parallel performs the writes at once and records them in the order of order.
func (b *bench) parallel(writes []abi.FileWrite, order []int) {
	b.t.Helper()
	outs, errs := make([]host.Output, len(writes)), make([]error, len(writes))
	var wg sync.WaitGroup
	for i, in := range writes {
		wg.Go(func() { outs[i], errs[i] = b.perform(abi.CallFileWrite, in) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		b.t.Fatal(err)
	}
	for _, i := range order {
		b.record(outs[i])
	}
}
