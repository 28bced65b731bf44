package keys

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/store"
)

// memory is a store.Store that keeps its items in a map.
type memory struct {
	mu    sync.Mutex
	rev   store.Revision
	items map[string]store.Item
	reads int
	fail  error // of every call
}

func newMemory() *memory { return &memory{items: map[string]store.Item{}} }

func (m *memory) View(_ context.Context, fn func(store.Tx) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reads++
	if m.fail != nil {
		return m.fail
	}
	return fn(m)
}

func (m *memory) Get(key []byte) (store.Item, error) {
	it, ok := m.items[string(key)]
	if !ok {
		return it, store.ErrNotFound
	}
	return it, nil
}

func (m *memory) Scan(q store.Query) iter.Seq2[store.Item, error] {
	return func(yield func(store.Item, error) bool) {
		for key, it := range m.items {
			if strings.HasPrefix(key, string(q.Prefix)) && !yield(it, nil) {
				return
			}
		}
	}
}

func (m *memory) Commit(_ context.Context, b store.Batch) (store.Revision, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return 0, m.fail
	}
	for _, c := range b.Conds {
		if m.items[string(c.Key)].Revision != c.Revision {
			return 0, store.ErrConflict
		}
	}
	m.rev++
	for _, op := range b.Ops {
		m.items[string(op.Key)] = store.Item{Key: op.Key, Value: op.Value, Revision: m.rev}
	}
	return m.rev, nil
}

func (m *memory) Watch(context.Context, []byte) iter.Seq2[store.Change, error] { return nil }
func (m *memory) Close() error                                                 { return nil }

var world = host.Caller{Tenant: "default", User: "world", Name: "World"}

type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func setup(tb testing.TB) (*Keys, *memory, *clock) {
	tb.Helper()
	m, c := newMemory(), &clock{time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)}
	k, err := New(Options{Store: m, Now: c.now})
	if err != nil {
		tb.Fatal(err)
	}
	return k, m, c
}

func create(t *testing.T, k *Keys, c host.Caller, expires time.Time) (host.APIKey, string) {
	t.Helper()
	key, token, err := k.Create(t.Context(), c, host.APIKeySpec{Name: "laptop", Expires: expires})
	if err != nil {
		t.Fatal(err)
	}
	return key, token
}

