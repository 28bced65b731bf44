package webhook

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/store"
)

var (
	secret = bytes.Repeat([]byte{7}, 32)
	noon   = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
)

func notice(id string) host.Notice {
	return host.Notice{ID: id, Type: host.NoticeFailed, Time: noon, Tenant: "t", Session: "s1", Agent: "a", Turn: 3, Reason: "it broke"}
}

func TestNew(t *testing.T) {
	keys := [][]byte{secret}
	for _, test := range []struct {
		endpoint Endpoint
		want     string // "" is accepted
	}{
		{Endpoint{Name: "ops", URL: "https://ops.example/hook?x=1", Secrets: keys}, ""},
		{Endpoint{Name: "ops", URL: "https://8.8.8.8:8443/", Secrets: [][]byte{secret, make([]byte, 24)}, On: []host.NoticeType{host.NoticeFailed}}, ""},
		{Endpoint{Name: "ops", URL: "http://127.0.0.1:9000/", Secrets: keys, Private: true}, ""},
		{Endpoint{Name: "ops", URL: "http://localhost/", Secrets: keys, Private: true}, ""},
		{Endpoint{Name: "ops", URL: "https://169.254.1.1/", Secrets: keys, Private: true}, ""},
		{Endpoint{Name: "Ops", URL: "https://ops.example/", Secrets: keys}, "name"},
		{Endpoint{Name: "a/b", URL: "https://ops.example/", Secrets: keys}, "name"},
		{Endpoint{Name: "ops", URL: "https://ops.example/"}, "secret"},
		{Endpoint{Name: "ops", URL: "https://ops.example/", Secrets: [][]byte{secret, make([]byte, 23)}}, "23 bytes"},
		{Endpoint{Name: "ops", URL: "https://ops.example/", Secrets: keys, On: []host.NoticeType{"done"}}, "done"},
		{Endpoint{Name: "ops", URL: "", Secrets: keys}, "URL"},
		{Endpoint{Name: "ops", URL: "https:hidden", Secrets: keys}, "URL"},
		{Endpoint{Name: "ops", URL: "https://hidden\x00/", Secrets: keys}, "URL"},
		{Endpoint{Name: "ops", URL: "https://u:hidden@ops.example/", Secrets: keys}, "password"},
		{Endpoint{Name: "ops", URL: "ftp://ops.example/hidden", Secrets: keys}, "https"},
		{Endpoint{Name: "ops", URL: "http://ops.example/hidden", Secrets: keys}, "in the clear"},
		{Endpoint{Name: "ops", URL: "http://8.8.8.8/hidden", Secrets: keys, Private: true}, "in the clear"},
		{Endpoint{Name: "ops", URL: "https://127.0.0.1/hidden", Secrets: keys}, "not a public address"},
		{Endpoint{Name: "ops", URL: "https://[::ffff:169.254.169.254]/hidden", Secrets: keys}, "not a public address"},
		{Endpoint{Name: "ops", URL: "https://[64:ff9b::7f00:1]/hidden", Secrets: keys, Private: true}, "neither"},
		{Endpoint{Name: "ops", URL: "https://[fe80::1%25eth0]/hidden", Secrets: keys, Private: true}, "zone"},
	} {
		_, err := New(Options{Store: newMemory(), Now: time.Now, Endpoints: []Endpoint{test.endpoint}})
		switch {
		case test.want == "" && err != nil:
			t.Errorf("%s: %v", test.endpoint.URL, err)
		case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), `"`+test.endpoint.Name+`"`)):
			t.Errorf("%s: got %v, want the name and %q", test.endpoint.URL, err, test.want)
		case err != nil && strings.Contains(err.Error(), "hidden"):
			t.Errorf("the error repeats the URL: %v", err)
		}
	}
	twice := Endpoint{Name: "ops", URL: "https://ops.example/", Secrets: keys}
	if _, err := New(Options{Endpoints: []Endpoint{twice, twice}}); err == nil || !strings.Contains(err.Error(), "two of this name") {
		t.Errorf("two of one name: %v", err)
	}
}

