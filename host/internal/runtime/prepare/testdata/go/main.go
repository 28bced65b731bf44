// A guest that prints what depends on its memory, its globals and its scheduler.
package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync"
)

func main() {
	var wg sync.WaitGroup
	sums := make([]int, 8)
	for i := range sums {
		wg.Go(func() {
			for k := range 20_000 {
				sums[i] += k * i
			}
		})
	}
	wg.Wait()
	m := map[string]any{"sums": sums, "sorted": slices.Sorted(slices.Values([]string{"c", "a", "b"}))}
	for range 200 {
		b, err := json.Marshal(m)
		if err != nil || json.Unmarshal(b, &m) != nil {
			panic(err)
		}
	}
	big := make([]byte, 1<<20)
	copy(big[1:], big)
	fmt.Println(m, len(big))
}