func TestAuthenticate(t *testing.T) {
	k, m, _ := setup(t)
	key, token := create(t, k, world, time.Time{})
	got, err := k.Authenticate(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(host.Caller{Tenant: "default", User: "world", Name: "World", Key: key.ID, Via: host.ViaKey}, got); diff != "" {
		t.Error(diff)
	}
	_, other := create(t, k, host.Caller{Tenant: "other", User: "other"}, time.Time{})
	for name, wrong := range map[string]string{
		"empty": "", "short": token[:len(token)-1], "long": token + "0", "upper": strings.ToUpper(token),
		"last digit":   token[:len(token)-1] + string('0'+'1'-token[len(token)-1]&1),
		"other tenant": strings.Replace(token, "_default_", "_other_", 1),
		"other secret": token[:len(token)-52] + other[len(other)-52:],
		"unknown id":   "vsp_default_0000000000000000_" + token[len(token)-52:],
		"slash":        strings.Replace(token, "_default_", "_def/ult_", 1),
	} {
		if c, err := k.Authenticate(t.Context(), wrong); !errors.Is(err, errWrong) || !cmp.Equal(c, host.Caller{}) {
			t.Errorf("%s: %v, %v", name, c, err)
		}
	}
	for name, it := range m.items {
		secret := token[len(token)-52:]
		if strings.Contains(string(it.Value), secret) || !strings.HasPrefix(name, "key/") {
			t.Errorf("%s holds %s", name, it.Value)
		}
	}
}

func TestExpiry(t *testing.T) {
	k, _, c := setup(t)
	_, token := create(t, k, world, c.t.Add(time.Second))
	if _, err := k.Authenticate(t.Context(), token); err != nil {
		t.Error(err)
	}
	c.t = c.t.Add(time.Second) // and the record is still cached
	if _, err := k.Authenticate(t.Context(), token); !errors.Is(err, errWrong) {
		t.Errorf("an expired key: %v", err)
	}
}

func TestRevoke(t *testing.T) {
	k, m, c := setup(t)
	key, token := create(t, k, world, time.Time{})
	elsewhere, err := New(Options{Store: m, Now: c.now, Stale: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	valid := func(k *Keys) bool {
		_, err := k.Authenticate(t.Context(), token)
		return err == nil
	}
	if !valid(k) || !valid(elsewhere) {
		t.Fatal("a new key is not valid")
	}
	if _, err := k.Revoke(t.Context(), host.Caller{Tenant: "other"}, key.ID); host.CodeOf(err) != host.ErrNotFound {
		t.Errorf("revoked by another tenant: %v", err)
	}
	for range 2 { // the second changes nothing
		got, err := k.Revoke(t.Context(), world, key.ID)
		if err != nil || got.ID != key.ID || !got.Revoked.Equal(c.t) {
			t.Fatal(got, err)
		}
	}
	if valid(k) {
		t.Error("valid after its revocation")
	}
	c.t = c.t.Add(5 * time.Second)
	if valid(elsewhere) {
		t.Error("valid on another host after Stale")
	}
	list, err := k.List(t.Context(), world)
	if err != nil || len(list) != 1 || list[0].Revoked.IsZero() {
		t.Errorf("%v, %v", list, err)
	}
}

func TestCache(t *testing.T) {
	k, m, c := setup(t)
	_, token := create(t, k, world, time.Time{})
	for range 10 {
		if _, err := k.Authenticate(t.Context(), token); err != nil {
			t.Fatal(err)
		}
	}
	if m.reads != 1 {
		t.Errorf("%d reads, want 1", m.reads)
	}
	for i := range 10 {
		_, _ = k.Authenticate(t.Context(), "vsp_default_000000000000000"+string(rune('0'+i))+"_"+token[len(token)-52:])
	}
	if len(k.cache) != 1 {
		t.Errorf("%d records cached: guesses must not be", len(k.cache))
	}
	c.t = c.t.Add(5 * time.Second)
	m.fail = errors.New("the disk is gone")
	if _, err := k.Authenticate(t.Context(), token); host.CodeOf(err) != host.ErrUnavailable {
		t.Errorf("authenticated without a store: %v", err)
	}
}

func TestList(t *testing.T) {
	k, _, c := setup(t)
	var want []host.APIKey
	for range 5 {
		key, _ := create(t, k, world, time.Time{})
		want = append(want, key)
		c.t = c.t.Add(time.Second)
	}
	create(t, k, host.Caller{Tenant: "other", User: "other"}, time.Time{})
	got, err := k.List(t.Context(), world)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	b, err := json.Marshal(got[0])
	if err != nil || strings.Contains(string(b), "sha256") || strings.Contains(string(b), "expires") {
		t.Errorf("%s, %v", b, err)
	}
}

func TestCreateRefuses(t *testing.T) {
	k, m, c := setup(t)
	for name, bad := range map[string]struct {
		caller host.Caller
		spec   host.APIKeySpec
	}{
		"tenant":      {host.Caller{Tenant: "a/b", User: "x"}, host.APIKeySpec{Name: "n"}},
		"no one":      {host.Caller{Tenant: "default"}, host.APIKeySpec{Name: "n"}},
		"no name":     {world, host.APIKeySpec{}},
		"expired":     {world, host.APIKeySpec{Name: "n", Expires: c.t}},
		"nothing":     {world, host.APIKeySpec{Name: "n", Scopes: []string{}}},
		"blank scope": {world, host.APIKeySpec{Name: "n", Scopes: []string{"read", ""}}},
		"two in one":  {world, host.APIKeySpec{Name: "n", Scopes: []string{"read use"}}},
		"long name":   {world, host.APIKeySpec{Name: strings.Repeat("n", maxText+1)}},
		"hidden user": {world, host.APIKeySpec{Name: "n", User: "ad\u200bmin"}},
		"no text":     {world, host.APIKeySpec{Name: "n\xff"}},
		"many":        {world, host.APIKeySpec{Name: "n", Scopes: slices.Repeat([]string{"read"}, maxScopes+1)}},
	} {
		if _, _, err := k.Create(t.Context(), bad.caller, bad.spec); host.CodeOf(err) != host.ErrInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	m.fail = store.ErrFull
	if _, _, err := k.Create(t.Context(), world, host.APIKeySpec{Name: "n"}); host.CodeOf(err) != host.ErrFull {
		t.Errorf("full: %v", err)
	}
	k.Rand = iotest.ErrReader(errors.New("no entropy"))
	if _, _, err := k.Create(t.Context(), world, host.APIKeySpec{Name: "n"}); err == nil {
		t.Error("a key without randomness")
	}
}

// TestRevokeDuringRead has a read under way while the key is revoked: what it
// found must not be cached.
func TestRevokeDuringRead(t *testing.T) {
	k, m, _ := setup(t)
	key, token := create(t, k, world, time.Time{})
	slow := &slowStore{memory: m, read: make(chan struct{}), resume: make(chan struct{})}
	k.Store = slow
	done := make(chan error)
	go func() {
		_, err := k.Authenticate(t.Context(), token)
		done <- err
	}()
	<-slow.read
	k.Store = m
	if _, err := k.Revoke(t.Context(), world, key.ID); err != nil {
		t.Fatal(err)
	}
	close(slow.resume)
	if err := <-done; err != nil {
		t.Errorf("the read began before the revocation: %v", err)
	}
	if _, err := k.Authenticate(t.Context(), token); !errors.Is(err, errWrong) {
		t.Errorf("valid after its revocation: %v", err)
	}
}

// slowStore reads, and then waits.
type slowStore struct {
	*memory
	read, resume chan struct{}
}

func (s *slowStore) View(ctx context.Context, fn func(store.Tx) error) error {
	err := s.memory.View(ctx, fn)
	close(s.read)
	<-s.resume
	return err
}

func TestTokensDiffer(t *testing.T) {
	k, _, _ := setup(t)
	var tokens []string
	for range 100 {
		_, token := create(t, k, world, time.Time{})
		tokens = append(tokens, token)
	}
	slices.Sort(tokens)
	if n := len(slices.Compact(tokens)); n != 100 {
		t.Errorf("%d different tokens of 100", n)
	}
}

func FuzzParseToken(f *testing.F) {
	f.Add("vsp_default_0123456789abcdef_" + strings.Repeat("0", 52))
	f.Add("vsp__" + "_")
	f.Fuzz(func(t *testing.T, token string) {
		tenant, id, ok := parseToken(token)
		if ok && (strings.ContainsAny(tenant+id, "/_") || tenant == "" || !strings.HasPrefix(token, "vsp_"+tenant+"_"+id+"_")) {
			t.Errorf("%q: tenant %q, id %q", token, tenant, id)
		}
	})
}

func BenchmarkAuthenticate(b *testing.B) {
	k, _, _ := setup(b)
	_, token, err := k.Create(b.Context(), world, host.APIKeySpec{Name: "laptop"})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := k.Authenticate(b.Context(), token); err != nil {
			b.Fatal(err)
		}
	}
}
