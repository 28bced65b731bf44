// Package memory keeps what agents remember, over host/store. It knows the first of
// four tiers: the working memory of a session, lists that grow and values that are set,
// which lives as long as the session and is encrypted under its key.
//
// Writes are returned as ops, so that the caller commits them with its own record of
// them: both are there after a crash, or neither.
package memory
