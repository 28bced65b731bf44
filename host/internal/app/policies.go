package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/api"
	"github.com/vespiary/vespiary/host/store"
	"github.com/vespiary/vespiary/policy"
	"github.com/vespiary/vespiary/policy/audit"
	"github.com/vespiary/vespiary/policy/cedar"
)

// policyOptions join policies to the host. All are needed.
type policyOptions struct {
	Engine *cedar.Engine
	Kept   keptSets
	Past   past
	// Dir is the folder of the policies that decide, by the configuration of now.
	Dir func() string
	// Compile makes a set of the folder's files as a reload would: with the ready-made
	// policies that are enforced and the actions of the tools that are configured.
	Compile func(ctx context.Context, files map[string][]byte) (*cedar.Set, error)
	// Lock is held while the folder is changed. Nobody else loads policies with it.
	Lock sync.Locker
	// Reload makes the host decide by the folder's files, or changes nothing. It is called
	// with Lock held.
	Reload func(ctx context.Context) error
	// Able finds out what an agent could ask for.
	Able func(ctx context.Context, agent string) (able, error)
}

// policies shows and changes the policies. It implements api.Policies; they are the same
// for all tenants.
type policies struct{ policyOptions }

var _ api.Policies = policies{}

// Active implements api.Policies. Its files are those of the folder: ready-made ones,
// which nobody can change, are among those of Set.
func (p policies) Active(context.Context, host.Caller) (host.PolicySet, error) {
	set, err := p.set()
	if err != nil {
		return host.PolicySet{}, err
	}
	files := set.Files()
	maps.DeleteFunc(files, func(name string, _ []byte) bool { return strings.HasPrefix(name, flowFolder) })
	out := host.PolicySet{Digest: set.Digest(), Policies: len(set.Policies()), Files: listed(files)}
	if candidate := p.Engine.Candidate(); candidate != nil {
		out.Candidate = candidate.Digest()
	}
	return out, nil
}

func (p policies) set() (*cedar.Set, error) {
	set := p.Engine.Set()
	if set == nil {
		return nil, host.Errorf(host.ErrUnavailable, "no policies are loaded yet; try again in a moment")
	}
	return set, nil
}

// listed is files in the order of their names.
func listed(files map[string][]byte) []host.PolicyFile {
	out := []host.PolicyFile{}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		out = append(out, host.PolicyFile{Name: name, Text: string(files[name])})
	}
	return out
}

// named is the opposite of listed.
func named(files []host.PolicyFile) (map[string][]byte, error) {
	out := make(map[string][]byte, len(files))
	for _, f := range files {
		if _, twice := out[f.Name]; twice {
			return nil, host.Errorf(host.ErrInvalid, "the file %s is given twice; give it once", f.Name)
		}
		if !policyName.MatchString(f.Name) || strings.HasPrefix(f.Name, flowFolder) {
			return nil, host.Errorf(host.ErrInvalid, "%.80q cannot be the name of a policy file; use letters, digits, dots and dashes, and end it with .cedar", f.Name)
		}
		out[f.Name] = []byte(f.Text)
	}
	return out, nil
}

// Set implements api.Policies.
func (p policies) Set(ctx context.Context, _ host.Caller, digest string) (host.PolicySet, error) {
	kept, err := p.Kept.find(ctx, digest)
	if errors.Is(err, store.ErrNotFound) {
		return host.PolicySet{}, host.Errorf(host.ErrNotFound, "there is no policy set %.80s; records of decisions name those that there are", digest)
	}
	return host.PolicySet{Digest: digest, Policies: kept.Policies, Files: listed(kept.Files)}, err
}

// Schema implements api.Policies.
func (p policies) Schema(context.Context, host.Caller) (string, error) {
	set, err := p.set()
	if err != nil {
		return "", err
	}
	return set.Schema(), nil
}

// Check implements api.Policies.
func (p policies) Check(ctx context.Context, _ host.Caller, files []host.PolicyFile) (host.PolicyCheck, error) {
	set, err := p.compile(ctx, files)
	var problems host.PolicyProblems
	switch {
	case errors.As(err, &problems):
		return host.PolicyCheck{Problems: problems}, nil
	case err != nil:
		return host.PolicyCheck{}, err
	}
	return host.PolicyCheck{Digest: set.Digest(), Policies: len(set.Policies()), Problems: []host.PolicyProblem{}}, nil
}

// compile compiles files that a caller gave.
func (p policies) compile(ctx context.Context, files []host.PolicyFile) (*cedar.Set, error) {
	byName, err := named(files)
	if err != nil {
		return nil, err
	}
	set, err := p.Compile(ctx, byName)
	return set, invalid(err)
}

// invalid makes an error for callers of the faults of policies.
func invalid(err error) error {
	if problems := problemsOf(err); len(problems) > 0 {
		return host.Errorf(host.ErrInvalid, "the policies are not valid, and nothing was changed: %w", problems)
	}
	return err
}

