// Command millions makes a given number of calls from eight goroutines, on stacks that grow and
// shrink all the time and under constant garbage collection, and checks what they return. One call
// of every PANICS is unwound by a panic that is recovered three frames up. It writes its own count
// as JSON to the file that it is given.
//
//	millions FILE CALLS [PANICS]
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
)

const goroutines = 8

var counts [4]struct {
	n   int64
	pad [7]int64
}

const (
	ofMix = iota
	ofDescend
	ofGuard
	ofFall
)

func count(which int) { atomic.AddInt64(&counts[which].n, 1) }

// canary is left on each frame, and must be there when the call returns.
const canary = 0x5eed5eed5eed5eed

//go:noinline
func mix(n uint64) uint64 {
	count(ofMix)
	if n == 1<<63 {
		fmt.Println("never")
	}
	return n*0x9e3779b97f4a7c15 ^ n>>7
}

// descend returns the sum of mix(n) to mix(n+depth), from frames that outgrow a young stack.
//
//go:noinline
func descend(n uint64, depth int) uint64 {
	count(ofDescend)
	var frame [96]uint64
	frame[depth] = canary
	sum := mix(n)
	if depth > 0 {
		sum += descend(n+1, depth-1)
	}
	garbage := make([]byte, 256)
	garbage[depth] = 1
	if frame[depth] != canary {
		panic("a frame was overwritten")
	}
	return sum + uint64(garbage[depth]) - 1
}

//go:noinline
func guard(n uint64, panics int) (sum uint64) {
	count(ofGuard)
	defer func() {
		if caught := recover(); caught != nil && caught != "fallen" {
			panic(caught)
		} else if caught != nil {
			sum = n
		}
	}()
	return fall(n, 2, panics)
}

//go:noinline
func fall(n uint64, depth, panics int) uint64 {
	count(ofFall)
	if depth > 0 {
		return fall(n, depth-1, panics)
	}
	if panics > 0 && n%uint64(panics) == 0 {
		panic("fallen")
	}
	return n
}

// work makes its share of the calls; every stretch is a goroutine with a stack that begins small.
func work(g uint64, share int64, panics int) {
	done := make(chan bool)
	var calls int64
	for round := uint64(0); calls < share; round++ {
		depth := int(round % 60)
		go func() {
			n := g<<32 | round<<8
			var want uint64
			for i := 0; i <= depth; i++ {
				m := n + uint64(i)
				want += m*0x9e3779b97f4a7c15 ^ m>>7
			}
			if descend(n, depth) != want {
				panic("a wrong sum")
			}
			for i := uint64(0); i < 4; i++ {
				if guard(round*4+i, panics) != round*4+i {
					panic("a wrong number")
				}
			}
			done <- true
		}()
		<-done
		calls += 2*int64(depth+1) + 4*4
	}
}

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: millions FILE CALLS [PANICS]")
		os.Exit(2)
	}
	calls, err := strconv.ParseInt(os.Args[2], 10, 64)
	panics := 0
	if err == nil && len(os.Args) > 3 {
		panics, err = strconv.Atoi(os.Args[3])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "millions:", err)
		os.Exit(2)
	}
	stop := make(chan bool)
	go func() {
		for {
			select {
			case <-stop:
				return
			default:
				runtime.GC()
			}
		}
	}()
	var running sync.WaitGroup
	for g := uint64(0); g < goroutines; g++ {
		running.Add(1)
		go func(g uint64) {
			defer running.Done()
			work(g, calls/goroutines, panics)
		}(g)
	}
	running.Wait()
	close(stop)
	known, err := json.Marshal(map[string]int64{
		"main.mix": counts[ofMix].n, "main.descend": counts[ofDescend].n,
		"main.guard": counts[ofGuard].n, "main.fall": counts[ofFall].n,
	})
	if err == nil {
		err = os.WriteFile(os.Args[1], known, 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "millions:", err)
		os.Exit(1)
	}
}
