package session_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/session"
)

func TestZZExternal(t *testing.T) {
	for round := range 15 {
		w := newWorld(t, echo)
		w.agents = map[string]*host.Agent{"ext": {Name: "ext", Module: host.ModuleExternal, Plugin: "external", Idle: time.Millisecond}}
		task, _ := w.outside(host.TaskSpec{})
		var all sync.WaitGroup
		okc := 0
		var mu sync.Mutex
		for i := range 6 {
			all.Go(func() {
				for j := range 20 {
					time.Sleep(time.Duration(rand.IntN(3)) * time.Millisecond)
					id := ""
					if i%2 == 0 {
						id = fmt.Sprint("n", j)
					}
					r, err := w.visit(task.ID, id, "effect", fmt.Sprintf(`{"path":"%s%d"}`, map[bool]string{true: "n", false: "a"}[i%2 == 0], j))
					if err == nil && r.Error == nil {
						mu.Lock()
						okc++
						mu.Unlock()
					} else if err != nil && host.CodeOf(err) != host.ErrNotFound && host.CodeOf(err) != host.ErrConflict {
						t.Error(err)
					}
				}
			})
		}
		if round%3 == 0 {
			all.Go(func() {
				time.Sleep(time.Duration(rand.IntN(30)) * time.Millisecond)
				ctx, c := context.WithTimeout(t.Context(), 5*time.Second)
				defer c()
				if _, err := w.service.EndTask(ctx, caller, task.ID, host.TaskCompleted, nil); err != nil {
					t.Error("end", err)
				}
			})
		}
		all.Wait()
		if round%3 != 0 {
			if okc != 120 {
				t.Error(okc)
			}
			if n := len(w.done()); n != 20+60 {
				t.Error("effects", n)
			}
			ctx, c := context.WithTimeout(t.Context(), 5*time.Second)
			if _, err := w.service.EndTask(ctx, caller, task.ID, host.TaskCompleted, nil); err != nil {
				t.Error("end", err)
			}
			c()
		}
		w.ended(task.Session, 1)
		w.kill()
	}
}

func TestZZDelegations(t *testing.T) {
	for round := range 12 {
		script := func(ctx context.Context, g session.Calls, e abi.Event) (abi.Reply, error) {
			var ids []int
			for i := range 4 {
				id, err := starts(ctx, g, abi.CallAgentCall, fmt.Sprintf(`{"agent":"b","content":[{"type":"text","text":"%d"}]}`, i))
				if err != nil {
					return abi.Reply{}, err
				}
				ids = append(ids, id)
			}
			n := 0
			for len(ids) > 0 {
				b, _ := json.Marshal(abi.WaitFor{IDs: ids, Min: 1})
				r, err := ask(ctx, g, abi.CallWait, string(b))
				if err != nil {
					return abi.Reply{}, err
				}
				var wd abi.Waited
				if err := json.Unmarshal(r.OK, &wd); err != nil {
					return abi.Reply{}, err
				}
				n += strings.Count(string(r.OK), "went")
				ids = wd.Pending
			}
			return say(fmt.Sprint("got ", n))
		}
		w := sleepy(t, script)
		team(w, "b")
		w.agents["b"].Idle = 5 * time.Millisecond
		w.others = map[string]guest{"sha256:b": waiting}
		turn := w.invoke(message("x"))
		var kids []string
		until(t, "kids", func() bool {
			kids = nil
			l, _ := w.service.List(t.Context(), caller, host.SessionFilter{Agent: "b"})
			for _, s := range l {
				if len(s.Waiting) > 0 {
					kids = append(kids, s.ID)
				}
			}
			return len(kids) == 4
		})
		rand.Shuffle(4, func(i, j int) { kids[i], kids[j] = kids[j], kids[i] })
		for _, k := range kids {
			if round%2 == 0 && rand.IntN(2) == 0 {
				w.kill()
				w.start()
			}
			time.Sleep(time.Duration(rand.IntN(25)) * time.Millisecond)
			w.signal(k, "go")
		}
		w.ended(turn.Session, 1)
		if got := textOf(w.await(turn)); got != "got 4" {
			t.Errorf("%d: %s", round, got)
		}
		l, _ := w.service.List(t.Context(), caller, host.SessionFilter{Agent: "b"})
		if len(l) != 4 {
			t.Error(len(l))
		}
		for _, s := range append(kids, turn.Session) {
			if k := w.tasksOf(s); len(k) > 0 {
				t.Error("active", k)
			}
		}
		w.kill()
	}
}
