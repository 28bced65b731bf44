package app

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/config"
	"github.com/vespiary/vespiary/host/internal/tool"
	"github.com/vespiary/vespiary/policy"
	"github.com/vespiary/vespiary/policy/cedar"
)

// able is what an agent could ask for, whatever policies say: what its module imports, of
// what its binding and the configuration have.
type able struct {
	agent  *host.Agent
	needs  []string        // import names
	tools  []tool.Declared // of all sources
	models map[string]config.Model
	agents []*host.Agent // of the configuration
}

// Reach implements api.Policies, for runs of the agent on behalf of the caller.
func (p policies) Reach(ctx context.Context, c host.Caller, agent string) (host.Reach, error) {
	set, err := p.set()
	if err != nil {
		return host.Reach{}, err
	}
	a, err := p.Able(ctx, agent)
	if err != nil {
		return host.Reach{}, err
	}
	return reachOf(set, c, a)
}

// reachOf says what policies let an agent do of what it is able to ask for.
func reachOf(set *cedar.Set, c host.Caller, a able) (host.Reach, error) {
	out := host.Reach{Agent: a.agent.Name, Module: a.agent.Module, Set: set.Digest(), Abilities: []host.Ability{}}
	run := imagined(c, a.agent)
	for _, asks := range a.asks(c) {
		if len(asks.resources) == 0 && asks.lacks != "" {
			out.Abilities = append(out.Abilities, host.Ability{Call: asks.call, Action: asks.action, Answer: host.AbleNo, Text: asks.lacks})
			continue
		}
		abilities, err := asks.answer(set, run)
		if err != nil {
			return out, err
		}
		out.Abilities = append(out.Abilities, abilities...)
	}
	return out, nil
}

// asked is what an import can ask for: one action with some resources. Without any, all are
// looked at, or it cannot be asked for because of what lacks.
type asked struct {
	call, action string
	resources    []policy.Entity
	lacks        string
}

// answer looks at the resources one by one, so that each has sentences of its own.
func (a *asked) answer(set *cedar.Set, run cedar.Subject) ([]host.Ability, error) {
	run.Actions = []string{a.action}
	single := [][]policy.Entity{nil}
	if len(a.resources) > 0 {
		single = nil
		for _, r := range a.resources {
			single = append(single, []policy.Entity{r})
		}
	}
	var out []host.Ability
	for _, run.Resources = range single {
		look, err := set.Reach(run)
		if err != nil {
			return nil, err
		}
		for i := range look.Calls {
			one := &look.Calls[i]
			out = append(out, host.Ability{Call: a.call, Action: a.action, Answer: answerOf(one), Text: sentence(one, look.Lines)})
		}
	}
	return out, nil
}

// itsOwn names the session of an imagined run.
const itsOwn = "its own"

// asks lists what the agent could ask for, in the order of its module's imports. It replies
// in any case.
func (a *able) asks(c host.Caller) []asked {
	session := []policy.Entity{{
		UID: uid("Session", itsOwn), Attrs: map[string]any{"owner": uid("User", c.User), "agent": uid("Agent", a.agent.Name)},
	}}
	memory := []policy.Entity{{UID: uid("MemorySpace", itsOwn), Attrs: map[string]any{"owner": uid("User", c.User), "tier": "session"}}}
	byCall := map[string][]asked{
		abi.CallModelChat:     {{action: "callModel", resources: a.modelEntities(), lacks: "may not call models: none is configured"}},
		abi.CallModelEmbed:    {{action: "embed", resources: a.modelEntities(), lacks: "may not embed text: no model is configured"}},
		abi.CallToolList:      {{action: "listTools", resources: []policy.Entity{agentEntity(a.agent, c.Tenant)}}},
		abi.CallToolCall:      a.toolCalls(),
		abi.CallMemorySession: {{action: "memoryRead", resources: memory}, {action: "memoryWrite", resources: memory}},
		abi.CallHTTPFetch:     {{action: "resolveName"}, {action: "httpGet"}, {action: "httpSend"}},
		abi.CallFileRead:      {{action: "fileRead"}},
		abi.CallFileWrite:     {{action: "fileWrite"}},
		abi.CallFileList:      {{action: "fileList"}},
		abi.CallAgentCall:     {{action: "delegate", resources: a.agentEntities(c.Tenant), lacks: "may not hand a part to agents: none runs in this host"}},
		abi.CallDelegateToken: {{action: "delegateRemote"}},
		abi.CallEmit:          {{action: "emit", resources: session}},
		abi.CallAwait:         {{action: "await", resources: session}},
	}
	out := []asked{}
	for _, call := range a.needs {
		for _, one := range byCall[call] {
			one.call = call
			out = append(out, one)
		}
	}
	return append(out, asked{call: "reply", action: "reply", resources: session})
}

func uid(kind, id string) policy.UID { return policy.UID{Type: kind, ID: id} }

func (a *able) modelEntities() []policy.Entity {
	var out []policy.Entity
	for _, name := range slices.Sorted(maps.Keys(a.models)) {
		m := a.models[name]
		out = append(out, policy.Entity{
			UID: uid("Model", name), Parents: []policy.UID{uid("Provider", m.Provider)}, Attrs: map[string]any{"name": m.Model},
		})
	}
	return out
}

