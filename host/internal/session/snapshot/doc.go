// Package snapshot keeps what a session's guest is between two turns: its image, which
// lets another guest go on where the last one was dropped, in this process or another.
//
// A snapshot is a manifest, which names every page by its digest and says where it is,
// and packs of compressed pages, which the snapshots of a session share: a page that the
// snapshot before has is not written again. All of it is encrypted under the session's
// key, so erasing that key erases the snapshots, and a manifest names its packs by their
// keyed digests, so no pack can be exchanged for another.
//
// Packs are never changed. A snapshot takes pages over from packs that are mostly dead,
// or no larger than what it writes anyway, so a snapshot of n pages has O(n/packPages +
// log n) packs and at least half of what a pack holds is in use when it is named.
//
// Snapshots are hints: the journal is the truth, and whoever finds one missing or
// damaged replays. A session has one writer, who calls Put, Prune and Drop one after
// the other; a host that has lost the session and does not know it yet can leave
// something behind but damage nothing, for packs are named by content, manifests are
// committed by the caller under its fence, and Prune never touches what is newer than
// the newest manifest.
package snapshot
