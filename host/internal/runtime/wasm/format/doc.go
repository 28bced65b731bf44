// Package format is the binary format of core WebAssembly modules: sections,
// entries and instructions, read strictly and written in their shortest form.
//
// Read walks every section and every function body, checks each count and length
// against the bytes that are really there and each index against what it names,
// and refuses what the host does not run, with a message that tells the plugin's
// author what to do. A compiler that allocates by a declared count before it has
// read the entries is killed by a module of fifteen bytes; behind Read it is not.
// Read does not type-check code: that is the compiler's work.
//
// Numbers, encodings and names follow the WebAssembly core specification,
// release 2.0.
package format
