// Package openai speaks the chat completions and embeddings dialect of OpenAI,
// which Ollama, vLLM, llama.cpp, LM Studio and most hosted services speak too.
// It is lenient where those servers differ and strict where an answer could be
// cut short without notice.
package openai

import (
	"context"
	"maps"
	"net/url"
	"strings"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host/internal/model/wire"
)

// DefaultBaseURL is the service that the dialect comes from.
const DefaultBaseURL = "https://api.openai.com/v1"

// KeyHint is the reference that people usually keep the key under.
const KeyHint = "${env:OPENAI_API_KEY}"

// Names of the parameter that limits an answer's length. OpenAI's own models
// refuse the older one, most other servers do not know the newer one.
const (
	paramMaxTokens           = "max_tokens"
	paramMaxCompletionTokens = "max_completion_tokens"
)

// Provider is a model behind a chat completions endpoint. It is safe for
// concurrent use.
type Provider struct {
	client *wire.Client
	model  string
	limit  int
	param  string
}

// New returns a provider. Of cfg, Headers may be nil: the key is added here.
// MaxTokens is the ceiling of an answer's length, 0 for none. Param names the
// parameter for it, "" picks by the host.
func New(cfg wire.Config, maxTokens int, param string) (*Provider, error) {
	if cfg.BaseURL == "" {
		cfg.BaseURL = DefaultBaseURL
	}
	cfg.KeyHint = KeyHint
	if cfg.Key.Set() {
		headers := map[string]wire.Secret{"Authorization": wire.NewSecret("Bearer "+cfg.Key.Reveal(), "")}
		maps.Copy(headers, cfg.Headers)
		cfg.Headers = headers
	}
	client, err := wire.NewClient(cfg)
	if err != nil {
		return nil, err
	}
	if param == "" {
		param = paramFor(cfg.BaseURL)
	}
	return &Provider{client: client, model: cfg.Model, limit: maxTokens, param: param}, nil
}

// paramFor goes by the host, as nothing in the dialect tells the versions apart.
func paramFor(base string) string {
	u, err := url.Parse(base)
	if err != nil {
		return paramMaxTokens
	}
	for _, domain := range []string{"openai.com", "openai.azure.com"} {
		if host := u.Hostname(); host == domain || strings.HasSuffix(host, "."+domain) {
			return paramMaxCompletionTokens
		}
	}
	return paramMaxTokens
}

// Chat asks for the next message. Delta, when not nil, gets the text as it is
// written.
func (p *Provider) Chat(ctx context.Context, r wire.Request, delta func(string) error) (abi.ChatResponse, error) {
	names := wire.NamesOf(r)
	body, err := p.encode(r, names, delta != nil)
	if err != nil {
		return abi.ChatResponse{}, p.client.Invalid(err.Error())
	}
	var reply wire.Reply
	err = p.client.Post(ctx, "chat/completions", body, delta, func(a *wire.Answer) error {
		var err error
		reply, err = readReply(a)
		return err
	})
	if err != nil {
		return abi.ChatResponse{}, err
	}
	return p.client.Finish(r, names, reply)
}

// readReply goes by what the server sent, not by what was asked for: some servers
// answer a wish to stream with one document.
func readReply(a *wire.Answer) (wire.Reply, error) {
	if a.Streams() {
		return readStream(a.Body(), a.Deliver)
	}
	var c completion
	if err := a.JSON(&c); err != nil {
		return wire.Reply{}, err
	}
	if len(c.Choices) == 0 {
		return wire.Reply{}, wire.Malformed("the answer holds no choice")
	}
	var s assembler
	if err := s.add(c, c.Choices[0].Message, a.Deliver); err != nil {
		return wire.Reply{}, err
	}
	return s.reply(), nil
}
