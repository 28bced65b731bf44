package gate

import (
	"slices"
	"strings"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/policy"
)

// lineage is a run with all that it acts for, as records and policies have it.
type lineage struct {
	who    []policy.Actor // the run, those that it acts for, the user
	chain  *policy.Shared // of the runs
	agents *policy.Shared // of theirs, each once
}

// lineage returns that of a run. It is kept for the agents' own runs; of tools there may be
// any number.
func (t *Turn) lineage(run *host.Run) *lineage {
	t.mu.Lock()
	defer t.mu.Unlock()
	if l := t.lines[run]; l != nil {
		return l
	}
	l := lineageOf(run)
	if !strings.Contains(run.Path, "/") {
		t.lines[run] = l
	}
	return l
}

func lineageOf(run *host.Run) *lineage {
	var chain, agents []policy.UID
	l := &lineage{}
	for r := run; r != nil; r = r.Parent {
		l.who = append(l.who, policy.Actor{Run: r.ID, Agent: r.Agent.Name, Module: r.Module, Task: r.Task, User: r.User})
		chain = append(chain, policy.UID{Type: "Run", ID: r.ID})
		if agent := (policy.UID{Type: "Agent", ID: r.Agent.Name}); !slices.Contains(agents, agent) {
			agents = append(agents, agent)
		}
	}
	for _, actor := range run.Caller.Actors { // agents of other hosts
		l.who = append(l.who, policy.Actor{Agent: actor, User: run.User})
	}
	l.who = append(l.who, policy.Actor{User: run.User})
	l.chain, l.agents = &policy.Shared{Value: chain}, &policy.Shared{Value: agents}
	return l
}
