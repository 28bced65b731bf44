// Package block moves bytes between a guest and the memory blocks of its host, as
// in Extism's extism:host/env.
//
// By default whole blocks are copied by the imports of vespiary:mem. Under the
// build tag nobulk only extism:host/env is imported, eight bytes a call, so that
// the module also runs on hosts that know Extism's interface and nothing else.
//
// Outside wasip1 the package is empty.
package block