// Change implements api.Policies.
func (p policies) Change(ctx context.Context, c host.Caller, change host.PolicyChange) (host.PolicySet, error) {
	p.Lock.Lock()
	defer p.Lock.Unlock()
	dir := p.Dir()
	if err := settlePolicies(dir); err != nil { // of a change that could not be undone then
		return host.PolicySet{}, err
	}
	was, err := policyFiles(dir)
	if err != nil {
		return host.PolicySet{}, err
	}
	if err := p.matches(ctx, was, change.Match); err != nil {
		return host.PolicySet{}, err
	}
	want, err := changed(was, change)
	if err != nil {
		return host.PolicySet{}, err
	}
	if _, err := p.Compile(ctx, want); err != nil {
		return host.PolicySet{}, invalid(err)
	}
	// What has begun is brought to an end, whoever waits for it.
	if err := p.write(context.WithoutCancel(ctx), dir, was, want); err != nil {
		return host.PolicySet{}, err
	}
	return p.Active(ctx, c)
}

// matches reports whether the folder holds the set that a change is meant for.
func (p policies) matches(ctx context.Context, was map[string][]byte, digest string) error {
	if digest == "" {
		return nil
	}
	set, err := p.Compile(ctx, was)
	switch active := p.Engine.Set(); {
	case err == nil && set.Digest() == digest:
		return nil
	case active != nil && active.Digest() == digest:
		return host.Errorf(host.ErrConflict, "change the policies: the files in the folder, or the tools, are not those that the host reads policies of; reload it, and read the policies again")
	case active != nil:
		return host.Errorf(host.ErrConflict, "change the policies: they are %s by now; read them again, and change those", active.Digest())
	}
	return host.Errorf(host.ErrConflict, "change the policies: they are others by now; read them again, and change those")
}

// changed returns the files after a change.
func changed(was map[string][]byte, change host.PolicyChange) (map[string][]byte, error) {
	write, err := named(change.Write)
	if err != nil {
		return nil, err
	}
	want := maps.Clone(was)
	if change.All {
		want = map[string][]byte{}
	}
	for _, name := range change.Remove {
		if _, ok := was[name]; !ok {
			return nil, host.Errorf(host.ErrNotFound, "remove the policy file %.80s: there is none with this name; read the policies to see their files", name)
		}
		if _, both := write[name]; both {
			return nil, host.Errorf(host.ErrInvalid, "the file %s is to be written and removed; choose one", name)
		}
		delete(want, name)
	}
	maps.Copy(want, write)
	return want, nil
}

// write makes the host decide by other files, or leaves folder and host as they were.
func (p policies) write(ctx context.Context, dir string, was, want map[string][]byte) error {
	if maps.EqualFunc(was, want, bytes.Equal) {
		return invalid(p.Reload(ctx)) // the host may not have read them yet
	}
	c, err := changeFiles(dir, was, want)
	if err != nil {
		return err
	}
	if err := p.Reload(ctx); err != nil {
		return errors.Join(invalid(err), c.undo())
	}
	if err := c.keep(); err != nil {
		// The next host would undo it, so this one does.
		return errors.Join(fmt.Errorf("change the policies: %w", err), c.undo(), p.Reload(ctx))
	}
	return nil
}

// maxSimulated is how many changes a simulation lists.
const maxSimulated = 1000

// Simulate implements api.Policies.
func (p policies) Simulate(ctx context.Context, c host.Caller, files []host.PolicyFile, since time.Time) (host.Simulation, error) {
	set, err := p.compile(ctx, files)
	if err != nil {
		return host.Simulation{}, err
	}
	out := host.Simulation{Set: set.Digest(), Changes: []host.SimulatedChange{}}
	var now policy.Record // that is decided
	sum, err := set.Simulate(ctx, func(yield func(cedar.Past, error) bool) {
		for d, err := range p.Past.decisions(ctx, audit.Query{Tenant: c.Tenant, Since: since}) {
			if err == nil && (d.asked == nil || d.record.Decision == nil) {
				out.Skipped++
				continue
			}
			if now = d.record; !yield(pastOf(d), err) {
				return
			}
		}
	}, func(change cedar.Change) error {
		if len(out.Changes) < maxSimulated {
			now.Evidence = nil // of a thousand it may be more than memory holds
			out.Changes = append(out.Changes, host.SimulatedChange{Record: now, Is: change.Now})
		} else {
			out.More++
		}
		return nil
	})
	out.Decided = sum.Total
	return out, err
}

func pastOf(d decided) cedar.Past {
	if d.asked == nil {
		return cedar.Past{}
	}
	return cedar.Past{ID: d.record.ID, Request: *d.asked, Decision: *d.record.Decision}
}

// Tightest implements api.Policies.
func (p policies) Tightest(ctx context.Context, c host.Caller, agent string, since time.Time) (host.Suggestion, error) {
	set, err := p.set()
	if err != nil {
		return host.Suggestion{}, err
	}
	unread := 0
	s, err := set.Tightest(agent, func(yield func(cedar.Past, error) bool) {
		for d, err := range p.Past.decisions(ctx, audit.Query{Tenant: c.Tenant, Agent: agent, Since: since}) {
			if err == nil && (d.asked == nil || d.record.Decision == nil) {
				unread++
				continue
			}
			if !yield(pastOf(d), err) {
				return
			}
		}
	})
	if unread > 0 {
		s.Notes = append(s.Notes, fmt.Sprintf("%d decisions are not counted: what they were about cannot be read any more", unread))
	}
	return host.Suggestion(s), err
}
