package access_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/access"
	"github.com/vespiary/vespiary/policy"
	"github.com/vespiary/vespiary/policy/cedar"
)

// unheard is an auditor that keeps nothing.
type unheard struct{ policy.Auditor }

func (unheard) Later(*policy.Record) error { return nil }

// heads is a service of n sessions, of which half are user1's.
type heads struct {
	sessions
	n int
}

func (h heads) Get(_ context.Context, _ host.Caller, id string) (host.Session, error) {
	return sessionOf(id), nil
}

func (h heads) List(_ context.Context, _ host.Caller, f host.SessionFilter) ([]host.Session, error) {
	var out []host.Session
	for i := range h.n {
		s := sessionOf(fmt.Sprint(i))
		if i%2 == 0 {
			s.Owner = "user2"
		}
		if f.Visible(&s) {
			out = append(out, s)
		}
	}
	return out, nil
}

func guardOf(b *testing.B) *access.Guard {
	b.Helper()
	set, err := cedar.Compile(map[string][]byte{"p.cedar": []byte(owners)})
	if err != nil {
		b.Fatal(err)
	}
	w := &world{now: noon}
	g, err := access.New(access.Options{
		Policy: cedar.New(set), Audit: unheard{}, Now: w.clock,
		Agents: func(name string) (*host.Agent, bool) {
			return &host.Agent{Name: name, Plugin: "builtin:loop", Module: "sha256:00", Roles: []string{"helper"}}, true
		},
	})
	if err != nil {
		b.Fatal(err)
	}
	return g
}

// BenchmarkGet is what the guard adds to reading a session.
func BenchmarkGet(b *testing.B) {
	s := guardOf(b).Sessions(heads{n: 1})
	for b.Loop() {
		if _, err := s.Get(b.Context(), user1, "S1"); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkList is what it adds to looking through 1,000 sessions.
func BenchmarkList(b *testing.B) {
	s := guardOf(b).Sessions(heads{n: 1000})
	for b.Loop() {
		if page, err := s.List(b.Context(), user1, host.SessionFilter{}); err != nil || len(page) != 500 {
			b.Fatal(len(page), err)
		}
	}
}
