package main

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"sync"

	"example.com/shop/telemetry"
	"example.com/shop/truth"
)

// PanicHandler: n panics, each recovered some frames up.
type PanicHandler struct{ shop *Shop }

func (h *PanicHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer truth.Enter(r.Context(), "main.(*PanicHandler).ServeHTTP")()
	n, recovered := number(r, "n", 1), 0
	for i := range n {
		if err := h.shop.attempt(r.Context(), i); err != nil {
			recovered++
		}
		// The next call on this goroutine must not hang from one that the panic ended.
		h.shop.apologise(i)
	}
	fmt.Fprintln(w, recovered)
}

func (s *Shop) attempt(ctx context.Context, i int) (err error) {
	defer truth.Enter(ctx, "main.(*Shop).attempt")()
	defer func() {
		// Runs on top of the frames that panicked: they are open until it returns.
		defer truth.Enter(nil, "main.(*Shop).attempt.func1")()
		if reason := recover(); reason != nil {
			err = fmt.Errorf("recovered: %v", reason)
		}
	}()
	s.prepare(ctx, i)
	return nil
}

// prepare leaves its span to another package: around a `defer span.End()` of its own the compiler
// would put a function whose name begins with main., which stays open through the second panic.
func (s *Shop) prepare(ctx context.Context, i int) {
	leave := truth.Enter(ctx, "main.(*Shop).prepare")
	telemetry.InSpan(ctx, s.tracer, "prepare", func(ctx context.Context) {
		leave := truth.Enter(ctx, "main.(*Shop).prepare.func1")
		s.assemble(i)
		s.audit(ctx, "unreachable", nil)
		leave()
	})
	leave()
}

func (s *Shop) assemble(i int) {
	leave := truth.Enter(nil, "main.(*Shop).assemble")
	explode(i)
	leave()
}

func explode(i int) int {
	leave := truth.Enter(nil, "main.explode")
	if i%2 == 0 {
		panic("out of wrapping paper")
	}
	shelf := make([]int, i)
	boxes := shelf[i] // the runtime's own panic: an index out of range
	leave()
	return boxes
}

func (s *Shop) apologise(i int) int {
	defer truth.Enter(nil, "main.(*Shop).apologise")()
	return i
}

// DeepHandler: n calls deep, each with a large frame, on a goroutine whose stack is small.
type DeepHandler struct{ shop *Shop }

func (h *DeepHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer truth.Enter(r.Context(), "main.(*DeepHandler).ServeHTTP")()
	n, ctx := number(r, "n", 10), r.Context()
	done := make(chan int)
	truth.Go(func() {
		defer truth.Enter(nil, "main.(*DeepHandler).ServeHTTP.func1")()
		done <- descend(ctx, n)
	})
	fmt.Fprintln(w, <-done)
}

// descend outgrows any stack that a goroutine starts with, and leaves garbage behind.
func descend(ctx context.Context, n int) int {
	defer truth.Enter(ctx, "main.descend")()
	var frame [8192]byte
	garbage := make([]byte, 1024)
	for i := range garbage {
		frame[(i*n)%len(frame)]++
		garbage[i] = frame[i]
	}
	if n > 1 {
		return descend(ctx, n-1) + int(frame[n]) + len(garbage)
	}
	return measure(frame[:])
}

func measure(frame []byte) int {
	defer truth.Enter(nil, "main.measure")()
	sum := 0
	for _, b := range frame {
		sum += int(b)
	}
	return sum
}

// ExitHandler: a goroutine that ends in the middle of its calls.
type ExitHandler struct{ shop *Shop }

func (h *ExitHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer truth.Enter(r.Context(), "main.(*ExitHandler).ServeHTTP")()
	n, ctx := number(r, "n", 1), r.Context()
	var exits sync.WaitGroup
	for range n {
		exits.Add(1)
		truth.Go(func() {
			leave := truth.Enter(nil, "main.(*ExitHandler).ServeHTTP.func1")
			defer exits.Done()
			defer truth.Unwind()
			walkOut(ctx)
			leave()
		})
	}
	exits.Wait()
	fmt.Fprintln(w, n)
}

func walkOut(ctx context.Context) {
	leave := truth.Enter(ctx, "main.walkOut")
	runtime.Goexit()
	leave()
}

// BurnHandler: many calls of a tiny function, for counting.
type BurnHandler struct{}

func (h *BurnHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer truth.Enter(r.Context(), "main.(*BurnHandler).ServeHTTP")()
	calls, goroutines := number(r, "calls", 1000), max(1, number(r, "goroutines", 1))
	var burners sync.WaitGroup
	for i := range goroutines {
		share := calls / goroutines
		if i < calls%goroutines {
			share++
		}
		burners.Add(1)
		truth.Go(func() {
			defer truth.Enter(nil, "main.(*BurnHandler).ServeHTTP.func1")()
			defer burners.Done()
			var sum uint64
			for n := range share {
				sum += tick(uint64(n))
			}
			runtime.KeepAlive(sum)
		})
	}
	burners.Wait()
	fmt.Fprintln(w, calls)
}

// Marked, since nothing else about so small a function promises that it is not inlined one day.
//
//go:noinline
func tick(n uint64) uint64 {
	leave := truth.Enter(nil, "main.tick")
	n = n*0x9e3779b97f4a7c15 ^ n>>7
	leave()
	return n
}
