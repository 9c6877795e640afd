// Command calls makes as many calls as it is asked for, for those who measure what tracing them
// costs. It prints its address; /plain?calls=N calls a function without a context, /context?calls=N
// &hops=H one whose context has H wrappers around a span.
package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

type key int

var sum uint64

// The calls keep the functions from being leaves without a frame.
//
//go:noinline
func leaf(n uint64) { sum += n }

//go:noinline
func plain(n uint64) { leaf(n) }

//go:noinline
func withContext(ctx context.Context, n uint64) {
	if ctx != nil {
		leaf(n)
	}
}

func number(r *http.Request, name string) uint64 {
	n, _ := strconv.ParseUint(r.FormValue(name), 10, 64)
	return n
}

func main() {
	tracer := sdktrace.NewTracerProvider().Tracer("calls")
	http.HandleFunc("/plain", func(w http.ResponseWriter, r *http.Request) {
		for n := number(r, "calls"); n > 0; n-- {
			plain(n)
		}
	})
	http.HandleFunc("/context", func(w http.ResponseWriter, r *http.Request) {
		ctx, span := tracer.Start(context.Background(), "calls")
		defer span.End()
		for i := uint64(0); i < number(r, "hops"); i++ {
			ctx = context.WithValue(ctx, key(i), i)
		}
		for n := number(r, "calls"); n > 0; n-- {
			withContext(ctx, n)
		}
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Printf("listening on http://%s\n", listener.Addr())
	panic(http.Serve(listener, nil))
}
