// Command durable is a test guest whose program goes on between its calls:
// goroutines wait in channels and selects, timers run, maps and a large heap are
// kept. Every call of turn changes all of it and returns what it looks like.
package main

import (
	"crypto/rand"
	"encoding/binary"
	"hash/fnv"
	mathrand "math/rand/v2"
	"sort"
	"strconv"
	"sync"
	"time"
	"unsafe"
)

//go:wasmimport extism:host/env input_length
func inputLength() uint64

//go:wasmimport extism:host/env output_set
func outputSet(off uint64, n uint64)

//go:wasmimport extism:host/env length
func length(off uint64) uint64

//go:wasmimport extism:host/env config_get
func configGet(off uint64) uint64

//go:wasmimport extism:host/env var_get
func varGet(off uint64) uint64

//go:wasmimport extism:host/env var_set
func varSet(name, value uint64)

//go:wasmimport vespiary:mem input_read
func inputRead(p unsafe.Pointer, n uint32)

//go:wasmimport vespiary:mem block_read
func blockRead(off uint64, p unsafe.Pointer, n uint32)

//go:wasmimport vespiary:mem block_new
func blockNew(p unsafe.Pointer, n uint32) uint64

//go:wasmimport extism:host/user tool_call
func toolCall(off uint64) uint64

func input() []byte {
	b := make([]byte, inputLength())
	inputRead(unsafe.Pointer(unsafe.SliceData(b)), uint32(len(b)))
	return b
}

func store(b []byte) uint64 {
	return blockNew(unsafe.Pointer(unsafe.SliceData(b)), uint32(len(b)))
}

func load(off uint64) []byte {
	b := make([]byte, length(off))
	blockRead(off, unsafe.Pointer(unsafe.SliceData(b)), uint32(len(b)))
	return b
}

func output(s string) { outputSet(store([]byte(s)), uint64(len(s))) }

func main() {}

// question waits for an answer from a goroutine that lives as long as the guest.
type question struct {
	word   string
	answer chan string
}

var (
	turns     int
	questions = make(chan question)
	notes     = make(chan string, 64)
	ticks     = make(chan string, 1024)
	words     = map[string]int{}
	heap      []byte // as many MiB as the configuration says
	chosen    [2]int
	drawn     = mathrand.New(mathrand.NewPCG(1, 2))
)

func init() {
	go remember()
	mib, _ := strconv.Atoi(string(load(configGet(store([]byte("heap"))))))
	heap = make([]byte, mib<<20)
	for i := 0; i < len(heap); i += 512 {
		binary.LittleEndian.PutUint32(heap[i:], uint32(i)*2654435761)
	}
}

// remember is parked in a select between two calls.
func remember() {
	seen := map[string]int{}
	for {
		select {
		case q := <-questions:
			seen[q.word]++
			q.answer <- q.word + "=" + strconv.Itoa(seen[q.word])
		case n := <-notes:
			seen["note "+n]++
		}
	}
}

//go:wasmexport turn
func turn() int32 {
	turns++
	word := string(input())
	out := strconv.Itoa(turns) + " " + ask(word)
	out += " " + race()
	out += " " + choose()
	out += " " + wait()
	out += " " + count(word)
	out += " " + sum()
	out += " " + string(load(toolCall(store([]byte(word)))))
	out += " " + recall(word)
	output(out)
	return 0
}

func ask(word string) string {
	q := question{word, make(chan string)}
	questions <- q
	select {
	case notes <- word:
	default:
	}
	return <-q.answer
}

// race shows in which order goroutines get to run.
func race() string {
	var all sync.WaitGroup
	var mu sync.Mutex
	order := ""
	for g := range 8 {
		all.Add(1)
		go func() {
			defer all.Done()
			for range (g*7 + turns) % 5 {
				yield()
			}
			mu.Lock()
			defer mu.Unlock()
			order += strconv.Itoa(g)
		}()
	}
	all.Wait()
	return order
}

func yield() {
	c := make(chan bool)
	go func() { c <- true }()
	<-c
}

// choose selects among channels that are all ready.
func choose() string {
	a, b := make(chan int, 20), make(chan int, 20)
	for n := range 20 {
		a <- n
		b <- n
	}
	for range 20 {
		select {
		case <-a:
			chosen[0]++
		case <-b:
			chosen[1]++
		}
	}
	return strconv.Itoa(chosen[0]) + ":" + strconv.Itoa(chosen[1])
}

// wait sleeps, and leaves timers behind that fire in later calls.
func wait() string {
	for n := range 3 {
		label := strconv.Itoa(turns) + "." + strconv.Itoa(n)
		time.AfterFunc(time.Duration(n)*2500*time.Millisecond, func() { ticks <- label })
	}
	time.Sleep(20 * time.Millisecond)
	fired := ""
	for len(ticks) > 0 {
		fired += <-ticks + ","
	}
	return fired + time.Now().UTC().Format(time.RFC3339Nano)
}

// count depends on the order in which a map is walked.
func count(word string) string {
	for n := range 50 {
		words[word+strconv.Itoa(n*turns%97)]++
	}
	h := fnv.New64a()
	n := 0
	for w, c := range words {
		h.Write([]byte(w + strconv.Itoa(c)))
		if n++; n%5 == 0 && len(words) > 500 {
			delete(words, w)
		}
	}
	keys := make([]string, 0, len(words))
	for w := range words {
		keys = append(keys, w)
	}
	sort.Strings(keys)
	for _, w := range keys {
		h.Write([]byte(w))
	}
	return strconv.FormatUint(h.Sum64(), 16)
}

// sum changes the heap here and there, makes garbage, and adds up a part.
func sum() string {
	total := uint64(turns)
	for i := turns * 4096; i < len(heap); i += 1 << 20 {
		heap[i%len(heap)] += byte(turns)
		total = total*31 + uint64(heap[i])
	}
	var kept [][]byte
	for n := range 200 {
		kept = append(kept, make([]byte, 100+n*10))
	}
	var fresh [8]byte
	rand.Read(fresh[:])
	return strconv.FormatUint(total+uint64(len(kept)), 16) + "/" + strconv.FormatUint(binary.LittleEndian.Uint64(fresh[:]), 16) +
		"/" + strconv.Itoa(drawn.IntN(1000)) + "/" + strconv.Itoa(mathrand.IntN(1000))
}

// recall exchanges a variable that the host keeps.
func recall(word string) string {
	name := store([]byte("last"))
	old := string(load(varGet(name)))
	varSet(store([]byte("last")), store([]byte(old+word)))
	return strconv.Itoa(len(old))
}

//go:wasmexport draw
func draw() int32 {
	output(strconv.Itoa(mathrand.IntN(1_000_000)) + " " + strconv.Itoa(drawn.IntN(1_000_000)))
	return 0
}

//go:wasmexport vespiary_reseed
func reseed() int32 {
	b := input()
	if len(b) != 32 {
		return 1
	}
	drawn = mathrand.New(mathrand.NewPCG(binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])))
	return 0
}
