package main

import (
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"time"
)

// Profiles are Go's own, as text.
type Profiles struct {
	Block string `json:"block"`
	Mutex string `json:"mutex"`
}

var crowded sync.Mutex

// Waits for the others, and they for it.
//
//go:noinline
func crowd() {
	crowded.Lock()
	spin(300 * time.Microsecond)
	crowded.Unlock()
}

// Each wait is in the profiles, however short.
func profileAll(rounds int, path string) {
	runtime.SetBlockProfileRate(1)
	runtime.SetMutexProfileFraction(1)
	measureAll(rounds)
	var group sync.WaitGroup
	for i := 0; i < 4; i++ {
		group.Add(1)
		go func() {
			defer group.Done()
			for round := 0; round < 20*rounds; round++ {
				crowd()
			}
		}()
	}
	group.Wait()
	write(path, Profiles{Block: text("block"), Mutex: text("mutex")})
}

func text(name string) string {
	var to strings.Builder
	if err := pprof.Lookup(name).WriteTo(&to, 1); err != nil {
		panic(err)
	}
	return to.String()
}