// agentEntities are the agents that another one can call.
func (a *able) agentEntities(tenant string) []policy.Entity {
	var out []policy.Entity
	for _, other := range a.agents {
		if other.Module != host.ModuleExternal {
			out = append(out, agentEntity(other, tenant))
		}
	}
	return out
}

// toolCalls are the tools that the agent's selectors name.
func (a *able) toolCalls() []asked {
	var out []asked
	for _, t := range a.tools {
		source, own, _ := strings.Cut(t.Action, ".")
		if !selectsTool(a.agent.Tools, source, own) {
			continue
		}
		out = append(out, asked{action: t.Action, resources: []policy.Entity{{
			UID: uid("Tool", t.Action), Parents: []policy.UID{uid("ToolSet", source)},
			Attrs: map[string]any{"source": source, "readOnly": t.ReadOnly},
		}}})
	}
	if len(out) == 0 {
		return []asked{{action: "invokeReadTool", lacks: "may not use tools: it has none"}}
	}
	return out
}

// selectsTool tells whether selectors name a tool, by its own name or with its source's in
// front.
func selectsTool(selectors []string, source, own string) bool {
	return slices.Contains(selectors, source) || slices.Contains(selectors, source+"."+own) ||
		slices.Contains(selectors, source+"."+source+"_"+own)
}

func agentEntity(a *host.Agent, tenant string) policy.Entity {
	e := policy.Entity{
		UID: uid("Agent", a.Name), Parents: []policy.UID{uid("Tenant", tenant)},
		Attrs: map[string]any{"module": uid("Module", a.Module), "external": a.Module == host.ModuleExternal},
	}
	for _, role := range a.Roles {
		e.Parents = append(e.Parents, uid("Role", role))
	}
	return e
}

// imagined is a run of the agent that the caller has just begun, in a task without grants.
func imagined(c host.Caller, a *host.Agent) cedar.Subject {
	run, task, user, module, tenant := uid("Run", "imagined"), uid("Task", "imagined"), uid("User", c.User), uid("Module", a.Module), uid("Tenant", c.Tenant)
	asking := policy.Entity{UID: user, Parents: []policy.UID{tenant}, Attrs: map[string]any{"name": c.User}, Tags: c.Claims}
	if c.Name != "" {
		asking.Attrs["name"] = c.Name
	}
	known := []policy.Entity{{UID: tenant}}
	for _, g := range c.Groups {
		asking.Parents = append(asking.Parents, uid("Group", g))
		known = append(known, policy.Entity{UID: uid("Group", g), Parents: []policy.UID{tenant}})
	}
	for _, role := range a.Roles {
		known = append(known, policy.Entity{UID: uid("Role", role)})
	}
	known = append(known, asking, agentEntity(a, c.Tenant),
		policy.Entity{UID: module, Attrs: map[string]any{"name": a.Plugin, "version": ""}},
		policy.Entity{UID: task, Attrs: map[string]any{
			"state": string(host.TaskActive), "user": user, "restricted": false, "grants": []string{},
		}},
		policy.Entity{UID: run, Parents: []policy.UID{uid("Agent", a.Name), task}, Attrs: map[string]any{
			"agent": uid("Agent", a.Name), "task": task, "module": module, "user": user, "depth": int64(0),
		}},
	)
	return cedar.Subject{Principal: run, Known: &policy.Known{Entities: known}}
}

// answerOf sums up what policies leave of an action: a forbid that may apply makes a yes
// one with conditions, and where each of those can be lifted, one that a person is asked
// for.
func answerOf(r *cedar.Reach) string {
	limits := slices.DeleteFunc(slices.Clone(r.Forbids), endsAnyTask)
	final := func(f cedar.Residual) bool { return !f.Asks }
	switch {
	case r.Answer == "never":
		return host.AbleNo
	case r.Answer != "yes" || slices.ContainsFunc(limits, final):
		return host.AbleSome
	case len(limits) > 0:
		return host.AbleAsk
	default:
		return host.AbleYes
	}
}

var contextAttribute = regexp.MustCompile(`\b(?:context\.(\w+)|resource\b)`)

// endsAnyTask tells of a forbid whether it looks at nothing but the time and at what is
// left of the budget: it limits no call more than others, and says nothing of a run that
// has just begun.
func endsAnyTask(f cedar.Residual) bool {
	found := contextAttribute.FindAllStringSubmatch(f.If+" "+f.Unless, -1)
	other := func(m []string) bool { return m[1] != "left" && m[1] != "now" }
	return len(found) > 0 && !slices.ContainsFunc(found, other)
}

// sentence makes one of the lines about an action, those that go on with one before being
// indented. What may end any task is left out.
func sentence(r *cedar.Reach, lines []string) string {
	var said []string
	for _, line := range lines {
		text := strings.TrimSpace(line)
		if n := len(said); n > 0 && text != line {
			said[n-1] += " " + text
			continue
		}
		said = append(said, text)
	}
	said = slices.DeleteFunc(said, func(s string) bool {
		return slices.ContainsFunc(r.Forbids, func(f cedar.Residual) bool {
			return endsAnyTask(f) && strings.HasPrefix(s, fmt.Sprintf("policy %q (", f.ID))
		})
	})
	return strings.Join(said, "; ")
}
