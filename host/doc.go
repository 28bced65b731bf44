// Package host holds the host's own words: sessions, turns, runs, calls, journal
// entries and errors. It has no behaviour of its own; the parts under
// host/internal speak to one another only through these words, and none of them
// imports another.
package host
