package app

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/config"
	"github.com/vespiary/vespiary/host/internal/tool"
	"github.com/vespiary/vespiary/policy"
	"github.com/vespiary/vespiary/policy/cedar"
)

// enforceFlow is the name of the ready-made policies about content from outside.
const enforceFlow = "flow"

// rules are the policies of a configuration: those that decide, and those that are tried
// beside them.
type rules struct {
	active, candidate *cedar.Set
	actions           []cedar.Action // of the tools
}

// loadRules reads the policies of a configuration, checked against the actions of its
// tools. The ready-made policies about flow decide where the configuration says so, and
// are tried where it names no other candidate.
func loadRules(cfg *config.Config, actions []cedar.Action) (rules, error) {
	files, err := policyFiles(cfg.Policies)
	if err != nil {
		return rules{}, err
	}
	return rulesOf(cfg, files, actions)
}

// rulesOf are the rules of a configuration with files in the place of its policies.
func rulesOf(cfg *config.Config, files map[string][]byte, actions []cedar.Action) (rules, error) {
	var err error
	enforced := slices.Contains(cfg.Enforce, enforceFlow)
	active := files
	if enforced {
		if active, err = withFlow(files); err != nil {
			return rules{}, err
		}
	}
	r := rules{actions: actions}
	if r.active, err = cedar.Compile(active, actions...); err != nil {
		return rules{}, err
	}
	r.candidate, err = loadCandidate(cfg, files, enforced, actions)
	return r, err
}

func loadCandidate(cfg *config.Config, files map[string][]byte, enforced bool, actions []cedar.Action) (*cedar.Set, error) {
	switch {
	case cfg.Candidate != "":
		var err error
		if files, err = policyFiles(cfg.Candidate); err != nil {
			return nil, fmt.Errorf("candidate: %w", err)
		}
	case enforced: // it decides already
		return nil, nil //nolint:nilnil // no candidate is not an error
	}
	all, err := withFlow(files)
	if err != nil {
		return nil, err
	}
	set, err := cedar.Compile(all, actions...)
	if err != nil {
		return nil, fmt.Errorf("candidate: %w", err)
	}
	return set, nil
}

// policyFiles reads the files of a folder of policies.
func policyFiles(dir string) (map[string][]byte, error) {
	if _, err := os.Stat(dir); err != nil {
		return nil, fmt.Errorf("load policies: %w; create the folder with vespiary init", err)
	}
	files, err := cedar.Files(os.DirFS(dir))
	for name := range files {
		if strings.HasPrefix(name, flowFolder) { // it could not be told from a ready-made one
			return nil, fmt.Errorf("load policies: %s lies where the ready-made policies appear; move it to another folder", name)
		}
	}
	return files, err
}

// flowFolder is where the ready-made policies appear to lie.
const flowFolder = "builtin/"

// withFlow adds the ready-made policies about flow to files.
func withFlow(files map[string][]byte) (map[string][]byte, error) {
	all := maps.Clone(files)
	flow, err := cedar.Files(cedar.Flow())
	if err != nil {
		return nil, err
	}
	for name, text := range flow {
		if _, taken := all[flowFolder+name]; taken {
			return nil, fmt.Errorf("load policies: %s is the name of a ready-made file; call yours something else", flowFolder+name)
		}
		all[flowFolder+name] = text
	}
	return all, nil
}

// actionsOf are the actions of tools.
func actionsOf(tools []tool.Declared) []cedar.Action {
	out := make([]cedar.Action, len(tools))
	for i, t := range tools {
		group := "invokeWriteTool"
		if t.ReadOnly {
			group = "invokeReadTool"
		}
		out[i] = cedar.Action{Name: t.Action, Groups: []string{group}, Principal: "Run", Resource: "Tool", Input: t.Schema}
	}
	return out
}

// grants checks what tasks are opened with by the policies of now.
type grants struct{ engine *cedar.Engine }

// CheckGrants implements session.Grants.
func (g grants) CheckGrants(list []policy.Grant) error { return g.engine.Set().CheckGrants(list) }

// Attenuates implements session.Grants.
func (g grants) Attenuates(parent, child []policy.Grant) error {
	return g.engine.Set().Attenuates(parent, child)
}

// problemsOf are the faults of policies in the host's words; nil when err is none.
func problemsOf(err error) host.PolicyProblems {
	var out host.PolicyProblems
	var many interface{ Unwrap() []error }
	if errors.As(err, &many) {
		for _, e := range many.Unwrap() {
			out = append(out, problemsOf(e)...)
		}
		return out
	}
	if p, ok := errors.AsType[*cedar.Problem](err); ok {
		return host.PolicyProblems{{File: p.File, Line: p.Line, Policy: p.Policy, What: p.What, Fix: p.Fix}}
	}
	return nil
}

// keepRules keeps the sets under their digests, so that decisions can be explained by what
// they were made by.
func (h *Host) keepRules(ctx context.Context, r rules) error {
	for _, set := range []*cedar.Set{r.active, r.candidate} {
		if set == nil {
			continue
		}
		if err := h.sets.keep(ctx, set); err != nil {
			return fmt.Errorf("keep the policy set %s: %w", set.Digest(), err)
		}
	}
	return nil
}
