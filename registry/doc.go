// Package registry holds what may run: modules named by the hash of their bytes,
// and names that lead to them.
//
// The bytes are files of their own, written once and checked against their hash
// whenever they are read. A name leads to one digest at a time; which digests it
// led to before, since when and by whom is kept.
package registry
