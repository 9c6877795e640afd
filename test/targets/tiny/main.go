// Command tiny calls a few functions from several goroutines, counts the calls itself, and writes
// the counts as JSON to the file it is given: the smallest program whose calls can be checked.
//
//	tiny COUNTS-FILE ROUNDS
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
)

const (
	goroutines = 4
	steps      = 3
	depth      = 5
)

var worked, stepped, descended, grown atomic.Int64

//go:noinline
func work(round int) int {
	worked.Add(1)
	sum := 0
	for i := 0; i < steps; i++ {
		sum += step(round + i)
	}
	return sum + descend(depth)
}

// The conditional call keeps step from being a leaf without a frame.
//
//go:noinline
func step(value int) int {
	stepped.Add(1)
	if value < 0 {
		fmt.Println("negative")
	}
	return value * 2
}

//go:noinline
func descend(left int) int {
	descended.Add(1)
	if left == 0 {
		return 0
	}
	return 1 + descend(left-1)
}

// grow makes a young goroutine's stack move while calls are open on it.
//
//go:noinline
func grow(left int) byte {
	grown.Add(1)
	var frame [2048]byte
	frame[left] = byte(left)
	if left == 0 {
		return frame[0]
	}
	return grow(left-1) + frame[left]
}

func run(path string, rounds int) error {
	var running sync.WaitGroup
	for g := 0; g < goroutines; g++ {
		running.Add(1)
		go func() {
			defer running.Done()
			grow(9)
			for round := 0; round < rounds; round++ {
				work(round)
			}
		}()
	}
	running.Wait()
	counts, err := json.Marshal(map[string]int64{
		"main.work":    worked.Load(),
		"main.step":    stepped.Load(),
		"main.descend": descended.Load(),
		"main.grow":    grown.Load(),
	})
	if err != nil {
		return err
	}
	return os.WriteFile(path, counts, 0o644)
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: tiny COUNTS-FILE ROUNDS")
		os.Exit(2)
	}
	rounds, err := strconv.Atoi(os.Args[2])
	if err == nil {
		err = run(os.Args[1], rounds)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "tiny:", err)
		os.Exit(1)
	}
}