func TestOps(t *testing.T) {
	s, err := New(Options{Store: newMemory(), Now: time.Now, Endpoints: []Endpoint{
		{Name: "all", URL: "https://a.example/", Secrets: [][]byte{secret}},
		{Name: "some", URL: "https://b.example/", Secrets: [][]byte{secret}, On: []host.NoticeType{host.NoticeWaiting, host.NoticeParked}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	for kind, want := range map[host.NoticeType]int{host.NoticeFailed: 1, host.NoticeWaiting: 2, host.NoticeParked: 2, host.NoticeUnknown: 1} {
		n := notice("n1")
		n.Type = kind
		ops, err := s.Ops(n)
		if err != nil || len(ops) != want {
			t.Errorf("%s is queued %d times, want %d (%v)", kind, len(ops), want, err)
		}
		again, err := s.Ops(n)
		if diff := cmp.Diff(ops, again); diff != "" || err != nil {
			t.Errorf("the same notice gives other ops: %s %v", diff, err)
		}
	}
	for _, id := range []string{"", "a.b", "a b", "é", "a\n", strings.Repeat("a", 201)} {
		if ops, err := s.Ops(notice(id)); err == nil {
			t.Errorf("the id %q is queued: %v", id, ops)
		}
	}
	if _, err := s.Ops(host.Notice{ID: "n1", Type: host.NoticeFailed}); err == nil {
		t.Error("a notice without a time is queued")
	}
}

func TestBody(t *testing.T) {
	n := notice("n1")
	n.Time = noon.In(time.FixedZone("", 3600))
	n.Waiting = []abi.Wait{{Type: abi.EventSignal, Name: "paid"}}
	got, err := bodyOf(n)
	const want = `{"type":"session.failed","timestamp":"2026-03-01T12:00:00Z","data":{"id":"n1","type":"failed",` +
		`"time":"2026-03-01T12:00:00Z","tenant":"t","session":"s1","agent":"a","turn":3,"waiting":[{"type":"signal","name":"paid"}],"reason":"it broke"}}`
	if err != nil || got != want {
		t.Errorf("got  %s\nwant %s (%v)", got, want, err)
	}
	n.Reason = strings.Repeat("ä", 1<<20)
	for range 1000 {
		n.Waiting = append(n.Waiting, abi.Wait{Type: abi.EventSignal, Name: strings.Repeat("\x01", 1000)})
	}
	got, err = bodyOf(n)
	if len(got) > 48<<10 || err != nil || !json.Valid([]byte(got)) || strings.ContainsRune(got, '\uFFFD') {
		t.Errorf("the body has %d bytes (%v)", len(got), err)
	}
	if n.Waiting[999].Name != strings.Repeat("\x01", 1000) {
		t.Error("the caller's notice was changed")
	}
}

func TestRecord(t *testing.T) {
	r := record{endpoint: "ops", due: time.Unix(0, 1_700_000_000_123_456_789), id: "s/1", Failed: 2, Session: "s", Body: `{"a":"<b>"}`}
	op, err := r.op()
	if err != nil {
		t.Fatal(err)
	}
	if want := "webhook/ops/17979cfe3d85cd15/s/1"; string(op.Key) != want {
		t.Errorf("the key is %s, want %s", op.Key, want)
	}
	got, err := decode(store.Item{Key: op.Key, Value: op.Value})
	if err != nil || !got.due.Equal(r.due) {
		t.Fatalf("it is due at %v, want %v (%v)", got.due, r.due, err)
	}
	got.due = r.due
	if got != r {
		t.Errorf("got %+v, want %+v", got, r)
	}
	if endpointOf(op.Key) != "ops" {
		t.Errorf("the endpoint of %s is %s", op.Key, endpointOf(op.Key))
	}
}

func FuzzDecode(f *testing.F) {
	r := record{endpoint: "ops", due: noon, id: "n1", Body: "{}"}
	op, _ := r.op()
	f.Add(op.Key, op.Value)
	f.Add([]byte("webhook/ops/ffffffffffffffff/n1"), []byte(`{"body":"x"}`))
	f.Add([]byte("webhook/ops/7fffffffffffffff/n/1"), []byte(`{"body":"x","failed":-1}`))
	f.Add([]byte("webhook//"), []byte(`{"failed":99,"body":1}`))
	f.Fuzz(func(t *testing.T, key, value []byte) {
		r, err := decode(store.Item{Key: key, Value: value, Revision: 4})
		if err != nil {
			return
		}
		op, err := r.op()
		if err != nil || !bytes.Equal(op.Key, key) {
			t.Fatalf("read from %q, written to %q (%v)", key, op.Key, err)
		}
		again, err := decode(store.Item{Key: op.Key, Value: op.Value, Revision: 4})
		if err != nil || again != r {
			t.Fatalf("read %+v, then %+v (%v)", r, again, err)
		}
		if r.Failed > len(schedule) {
			t.Fatalf("%d failures are beyond the schedule", r.Failed)
		}
	})
}
