//go:build !linux && !darwin

package runtime

import "github.com/tetratelabs/wazero/experimental"

// newMemory makes the memory of an instance.
func newMemory(_, limit uint64) experimental.LinearMemory { return &heapMemory{limit: limit} }
