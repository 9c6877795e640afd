// Command matrix calls functions of every shape, within spans of the official SDK, in ways that
// end in every way. It counts the calls itself and knows the parent of each, and writes both as
// JSON to the file that it is given: what Go versions and ways of building are checked by.
//
//	matrix FILE ROUNDS
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"strconv"
	"sync"
	"sync/atomic"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

var counts sync.Map // function name -> *int64

// count is the first thing that a function does. The name is the test's.
func count(name string) {
	n, ok := counts.Load(name)
	if !ok {
		n, _ = counts.LoadOrStore(name, new(int64))
	}
	atomic.AddInt64(n.(*int64), 1)
}

type point struct{ x, y int }

//go:noinline
func (p point) value(ctx context.Context) int { count("main.point.value"); return p.x + p.y }

type counter struct{ n int64 }

//go:noinline
func (c *counter) pointer(ctx context.Context) int64 {
	count("main.(*counter).pointer")
	return atomic.AddInt64(&c.n, 1)
}

//go:noinline
func generic[T any](ctx context.Context, value T) string {
	count("main.generic[...]")
	return fmt.Sprint(value)
}

//go:noinline
func third(a float64, b string, ctx context.Context) (float64, string, error) {
	count("main.third")
	if a < 0 {
		return 0, "", ctx.Err()
	}
	if a > 1e6 {
		return a, b, nil
	}
	return a + 1, b + "!", nil
}

//go:noinline
func onStack(a, b, c, d, e, f, g, h, i int, ctx context.Context) int {
	count("main.onStack")
	return a + b + c + d + e + f + g + h + i
}

// leaf has no frame and no stack check.
//
//go:noinline
func leaf(a, b int) int { return a*b + leafCalls(a) }

// leafCalls is inlined, and counts without a call.
func leafCalls(a int) int { leaves++; return a & 1 }

var leaves int64

//go:noinline
func nothing(ctx context.Context) { count("main.nothing") }

// assembly is in add_amd64.s.
func assembly(a, b int) int

//go:noinline
func recursive(ctx context.Context, n int) int {
	count("main.recursive")
	if n == 0 {
		return 0
	}
	return 1 + recursive(ctx, n-1)
}

//go:noinline
func even(n int) bool { count("main.even"); return n == 0 || odd(n-1) }

//go:noinline
func odd(n int) bool { count("main.odd"); return n != 0 && even(n-1) }

// grow moves the stack of a young goroutine while calls are open on it.
//
//go:noinline
func grow(ctx context.Context, left int) byte {
	count("main.grow")
	var frame [2048]byte
	frame[left] = byte(left)
	if left == 0 {
		return frame[0]
	}
	return grow(ctx, left-1) + frame[left]
}

// migrate goes on on another thread, as likely as not.
//
//go:noinline
func migrate(ctx context.Context) {
	count("main.migrate")
	for i := 0; i < 3; i++ {
		done := make(chan bool)
		go func() { runtime.LockOSThread(); done <- true }()
		<-done
		runtime.Gosched()
	}
}

//go:noinline
func guard(ctx context.Context) (caught bool) {
	count("main.guard")
	defer func() { caught = recover() != nil }()
	fall(ctx, 3)
	return false
}

//go:noinline
func fall(ctx context.Context, n int) int {
	count("main.fall")
	if n == 0 {
		panic("fallen")
	}
	return fall(ctx, n-1) + 1
}

//go:noinline
func exits(ctx context.Context) {
	count("main.exits")
	runtime.Goexit()
}

// wrapped is a context of the program's own, which does not begin with the one that it embeds.
type wrapped struct {
	tenant string
	context.Context
}

//go:noinline
func custom(ctx context.Context) { count("main.custom") }

//go:noinline
func distant(ctx context.Context) { count("main.distant") }

//go:noinline
func remote(ctx context.Context) { count("main.remote") }

//go:noinline
func unsampled(ctx context.Context) { count("main.unsampled") }

//go:noinline
func handed(ctx context.Context) { count("main.handed") }

//go:noinline
func inherits(levels int, done chan bool) {
	count("main.inherits")
	if levels == 0 {
		done <- true
		return
	}
	go inherits(levels-1, done)
}

//go:noinline
func labelled() { count("main.labelled") }

//go:noinline
func current() { count("main.current") }

type key struct{}

