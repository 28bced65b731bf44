// Package wire is what the language-model providers have in common: the request
// and the finished reply, JSON over HTTP with bounded bodies, server-sent
// events, retries, typed failures that never show a key, tool names that a
// provider accepts, and the price of a call.
//
// A provider translates a [Request] into its dialect, posts it with
// [Client.Post], reads the [Answer] into a [Reply] and lets [Client.Finish] turn
// that into the abi's ChatResponse.
package wire
