package model

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/model/wire"
	"github.com/vespiary/vespiary/policy"
)

// Entry is a model under the name that the configuration gives it.
type Entry struct {
	Settings Settings
	Provider Provider
}

// Models are the models of a host, replaced as a whole. It is safe for concurrent
// use.
type Models struct {
	now     func() time.Time
	entries atomic.Pointer[map[string]Entry]
}

// NewModels returns an empty set; now paces streams.
func NewModels(now func() time.Time) *Models {
	m := &Models{now: now}
	m.Replace(nil)
	return m
}

// Replace makes entries the models that calls find from now on.
func (m *Models) Replace(entries map[string]Entry) {
	e := maps.Clone(entries)
	m.entries.Store(&e)
}

func (m *Models) find(name string) (Entry, error) {
	all := *m.entries.Load()
	e, ok := all[name]
	if !ok {
		names := strings.Join(slices.Sorted(maps.Keys(all)), ", ")
		return e, &abi.Error{Code: abi.CodeNotFound, Message: "there is no model " + name + "; the configuration has: " + names}
	}
	return e, nil
}

// Capabilities returns model_chat and model_embed by name.
func (m *Models) Capabilities() map[string]host.Capability {
	return map[string]host.Capability{abi.CallModelChat: chat{m}, abi.CallModelEmbed: embed{m}}
}

// class is what every call of a model has in common. A model's price and purpose are
// policy's business, so its name is the resource; the provider learns the arguments.
func (e Entry) class(name, action string, tokens int64) host.Class {
	provider := policy.UID{Type: "Provider", ID: e.Settings.Provider}
	return host.Class{
		Action: action, Kind: host.Egress, Recovery: abi.RecoverRetry, Tokens: tokens,
		Resource: policy.Entity{
			UID: policy.UID{Type: "Model", ID: name}, Parents: []policy.UID{provider},
			Attrs: map[string]any{"name": e.Settings.Model},
		},
		Entities:  []policy.Entity{{UID: provider}},
		Recipient: []string{e.Settings.Provider},
	}
}

type chat struct{ models *Models }

type chatState struct {
	entry Entry
	in    abi.ChatRequest
}

// Classify implements host.Capability.
func (k chat) Classify(_ context.Context, c *host.Call) (host.Class, error) {
	var in abi.ChatRequest
	if err := decode(c, &in); err != nil {
		return host.Class{}, err
	}
	if len(in.Messages) == 0 {
		return host.Class{}, &abi.Error{Code: abi.CodeInvalid, Message: "model_chat: there are no messages to answer"}
	}
	if in.Model == "" {
		in.Model = c.Run.Agent.Binding.Model
	}
	e, err := k.models.find(in.Model)
	if err != nil {
		return host.Class{}, err
	}
	class := e.class(in.Model, "callModel", wire.EstimateRequest(request(in))+answerEstimate(in, e))
	class.State = chatState{e, in}
	return class, nil
}

// unboundedAnswer is what an answer without a limit is expected to need at most.
const unboundedAnswer = 1024

func answerEstimate(in abi.ChatRequest, e Entry) int64 {
	for _, n := range []int{in.MaxTokens, e.Settings.MaxTokens} {
		if n > 0 {
			return int64(min(n, unboundedAnswer))
		}
	}
	return unboundedAnswer
}

func request(in abi.ChatRequest) Request {
	return Request{Messages: in.Messages, Tools: in.Tools, MaxTokens: in.MaxTokens, Temperature: in.Temperature}
}

// Perform implements host.Capability. With Stream the text also goes to the caller,
// as far as policy lets it; a refusal only ends the streaming.
func (k chat) Perform(ctx context.Context, c *host.Call) (host.Output, error) {
	s, _ := c.Class.State.(chatState)
	var delta func(string) error
	out := &pacer{emit: func(text string) error {
		return c.Emit(ctx, abi.Emit{Content: []abi.Content{abi.Text(text)}})
	}, now: k.models.now}
	if s.in.Stream {
		delta = out.add
	}
	response, err := s.entry.Provider.Chat(ctx, request(s.in), delta)
	if err == nil {
		err = out.flush()
	}
	if err != nil {
		return host.Output{Usage: response.Usage}, err
	}
	b, err := json.Marshal(response)
	return host.Output{OK: b, Derived: true, Usage: response.Usage}, err
}

// pacer gathers streamed text, so that what is made durable before it is shown comes
// in a few parts a second and not in one for each word.
type pacer struct {
	emit    func(text string) error
	now     func() time.Time
	text    strings.Builder
	last    time.Time
	refused bool
}

const pace = 50 * time.Millisecond

func (p *pacer) add(text string) error {
	p.text.WriteString(text)
	if p.now().Sub(p.last) < pace {
		return nil
	}
	return p.flush()
}

func (p *pacer) flush() error {
	if p.text.Len() == 0 || p.refused {
		return nil
	}
	text := p.text.String()
	p.text.Reset()
	p.last = p.now()
	err := p.emit(text)
	if errors.Is(err, &abi.Error{Code: abi.CodeDenied}) {
		p.refused = true
		return nil
	}
	return err
}

type embed struct{ models *Models }

type embedState struct {
	embedder Embedder
	entry    Entry
	in       abi.EmbedRequest
}

// Classify implements host.Capability.
func (k embed) Classify(_ context.Context, c *host.Call) (host.Class, error) {
	var in abi.EmbedRequest
	if err := decode(c, &in); err != nil {
		return host.Class{}, err
	}
	e, err := k.models.find(in.Model)
	if err != nil {
		return host.Class{}, err
	}
	embedder, ok := e.Provider.(Embedder)
	if !ok || len(in.Inputs) == 0 {
		return host.Class{}, &abi.Error{Code: abi.CodeInvalid, Message: "model_embed: name a model whose provider has embeddings, and at least one input"}
	}
	var tokens int64
	for _, text := range in.Inputs {
		tokens += wire.Estimate(text)
	}
	class := e.class(in.Model, "embed", tokens)
	class.State = embedState{embedder, e, in}
	return class, nil
}

// Perform implements host.Capability.
func (embed) Perform(ctx context.Context, c *host.Call) (host.Output, error) {
	s, _ := c.Class.State.(embedState)
	response, err := s.embedder.Embed(ctx, s.entry.Settings.Model, s.in.Inputs)
	if err != nil {
		return host.Output{}, err
	}
	b, err := json.Marshal(response)
	return host.Output{OK: b, Derived: true, Usage: response.Usage}, err
}

func decode(c *host.Call, into any) error {
	dec := json.NewDecoder(bytes.NewReader(c.Request))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return &abi.Error{Code: abi.CodeInvalid, Message: c.Name + ": " + err.Error()}
	}
	return nil
}
