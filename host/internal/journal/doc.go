// Package journal keeps the ordered record of all that was not deterministic in a
// session: entries, their encrypted payloads, forks and reverts.
//
// A session has one writer, its Log, which numbers entries and holds them back
// until Commit makes them durable in order; a fence, written when a Log is
// acquired, keeps a host that lost the session from adding to it. Readers see the
// committed entries through forks and reverts.
//
// Payloads are encrypted with the session's own key, so that erasing the key
// erases them, and are named by a digest under the tenant's key. The entries form a
// chain, which covers ciphertext and digests: what remains after an erasure still
// verifies. A small payload lies in its entry, a larger one in chunks beside it; long
// strings and growing lists in it are stored once per session, so that a request to a
// model costs what is new in it.
//
// A session can be exported to one file, which verifies without a host, and imported
// from it as a new session.
package journal
