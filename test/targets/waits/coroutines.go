//go:build go1.23

package main

import (
	"iter"
	"time"
)

func init() { coroutines = pullAll }

// Waits for what the coroutine beneath it waits for.
//
//go:noinline
func puller(next func() (int, bool)) { next() }

// Waits for the next time that it is asked.
//
//go:noinline
func producer(yield func(int) bool) {
	for yield(1) {
		time.Sleep(wait)
	}
}

// On a goroutine that the runtime has made of what a coroutine was.
//
//go:noinline
func successor(done chan struct{}) { close(done) }

func pullAll(rounds int) {
	next, stop := iter.Pull(producer)
	next()
	for round := 0; round < rounds; round++ {
		measure("main.puller", func() { puller(next) })
		spin(wait)
	}
	stop()
	for round := 0; round < rounds; round++ {
		next, stop := iter.Pull(producer)
		next()
		stop()
		done := make(chan struct{})
		go successor(done)
		<-done
	}
}
