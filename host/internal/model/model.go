package model

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host/internal/model/anthropic"
	"github.com/vespiary/vespiary/host/internal/model/offline"
	"github.com/vespiary/vespiary/host/internal/model/openai"
	"github.com/vespiary/vespiary/host/internal/model/wire"
)

// Words that providers share.
type (
	// Request asks for the next message; see [wire.Request].
	Request = wire.Request
	// Secret is a credential that never prints; see [wire.Secret].
	Secret = wire.Secret
	// Price is in US dollars per million tokens; see [wire.Price].
	Price = wire.Price
)

// The providers that New knows.
const (
	OpenAI    = "openai"
	Anthropic = "anthropic"
	Offline   = "offline"
)

// Provider is one model. It is safe for concurrent use.
type Provider interface {
	// Chat asks for the next message. Delta, when not nil, gets the text as it is
	// written; an error from it stops the request and is returned as it is. All
	// other errors hold an *abi.Error.
	Chat(ctx context.Context, r Request, delta func(text string) error) (abi.ChatResponse, error)
}

// Embedder is implemented by providers that turn texts into vectors.
type Embedder interface {
	// Embed returns one vector per input, in their order and of one length. An
	// empty model means the provider's own.
	Embed(ctx context.Context, model string, inputs []string) (abi.EmbedResponse, error)
}

var (
	_ Provider = (*openai.Provider)(nil)
	_ Embedder = (*openai.Provider)(nil)
	_ Provider = (*anthropic.Provider)(nil)
	_ Provider = (*offline.Provider)(nil)
)

// Settings configure one model.
type Settings struct {
	Provider       string            // OpenAI, Anthropic or Offline
	Model          string            // the provider's name of the model
	BaseURL        string            // "" means the provider's own service; without a path, /v1 is added
	Key            Secret            // may be unset for servers of one's own
	Headers        map[string]Secret // sent in addition, and kept out of errors like the key
	Price          Price
	MaxTokens      int           // ceiling of an answer's length; 0 means the provider's
	MaxTokensParam string        // openai: max_tokens or max_completion_tokens; "" picks by the host
	PromptCache    bool          // anthropic: ask the provider to cache the conversation so far
	Timeout        time.Duration // of a call with all its retries; 0 means ten minutes
	Attempts       int           // tries of a call; 0 means four
	Latency        time.Duration // offline: how long an answer takes
}

// Options are the parts of the outside world that a provider uses. The zero value
// is the real one.
type Options struct {
	HTTP  *http.Client   // its redirects are limited to the configured server
	Sleep wire.Sleep     // waits between tries
	Rand  func() float64 // in [0, 1), for jitter; safe for concurrent use
	Log   *slog.Logger   // told of tries that failed; nil discards
}

// New returns the provider that the settings describe.
func New(s Settings, o Options) (Provider, error) {
	if s.Model == "" && s.Provider != Offline {
		return nil, fmt.Errorf("model of provider %q: the model's name is missing: set model", s.Provider)
	}
	switch s.Provider {
	case OpenAI:
		return openAI(s, o)
	case Anthropic:
		return anthropicModel(s, o)
	case Offline:
		return offline.New(offline.Config{Model: s.Model, Price: s.Price, Latency: s.Latency, Sleep: o.Sleep})
	default:
		return nil, fmt.Errorf("model %q: unknown provider %q: use openai, anthropic or offline", s.Model, s.Provider)
	}
}

// openAI checks what only this dialect has a setting for.
func openAI(s Settings, o Options) (Provider, error) {
	switch s.MaxTokensParam {
	case "", "max_tokens", "max_completion_tokens":
	default:
		return nil, fmt.Errorf("model %q: max_tokens_param %q: use max_tokens or max_completion_tokens", s.Model, s.MaxTokensParam)
	}
	if err := needKey(s, openai.KeyHint); err != nil {
		return nil, err
	}
	return openai.New(s.config(o), s.MaxTokens, s.MaxTokensParam)
}

func anthropicModel(s Settings, o Options) (Provider, error) {
	if err := needKey(s, anthropic.KeyHint); err != nil {
		return nil, err
	}
	return anthropic.New(s.config(o), s.MaxTokens, s.PromptCache)
}

// needKey asks for a key where the provider's own service is used, which takes
// no request without one.
func needKey(s Settings, hint string) error {
	if s.BaseURL != "" || s.Key.Set() {
		return nil
	}
	name := strings.TrimSuffix(strings.TrimPrefix(hint, "${env:"), "}")
	return fmt.Errorf("model %q: provider %s needs a key: export %s and set key: %q", s.Model, s.Provider, name, hint)
}

func (s Settings) config(o Options) wire.Config {
	return wire.Config{
		Provider: s.Provider,
		Model:    s.Model,
		BaseURL:  s.BaseURL,
		Key:      s.Key,
		Headers:  s.Headers,
		Price:    s.Price,
		Timeout:  s.Timeout,
		Attempts: s.Attempts,
		HTTP:     o.HTTP,
		Sleep:    o.Sleep,
		Rand:     o.Rand,
		Log:      o.Log,
	}
}
