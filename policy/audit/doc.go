// Package audit keeps the records of what was asked for, decided and done so that nobody
// can change, remove, insert or reorder one unnoticed.
//
// A [Log] protects records in two layers. Each record of a chain, such as a task's, names
// the hash of the one before it. It is numbered while its chain is locked and written in one
// batch with what it tells of, so that the chain has neither gaps nor forks. And within a
// second of that a record's hash becomes a leaf of the Merkle tree of its tenant (RFC 6962),
// whose size and root the log signs as a checkpoint (C2SP tlog-checkpoint). Only the key
// extends the tree: the log checks what it finds against the newest checkpoint before it
// signs the next one.
//
// [Log.Verify] reads all of it and names what does not fit. What it cannot know: a record
// and its place in the queue that were both removed in the second before they came into the
// tree, and a store that was put back as a whole to an earlier state, which was once signed.
// The second is found with a checkpoint that was kept elsewhere, so whoever wants to be sure
// keeps some.
//
// Nothing is deleted by age: the tree needs its leaves, and a record holds names and digests
// only. Its evidence is sealed under a key that is destroyed with the session.
package audit
