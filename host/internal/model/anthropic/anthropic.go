// Package anthropic speaks the Messages dialect of Anthropic, version
// 2023-06-01, over plain HTTP.
package anthropic

import (
	"context"
	"maps"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host/internal/model/wire"
)

// DefaultBaseURL is the service that the dialect comes from.
const DefaultBaseURL = "https://api.anthropic.com/v1"

// KeyHint is the reference that people usually keep the key under.
const KeyHint = "${env:ANTHROPIC_API_KEY}"

const apiVersion = "2023-06-01"

// defaultMaxTokens is used where nobody gives a limit: the dialect demands one.
const defaultMaxTokens = 4096

// Provider is a model behind a Messages endpoint. It is safe for concurrent use.
type Provider struct {
	client *wire.Client
	model  string
	limit  int
	cache  bool
}

// New returns a provider. Of cfg, Headers may be nil: key and version are added
// here. MaxTokens is the ceiling of an answer's length, 0 for none. Cache marks
// the request so that the provider keeps its beginning for the next one.
func New(cfg wire.Config, maxTokens int, cache bool) (*Provider, error) {
	if cfg.BaseURL == "" {
		cfg.BaseURL = DefaultBaseURL
	}
	cfg.KeyHint = KeyHint
	headers := map[string]wire.Secret{"Anthropic-Version": wire.NewSecret(apiVersion, "")}
	if cfg.Key.Set() {
		headers["X-Api-Key"] = cfg.Key
	}
	maps.Copy(headers, cfg.Headers)
	cfg.Headers = headers
	client, err := wire.NewClient(cfg)
	if err != nil {
		return nil, err
	}
	return &Provider{client: client, model: cfg.Model, limit: maxTokens, cache: cache}, nil
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
	err = p.client.Post(ctx, "messages", body, delta, func(a *wire.Answer) error {
		var err error
		reply, err = readReply(a)
		return err
	})
	if err != nil {
		return abi.ChatResponse{}, err
	}
	return p.client.Finish(r, names, reply)
}

// readReply goes by what the server sent, not by what was asked for: a proxy may
// answer a wish to stream with one document.
func readReply(a *wire.Answer) (wire.Reply, error) {
	if a.Streams() {
		return readStream(a.Body(), a.Deliver)
	}
	var m message
	if err := a.JSON(&m); err != nil {
		return wire.Reply{}, err
	}
	if m.Type != "message" {
		return wire.Reply{}, wire.Malformed("the answer is not a message")
	}
	var s assembler
	s.start(m)
	for _, b := range m.Content {
		if err := s.open(b, a.Deliver); err != nil {
			return wire.Reply{}, err
		}
	}
	return s.reply(), nil
}
