// Package truth is the shop's own account of what its functions did: how often each was called
// (always), and with a log open, on which goroutine, under which spans and inside which call. A
// test compares it with what a tracer saw from outside.
package truth

import (
	"bufio"
	"context"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"
)

var (
	counters sync.Map // function name -> *atomic.Uint64
	journal  *log     // nil: not logging
)

type log struct {
	mutex      sync.Mutex
	file       *os.File
	out        *bufio.Writer
	order      atomic.Uint64 // one clock for calls and spans of all goroutines
	calls      atomic.Uint64
	goroutines sync.Map // goroutine id -> *goroutine
	spans      sync.Map // trace.SpanID -> *span, while not ended
}

// Open starts the log. To be called before the first Enter.
func Open(path string) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	journal = &log{file: file, out: bufio.NewWriterSize(file, 1<<20)}
	return nil
}

// On tells whether the log is open.
func On() bool { return journal != nil }

// Flush hands to the file what has been logged so far.
func Flush() error {
	if journal == nil {
		return nil
	}
	journal.mutex.Lock()
	defer journal.mutex.Unlock()
	return journal.out.Flush()
}

// Calls returns how often each function was entered.
func Calls() map[string]uint64 {
	calls := map[string]uint64{}
	counters.Range(func(name, count any) bool {
		calls[name.(string)] = count.(*atomic.Uint64).Load()
		return true
	})
	return calls
}

func nothing() {}

// Enter is the first thing that a function does; what it returns is the last. It is a func and
// not a value with a method so that deferring it needs no wrapper: the compiler would name that
// after the function, and a tracer of `main.*` would see calls of which nothing is known here.
//
// A function that a panic may unwind calls it at its end instead of deferring it: its frame is
// still on the stack while deferred functions run, so it is not over then. It is over when the
// function that recovered ends.
func Enter(ctx context.Context, function string) (leave func()) {
	count, ok := counters.Load(function)
	if !ok {
		count, _ = counters.LoadOrStore(function, new(atomic.Uint64))
	}
	count.(*atomic.Uint64).Add(1)
	if journal == nil {
		return nothing
	}
	return journal.enter(ctx, function)
}

func (l *log) enter(ctx context.Context, function string) (leave func()) {
	g := l.goroutine()
	order := l.order.Add(1)
	seq := l.calls.Add(1)

	line := make([]byte, 0, 384)
	line = append(line, `{"event":"call","seq":`...)
	line = strconv.AppendUint(line, seq, 10)
	line = append(line, `,"function":`...)
	line = strconv.AppendQuote(line, function)
	line = g.append(line, order)
	line = append(line, `,"around":`...)
	if depth := len(g.open); depth > 0 {
		line = strconv.AppendUint(line, g.open[depth-1], 10)
	} else {
		line = append(line, `null`...)
	}
	line = append(line, `,"context":`...)
	if ctx != nil {
		line = appendContext(line, trace.SpanContextFromContext(ctx))
	} else {
		line = append(line, `null`...)
	}
	line = append(line, `,"current":`...)
	line = appendContext(line, g.current())
	l.write(append(line, '}', '\n'))

	depth := len(g.open)
	g.open = append(g.open, seq)
	return func() {
		l.unwind(g, depth+1)
		g.open = g.open[:depth]
		l.left(g, seq, false)
	}
}

// Unwind is deferred by a function whose goroutine ends in the midst of its calls.
func Unwind() {
	if journal != nil {
		journal.unwind(journal.goroutine(), 0)
	}
}

// unwind ends the calls that will never get to their own end.
func (l *log) unwind(g *goroutine, depth int) {
	for n := len(g.open); n > depth; n-- {
		l.left(g, g.open[n-1], true)
		g.open = g.open[:n-1]
	}
}

func (l *log) left(g *goroutine, seq uint64, unwound bool) {
	line := append(make([]byte, 0, 128), `{"event":"return","seq":`...)
	line = strconv.AppendUint(line, seq, 10)
	line = append(line, `,"unwound":`...)
	line = strconv.AppendBool(line, unwound)
	line = g.append(line, l.order.Add(1))
	l.write(append(line, '}', '\n'))
}

func (l *log) write(line []byte) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.out.Write(line)
}

func appendContext(line []byte, span trace.SpanContext) []byte {
	if !span.IsValid() {
		return append(line, `null`...)
	}
	line = append(line, `{"trace":"`...)
	line = append(line, span.TraceID().String()...)
	line = append(line, `","span":"`...)
	line = append(line, span.SpanID().String()...)
	line = append(line, `","sampled":`...)
	line = strconv.AppendBool(line, span.IsSampled())
	return append(line, '}')
}

func appendTime(line []byte) []byte {
	line = append(line, `,"time":"`...)
	line = strconv.AppendInt(line, time.Now().UnixNano(), 10)
	return append(line, '"')
}
