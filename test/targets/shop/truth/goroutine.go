package truth

import (
	"bytes"
	"context"
	"runtime"
	"strconv"
	"sync/atomic"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// goroutine is only touched by the goroutine that it describes.
type goroutine struct {
	id    uint64
	open  []uint64 // sequence numbers of calls that have not ended, innermost last
	spans []*span  // started here, innermost last
}

type span struct {
	context trace.SpanContext
	ended   atomic.Bool // by whatever goroutine
}

func (l *log) goroutine() *goroutine {
	id := goroutineID()
	if g, ok := l.goroutines.Load(id); ok {
		return g.(*goroutine)
	}
	g := &goroutine{id: id}
	l.goroutines.Store(id, g)
	return g
}

// goroutineID reads "goroutine 123 [running]:", the only place where Go tells.
func goroutineID() uint64 {
	var buffer [32]byte
	text := bytes.TrimPrefix(buffer[:runtime.Stack(buffer[:], false)], []byte("goroutine "))
	digits, _, _ := bytes.Cut(text, []byte(" "))
	id, err := strconv.ParseUint(string(digits), 10, 64)
	if err != nil {
		panic("truth: no goroutine id in " + strconv.Quote(string(text)))
	}
	return id
}

// Go is the statement `go run()`, and logs what the goroutine that runs it was doing.
func Go(run func()) {
	if journal == nil {
		go run()
		return
	}
	l := journal
	g := l.goroutine()
	order := l.order.Add(1)
	line := append(make([]byte, 0, 256), `{"event":"go","parent":`...)
	line = strconv.AppendUint(line, g.id, 10)
	line = append(line, `,"around":`...)
	if n := len(g.open); n > 0 {
		line = strconv.AppendUint(line, g.open[n-1], 10)
	} else {
		line = append(line, `null`...)
	}
	line = append(line, `,"current":`...)
	line = appendContext(line, g.current())
	go func() {
		l.write(append(l.goroutine().append(line, order), '}', '\n'))
		run()
	}()
}

// current is the innermost span that was started on this goroutine and has not ended.
func (g *goroutine) current() trace.SpanContext {
	for n := len(g.spans); n > 0; n-- {
		if last := g.spans[n-1]; !last.ended.Load() {
			return last.context
		}
		g.spans = g.spans[:n-1]
	}
	return trace.SpanContext{}
}

func (g *goroutine) append(line []byte, order uint64) []byte {
	line = append(line, `,"goroutine":`...)
	line = strconv.AppendUint(line, g.id, 10)
	line = append(line, `,"order":`...)
	line = strconv.AppendUint(line, order, 10)
	return appendTime(line)
}

// SpanProcessor logs the starts and ends of the SDK's spans. The SDK calls it from inside
// tracer.Start and span.End, on the goroutine that called those.
type SpanProcessor struct{}

func (SpanProcessor) OnStart(_ context.Context, started sdk.ReadWriteSpan) {
	l := journal
	g := l.goroutine()
	order := l.order.Add(1)
	s := &span{context: started.SpanContext()}
	g.spans = append(g.spans, s)
	l.spans.Store(s.context.SpanID(), s)

	line := append(make([]byte, 0, 256), `{"event":"span","name":`...)
	line = strconv.AppendQuote(line, started.Name())
	line = append(line, `,"trace":"`...)
	line = append(line, s.context.TraceID().String()...)
	line = append(line, `","span":"`...)
	line = append(line, s.context.SpanID().String()...)
	line = append(line, `","parent":`...)
	if parent := started.Parent(); parent.SpanID().IsValid() {
		line = strconv.AppendQuote(line, parent.SpanID().String())
	} else {
		line = append(line, `null`...)
	}
	line = g.append(line, order)
	l.write(append(line, '}', '\n'))
}

func (SpanProcessor) OnEnd(ended sdk.ReadOnlySpan) {
	l := journal
	id := ended.SpanContext().SpanID()
	if s, ok := l.spans.LoadAndDelete(id); ok {
		s.(*span).ended.Store(true)
	}
	line := append(make([]byte, 0, 128), `{"event":"end","span":"`...)
	line = append(line, id.String()...)
	line = append(line, '"')
	line = l.goroutine().append(line, l.order.Add(1))
	l.write(append(line, '}', '\n'))
}

func (SpanProcessor) ForceFlush(context.Context) error { return Flush() }
func (SpanProcessor) Shutdown(context.Context) error   { return Flush() }
