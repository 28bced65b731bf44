// Package file holds the capabilities file_read, file_write and file_list. A path
// leads to the session's workspace, into a folder that the agent's configuration
// mounts, or outside; where it leads is decided by its text alone, before policy
// sees it, and what is outside is never opened, whatever policy says.
//
// # Mounted folders
//
// They are read-only and opened through [os.Root], so that a link cannot lead out of
// them; a link that stays inside is followed. Devices, pipes and sockets are refused.
// A recursive listing names folders that begin with a dot, such as .git, and does not
// go into them; listed by name they are folders like any other. On a file system that
// ignores case a file has more names than one, and policy sees the one asked for.
//
// # The workspace
//
// A file is what its records make of it: each write adds one record, and reads none
// that it depends on. A record's key ends in a stamp, which orders the writes of one
// file: it is greater than every stamp that its call can have seen. So writes that
// commit in another order than they were performed in, as calls that run beside one
// another do, give the same file, none is lost, and a write that runs again after a
// crash leaves one record, because the earlier attempt's was never written. No
// precondition is needed beyond the journal's own, that one host writes a session.
//
// A write that replaces a file deletes the records it can see, and an append to a
// file of many pieces merges those of earlier turns, which nothing can still change.
// File contents are encrypted under the session's key; paths and sizes are not.
package file
