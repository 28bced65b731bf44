// Package model asks language models for the next message of a conversation. It
// is thin on net/http: three dialects behind one small interface, [Provider].
//
//   - openai: chat completions, of OpenAI and of the servers that speak its
//     dialect (Ollama, vLLM, llama.cpp, LM Studio and most hosted services);
//   - anthropic: the Messages API;
//   - offline: no model at all, but a deterministic stand-in that calls tools and
//     quotes what they return, for demonstrations and tests without a network.
//
// All failures hold an *abi.Error. A refused key is unavailable, because the
// guest that asked cannot mend it and no policy denied it; a conversation that is
// too long is invalid; 429 and overload are tried again with the pause that the
// server asks for, as long as no text was delivered. Keys are [Secret] values,
// resolved from references by [ResolveSecret], and appear in no error and no log.
package model
