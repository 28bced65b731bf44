package openai

import (
	"context"
	"slices"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host/internal/model/wire"
)

// embedBatch is how many inputs one request carries.
const embedBatch = 256

type embeddings struct {
	Model string      `json:"model"`
	Data  []embedding `json:"data"`
	Usage *usage      `json:"usage"`
}

type embedding struct {
	Index     int       `json:"index"`
	Embedding []float32 `json:"embedding"`
}

// Embed returns one vector per input, in the order of the inputs, all of one
// length. An empty model means the provider's own.
func (p *Provider) Embed(ctx context.Context, model string, inputs []string) (abi.EmbedResponse, error) {
	if model == "" {
		model = p.model
	}
	out := abi.EmbedResponse{Model: model, Vectors: make([][]float32, 0, len(inputs))}
	var sum wire.Tokens
	for batch := range slices.Chunk(inputs, embedBatch) {
		got, err := p.embed(ctx, model, batch)
		if err != nil {
			return abi.EmbedResponse{}, err
		}
		for _, e := range got.Data {
			out.Vectors = append(out.Vectors, e.Embedding)
		}
		if got.Model != "" {
			out.Model = got.Model
		}
		sum.Input += got.tokens(batch)
	}
	out.Usage = p.client.Price(sum)
	return out, nil
}

func (p *Provider) embed(ctx context.Context, model string, batch []string) (embeddings, error) {
	var got embeddings
	body := object{"model": model, "input": batch, "encoding_format": "float"}
	err := p.client.Post(ctx, "embeddings", body, nil, func(a *wire.Answer) error {
		got = embeddings{}
		if err := a.JSON(&got); err != nil {
			return err
		}
		return got.check(len(batch))
	})
	return got, err
}

// check sorts the vectors and makes sure that there is exactly one of one length
// per input: a swapped or missing one would poison an index without notice.
func (e *embeddings) check(want int) error {
	slices.SortStableFunc(e.Data, func(a, b embedding) int { return a.Index - b.Index })
	if len(e.Data) != want {
		return wire.Malformed("the number of vectors is not the number of inputs")
	}
	for i, v := range e.Data {
		if v.Index != i || len(v.Embedding) == 0 || len(v.Embedding) != len(e.Data[0].Embedding) {
			return wire.Malformed("the vectors are not one per input, all of one length")
		}
	}
	return nil
}

// tokens estimates where the server does not count, as for chat.
func (e *embeddings) tokens(batch []string) int64 {
	if t := e.Usage.tokens(); t != nil {
		return t.Input
	}
	var n int64
	for _, text := range batch {
		n += wire.Estimate(text)
	}
	return n
}
