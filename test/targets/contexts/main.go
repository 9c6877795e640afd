// Command contexts calls functions under spans that are found in as many ways as there are, and
// writes as JSON, for every function, how many calls belong under which span ("" for none).
//
//	contexts FILE
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sync"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

const (
	origins      = 100
	starters     = 100 // by origin
	levels       = 6   // go statements between a span and the call that inherits it
	fewWrappers  = 30
	manyWrappers = 90
)

type wrapperKey int

// Pointer and value of a type of one's own, the context not being its first field.
type custom struct {
	name string
	more [3]int
	context.Context
}

var (
	known  = map[string]map[string]int{}
	mutex  sync.Mutex
	tracer = sdktrace.NewTracerProvider().Tracer("contexts")
)

func expect(name string, span trace.Span) {
	id := ""
	if span != nil {
		id = span.SpanContext().SpanID().String()
	}
	mutex.Lock()
	defer mutex.Unlock()
	if known["main."+name] == nil {
		known["main."+name] = map[string]int{}
	}
	known["main."+name][id]++
}

// The calls keep the functions from being leaves without a frame.
//
//go:noinline
func use(value int) {
	if value < 0 {
		fmt.Println("negative")
	}
}

//go:noinline
func pass(ctx context.Context) {
	if ctx == context.TODO() {
		fmt.Println("to do")
	}
}

//go:noinline
func first(ctx context.Context) { pass(ctx) }

//go:noinline
func third(a string, b []int, ctx context.Context) { use(len(a) + len(b)); pass(ctx) }

//go:noinline
func onStack(a, b, c, d, e, f, g, h int, ctx context.Context, i int) { use(a + h + i); pass(ctx) }

//go:noinline
func fewWraps(ctx context.Context) { pass(ctx) }

//go:noinline
func manyWraps(ctx context.Context) { pass(ctx) }

//go:noinline
func customPointer(ctx context.Context) { pass(ctx) }

//go:noinline
func customValue(ctx context.Context) { pass(ctx) }

//go:noinline
func nilContext(ctx context.Context) { pass(ctx) }

//go:noinline
func typedNil(ctx context.Context) { pass(ctx) }

//go:noinline
func current() { use(len(os.Args)) }

//go:noinline
func afterForeignEnd() { use(len(os.Args)) }

//go:noinline
func inherited() { use(len(os.Args)) }

//go:noinline
func inheritedNothing() { use(len(os.Args)) }

//go:noinline
func inheritedFromCall() { use(len(os.Args)) }

//go:noinline
func starts(ctx context.Context, done chan bool) {
	pass(ctx)
	go func() { inheritedFromCall(); done <- true }()
	<-done
}

func wrap(ctx context.Context, times int) context.Context {
	for i := 0; i < times; i++ {
		ctx = context.WithValue(ctx, wrapperKey(i), i)
	}
	return ctx
}

// Runs `do` as many go statements away, none of which has a traced call.
func away(levels int, do func()) {
	if levels == 0 {
		do()
		return
	}
	go away(levels-1, do)
}

// On a goroutine of its own that inherits nothing and has no other span.
func alone(do func()) {
	var done sync.WaitGroup
	done.Add(1)
	go func() { defer done.Done(); do() }()
	done.Wait()
}

func explicit() {
	// Neither current nor inherited where the calls are: their goroutine is started before.
	type started struct {
		ctx  context.Context
		span trace.Span
	}
	handed, done := make(chan started), make(chan bool)
	go func() {
		defer close(done)
		got := <-handed
		ctx, span := got.ctx, got.span
		expect("first", span)
		first(ctx)
		expect("third", span)
		third("a", nil, ctx)
		expect("onStack", span)
		onStack(1, 2, 3, 4, 5, 6, 7, 8, ctx, 9)
		expect("fewWraps", span)
		fewWraps(wrap(ctx, fewWrappers))
		expect("manyWraps", span)
		manyWraps(wrap(ctx, manyWrappers))
		expect("customPointer", span)
		customPointer(&custom{name: "a", Context: ctx})
		expect("customValue", span)
		customValue(context.WithValue(custom{name: "a", Context: ctx}, wrapperKey(1), 1))
	}()
	ctx, span := tracer.Start(context.Background(), "explicit")
	handed <- started{ctx, span}
	<-done
	span.End()
	expect("nilContext", nil)
	nilContext(nil)
	var none *custom
	expect("typedNil", nil)
	typedNil(none)
}

func implicit() {
	ctx, span := tracer.Start(context.Background(), "implicit")
	expect("current", span)
	current()
	done := make(chan bool)
	expect("starts", span)
	expect("inheritedFromCall", span)
	starts(ctx, done)
	go func() { span.End(); done <- true }()
	<-done
	expect("afterForeignEnd", nil)
	afterForeignEnd()
}

func inheritance() {
	var done sync.WaitGroup
	for i := 0; i < origins; i++ {
		_, span := tracer.Start(context.Background(), "origin")
		for j := 0; j < starters; j++ {
			done.Add(1)
			away(levels, func() { defer done.Done(); expect("inherited", span); inherited() })
		}
		if i%2 == 0 {
			span.End()
			done.Add(1)
			away(levels, func() { defer done.Done(); expect("inheritedNothing", nil); inheritedNothing() })
		} else {
			done.Wait()
			span.End()
		}
	}
	done.Wait()
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: contexts FILE")
		os.Exit(2)
	}
	for _, part := range []func(){explicit, implicit, inheritance} {
		alone(part)
	}
	written, err := json.Marshal(known)
	if err == nil {
		err = os.WriteFile(os.Args[1], written, 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "contexts:", err)
		os.Exit(1)
	}
}
