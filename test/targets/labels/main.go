// Command labels calls functions on goroutines whose pprof labels name a span, in the ways in which
// programs write that down. It has no SDK and no other packages, so that any Go version builds it.
package main

import (
	"context"
	"fmt"
	"os"
	"runtime/pprof"
)

const (
	traceID = "0af7651916cd43dd8448eb211c80319c"
	spanID  = "b7ad6b7169203331"
)

// The call keeps the functions from being leaves without a frame.
//
//go:noinline
func use(value int) {
	if value < 0 {
		fmt.Println("negative")
	}
}

//go:noinline
func underscored() { use(len(os.Args)) }

//go:noinline
func dotted() { use(len(os.Args)) }

//go:noinline
func camel() { use(len(os.Args)) }

//go:noinline
func traceparent() { use(len(os.Args)) }

//go:noinline
func onChild() { use(len(os.Args)) }

//go:noinline
func spanOnly() { use(len(os.Args)) }

//go:noinline
func notHex() { use(len(os.Args)) }

//go:noinline
func tooShort() { use(len(os.Args)) }

//go:noinline
func unlabelled() { use(len(os.Args)) }

func do(call func(), labels ...string) {
	pprof.Do(context.Background(), pprof.Labels(labels...), func(context.Context) { call() })
}

func main() {
	do(underscored, "trace_id", traceID, "span_id", spanID)
	do(dotted, "job", "x", "span.id", spanID, "trace.id", traceID, "zone", "y")
	do(camel, "traceID", traceID, "spanID", spanID, "a", "1", "b", "2", "c", "3")
	do(traceparent, "traceparent", "00-"+traceID+"-"+spanID+"-01")
	do(func() {
		done := make(chan bool)
		go func() { onChild(); done <- true }()
		<-done
	}, "trace_id", traceID, "span_id", spanID)
	do(spanOnly, "span_id", spanID)
	do(notHex, "trace_id", traceID, "span_id", "b7ad6b716920333g")
	do(tooShort, "trace_id", traceID, "span_id", spanID[:15])
	unlabelled()
}
