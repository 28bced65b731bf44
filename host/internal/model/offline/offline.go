// Package offline is a deterministic stand-in for a language model. It is not
// one: it matches the words of the last question to the tools it is offered,
// calls them, and answers with quotations of what they returned, each with its
// source. It invents nothing and says what it is at the end of every answer.
//
// It follows a fixed plan for each clause of the question. A tool whose own words
// are the clause's is called at once; a path is read; a listing is listed; any
// other clause is searched for, and the file of the best hit is read. A request
// to save is done last, once, with the quotations as text. Clauses that do not
// wait for each other are called in parallel. The plan has no memory: each step
// is computed anew from the conversation, so the same messages always give the
// same answer.
package offline

import (
	"context"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host/internal/model/wire"
)

// trailer ends every answer.
const trailer = "(Offline stand-in, not a language model: it matches words and quotes. For a model, configure provider " +
	"openai (also Ollama, vLLM or llama.cpp through base_url) or anthropic.)"

// groupWords is how many words are streamed at a time.
const groupWords = 4

// Config configures the stand-in. The zero Config is useful.
type Config struct {
	Model   string        // the name it goes by; "" means offline
	Price   wire.Price    // so that budgets can be tried out
	Latency time.Duration // how long each answer takes, spread over a streamed one
	Sleep   wire.Sleep    // nil means wire.Pause
}

// Provider is the stand-in. It is safe for concurrent use.
type Provider struct{ cfg Config }

// New returns the stand-in.
func New(cfg Config) (*Provider, error) {
	if err := cfg.Price.Check(); err != nil {
		return nil, err
	}
	if cfg.Model == "" {
		cfg.Model = "offline"
	}
	if cfg.Sleep == nil {
		cfg.Sleep = wire.Pause
	}
	return &Provider{cfg}, nil
}

// Chat computes the next message. Tokens are counted as one per four bytes of the
// request's and the answer's text, as wire.Estimate does.
func (p *Provider) Chat(ctx context.Context, r wire.Request, delta func(string) error) (abi.ChatResponse, error) {
	if err := p.sleep(ctx, p.cfg.Latency/2); err != nil {
		return abi.ChatResponse{}, err
	}
	next := respond(r)
	message, finish := next.message(r)
	if text := abi.TextOf(message.Content); delta != nil && text != "" {
		if err := p.stream(ctx, text, delta); err != nil {
			return abi.ChatResponse{}, err
		}
	} else if err := p.sleep(ctx, p.cfg.Latency/2); err != nil {
		return abi.ChatResponse{}, err
	}
	return abi.ChatResponse{
		Message: message, Finish: finish, Model: p.cfg.Model, Provider: "offline",
		Usage: p.cfg.Price.Usage(count(r, message)),
	}, nil
}

// stream spreads the second half of the latency over the groups, so that a caller
// can interrupt an answer in its middle.
func (p *Provider) stream(ctx context.Context, text string, delta func(string) error) error {
	groups := wordGroups(text)
	pause := p.cfg.Latency / 2 / time.Duration(len(groups))
	for _, g := range groups {
		if err := p.sleep(ctx, pause); err != nil {
			return err
		}
		if err := delta(g); err != nil {
			return err
		}
	}
	return nil
}

// sleep also looks at the context where there is nothing to wait for.
func (p *Provider) sleep(ctx context.Context, d time.Duration) error {
	err := ctx.Err()
	if err == nil && d > 0 {
		err = p.cfg.Sleep(ctx, d)
	}
	if err == nil {
		return nil
	}
	return wire.Ended(ctx, "offline", p.cfg.Model)
}

// reply is the stand-in's next step: calls, or else text.
type reply struct {
	text  string
	calls []invocation
}

// message gives calls ids that are unique in the conversation and the same for the
// same conversation.
func (n reply) message(r wire.Request) (abi.Message, abi.Finish) {
	m := abi.Message{Role: abi.RoleAssistant}
	if len(n.calls) == 0 {
		text, finish := cut(n.text, r.MaxTokens)
		m.Content = []abi.Content{abi.Text(text)}
		return m, finish
	}
	for i, c := range n.calls {
		id := "call_" + strconv.Itoa(len(r.Messages)) + "_" + strconv.Itoa(i)
		m.ToolCalls = append(m.ToolCalls, abi.ToolCall{ID: id, Name: c.tool, Arguments: c.raw()})
	}
	return m, abi.FinishTools
}

// cut holds the text to a number of estimated tokens; 0 means all of it.
func cut(text string, tokens int) (string, abi.Finish) {
	if tokens <= 0 || wire.Estimate(text) <= int64(tokens) {
		return text, abi.FinishStop
	}
	end := 4 * tokens
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end], abi.FinishLength
}

func count(r wire.Request, m abi.Message) wire.Tokens {
	t := wire.Tokens{Input: wire.EstimateRequest(r), Output: wire.Estimate(abi.TextOf(m.Content))}
	for _, c := range m.ToolCalls {
		t.Output += wire.Estimate(c.Name) + wire.Estimate(string(c.Arguments))
	}
	return t
}

// wordGroups splits text after every few words; joined, they are the text.
func wordGroups(text string) []string {
	var out []string
	start, words := 0, 0
	for i := range len(text) {
		if text[i] != ' ' && text[i] != '\n' {
			continue
		}
		if words++; words == groupWords {
			out = append(out, text[start:i+1])
			start, words = i+1, 0
		}
	}
	if start < len(text) {
		out = append(out, text[start:])
	}
	return out
}

// respond computes the next step of the conversation.
func respond(r wire.Request) reply {
	t := readTurn(r.Messages)
	tools := readTools(r.Tools)
	p := plan{turn: t, tools: tools, clauses: parseClauses(t.question)}
	if r.ToolChoice != wire.ChoiceNone {
		if calls := p.next(r.ToolChoice); len(calls) > 0 {
			return reply{calls: calls}
		}
	}
	return reply{text: strings.TrimSpace(p.answer()) + "\n\n" + trailer}
}
