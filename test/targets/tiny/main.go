// Command tiny calls a few functions from several goroutines, within spans of the official SDK that
// go nowhere. It counts the calls itself and writes what it knows as JSON to the file it is given:
// the smallest program whose traced calls can be checked. It pauses after each round, if told to,
// and begins when its standard input ends, if told to wait.
//
//	tiny FILE ROUNDS [PAUSE [wait]]
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

const (
	goroutines  = 4
	steps       = 3
	descents    = 5
	growthDepth = 9
)

var worked, stepped, descended, grown atomic.Int64

// work is handed the span's context.
//
//go:noinline
func work(ctx context.Context, round int) int {
	worked.Add(1)
	if ctx.Err() != nil {
		return 0
	}
	sum := 0
	for i := 0; i < steps; i++ {
		sum += step(round + i)
	}
	return sum + descend(descents)
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

// grow is handed no context, and makes a young goroutine's stack move while calls are open on it.
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

// truth is what the program knows of itself. Spans are trace ids by span id.
type truth struct {
	Calls   map[string]int64  `json:"calls"`
	Rounds  map[string]string `json:"rounds"`
	Growths map[string]string `json:"growths"`
	// Sum of what work returned.
	Worked int64 `json:"worked"`
	// How long all of it took.
	Nanoseconds int64 `json:"nanoseconds"`
	mutex       sync.Mutex
}

func (t *truth) within(spans map[string]string, tracer trace.Tracer, name string, do func(context.Context)) {
	ctx, span := tracer.Start(context.Background(), name)
	defer span.End()
	id := span.SpanContext()
	t.mutex.Lock()
	spans[id.SpanID().String()] = id.TraceID().String()
	t.mutex.Unlock()
	do(ctx)
}

func run(rounds int, pause time.Duration) *truth {
	known := &truth{Rounds: map[string]string{}, Growths: map[string]string{}}
	tracer := sdktrace.NewTracerProvider().Tracer("tiny")
	began := time.Now()
	var running sync.WaitGroup
	var results atomic.Int64
	for g := 0; g < goroutines; g++ {
		running.Add(1)
		go func() {
			defer running.Done()
			known.within(known.Growths, tracer, "growth", func(context.Context) { grow(growthDepth) })
			for round := 0; round < rounds; round++ {
				known.within(known.Rounds, tracer, "round", func(ctx context.Context) {
					results.Add(int64(work(ctx, round)))
				})
				time.Sleep(pause)
			}
		}()
	}
	running.Wait()
	known.Nanoseconds = time.Since(began).Nanoseconds()
	known.Worked = results.Load()
	known.Calls = map[string]int64{
		"main.work":    worked.Load(),
		"main.step":    stepped.Load(),
		"main.descend": descended.Load(),
		"main.grow":    grown.Load(),
	}
	return known
}

func main() {
	waits := len(os.Args) == 5 && os.Args[4] == "wait"
	if len(os.Args) < 3 || len(os.Args) > 4 && !waits {
		fmt.Fprintln(os.Stderr, "usage: tiny FILE ROUNDS [PAUSE [wait]]")
		os.Exit(2)
	}
	rounds, err := strconv.Atoi(os.Args[2])
	var pause time.Duration
	if err == nil && len(os.Args) > 3 {
		pause, err = time.ParseDuration(os.Args[3])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "tiny:", err)
		os.Exit(2)
	}
	if waits {
		io.Copy(io.Discard, os.Stdin)
	}
	known, err := json.Marshal(run(rounds, pause))
	if err == nil {
		err = os.WriteFile(os.Args[1], known, 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "tiny:", err)
		os.Exit(1)
	}
}