// known is what the test reads.
type known struct {
	Calls map[string]int64 `json:"calls"`
	// Trace ids by the ids of spans.
	Spans map[string]string `json:"spans"`
	// Where each call's parent is: "span", "remote", or a function.
	Parents map[string]string `json:"parents"`
	mutex   sync.Mutex
}

func (k *known) note(span trace.SpanContext) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	k.Spans[span.SpanID().String()] = span.TraceID().String()
}

type work struct {
	ctx  context.Context
	span trace.Span
	done chan bool
}

// worker has calls made on another goroutine than that of their span, and ends the span there.
func worker(queue chan work) {
	for w := range queue {
		handed(w.ctx)
		w.span.End()
		w.done <- true
	}
}

func (k *known) round(tracer, never trace.Tracer, queue chan work, i int) {
	ctx, span := tracer.Start(context.Background(), "round")
	k.note(span.SpanContext())
	c := &counter{}
	point{i, 1}.value(ctx)
	c.pointer(ctx)
	method := c.pointer
	if i%2 == 0 {
		method = (&counter{}).pointer
	}
	method(ctx)
	generic(ctx, i)
	generic(ctx, "text")
	generic(ctx, &point{})
	third(float64(i), "x", ctx)
	onStack(1, 2, 3, 4, 5, 6, 7, 8, 9, ctx)
	leaf(i, 2)
	nothing(ctx)
	assembly(i, 3)
	recursive(ctx, 5)
	even(4)
	migrate(ctx)
	guard(ctx)
	current()
	custom(&wrapped{"acme", ctx})
	far := ctx
	for n := 0; n < 40; n++ {
		far = context.WithValue(far, key{}, n)
	}
	distant(far)

	done := make(chan bool)
	go func() { grow(ctx, 9); done <- true }()
	<-done
	go func() {
		defer func() { done <- true }()
		exits(ctx)
	}()
	<-done
	go inherits(5, done)
	<-done

	handedCtx, handedSpan := tracer.Start(ctx, "handed")
	k.note(handedSpan.SpanContext())
	queue <- work{handedCtx, handedSpan, done}
	<-done
	span.End()

	// The SDK's own span that records nothing.
	offCtx, off := never.Start(context.Background(), "off")
	k.note(off.SpanContext())
	unsampled(offCtx)
	off.End()

	from := trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{1, byte(i), byte(i >> 8), 15: 1}, SpanID: trace.SpanID{2, byte(i), byte(i >> 8), 7: 1},
		TraceFlags: trace.FlagsSampled, Remote: true,
	})
	k.note(from)
	remote(trace.ContextWithRemoteSpanContext(context.Background(), from))

	labels := pprof.Labels("trace_id", from.TraceID().String(), "span_id", from.SpanID().String())
	queueLabelled(labels)
}

// queueLabelled runs on a goroutine that no span was open for.
func queueLabelled(labels pprof.LabelSet) {
	done := make(chan bool)
	labelQueue <- func() {
		pprof.Do(context.Background(), labels, func(context.Context) { labelled() })
		done <- true
	}
	<-done
}

var labelQueue = make(chan func())

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: matrix FILE ROUNDS")
		os.Exit(2)
	}
	rounds, err := strconv.Atoi(os.Args[2])
	if err != nil {
		fmt.Fprintln(os.Stderr, "matrix:", err)
		os.Exit(2)
	}
	k := &known{Spans: map[string]string{}, Parents: map[string]string{
		"main.recursive": "main.recursive", "main.even": "main.odd", "main.odd": "main.even",
		"main.grow": "main.grow", "main.fall": "main.fall", "main.guard": "span",
	}}
	tracer := sdktrace.NewTracerProvider().Tracer("matrix")
	never := sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.NeverSample())).Tracer("never")
	queue := make(chan work)
	go worker(queue)
	go func() {
		for run := range labelQueue {
			run()
		}
	}()
	var running sync.WaitGroup
	for g := 0; g < 4; g++ {
		running.Add(1)
		go func(g int) {
			defer running.Done()
			for i := 0; i < rounds; i++ {
				k.round(tracer, never, queue, g*rounds+i)
			}
		}(g)
	}
	running.Wait()
	k.Calls = map[string]int64{}
	counts.Range(func(name, n any) bool {
		k.Calls[name.(string)] = *n.(*int64)
		return true
	})
	written, err := json.Marshal(k)
	if err == nil {
		err = os.WriteFile(os.Args[1], written, 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "matrix:", err)
		os.Exit(1)
	}
}
