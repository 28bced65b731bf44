// Package store is the store of a single machine: a redo log in front of Badger.
//
// A commit is checked, written to the redo log together with the others that wait,
// synced once, applied to Badger, which does not sync, and acknowledged. What
// Badger had not on disk at a crash is applied again from the log. Badger runs in
// managed mode with our revisions as its versions: applying a commit twice changes
// nothing, views read at the last revision that was applied whole, and the version
// of an item is what preconditions compare.
//
// The file FORMAT in the folder says which format it has. Opening an older one runs
// the upgrades between; a newer one is refused. A backup holds keys, values and
// revisions, not files, so it outlasts changes of the layout.
package store
