// Command system answers requests that it makes itself, each within a span of the official SDK that
// goes nowhere, and for each writes to a file and to a TCP connection: what the kernel does for its
// functions is known. It writes what it knows as JSON to the file it is given.
//
//	system FILE REQUESTS
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

const (
	stores = 3
	sends  = 2
)

type server struct {
	tracer trace.Tracer
	file   *os.File
	peer   net.Conn
	// Trace ids by span id.
	spans map[string]string
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, span := s.tracer.Start(r.Context(), "request")
	defer span.End()
	s.spans[span.SpanContext().SpanID().String()] = span.SpanContext().TraceID().String()
	handle(ctx, s)
	io.WriteString(w, "done\n")
}

//go:noinline
func handle(ctx context.Context, s *server) {
	if ctx.Err() != nil {
		return
	}
	store(s.file)
	send(s.peer)
}

//go:noinline
func store(file *os.File) {
	for range stores {
		check(file.Write([]byte("a line\n")))
	}
}

//go:noinline
func send(peer net.Conn) {
	for range sends {
		check(peer.Write([]byte("a message\n")))
	}
}

func check(_ int, err error) {
	if err != nil {
		panic(err)
	}
}

// pipe is a TCP connection whose other end throws everything away.
func pipe() net.Conn {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(0, err)
	go func() {
		other, err := listener.Accept()
		check(0, err)
		io.Copy(io.Discard, other)
	}()
	peer, err := net.Dial("tcp", listener.Addr().String())
	check(0, err)
	return peer
}

func main() {
	requests, err := strconv.Atoi(os.Args[2])
	check(0, err)
	file, err := os.CreateTemp("", "system")
	check(0, err)
	s := &server{
		tracer: sdktrace.NewTracerProvider().Tracer("system"),
		file:   file,
		peer:   pipe(),
		spans:  map[string]string{},
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(0, err)
	go http.Serve(listener, s)
	for range requests {
		response, err := http.Get("http://" + listener.Addr().String())
		check(0, err)
		io.Copy(io.Discard, response.Body)
		response.Body.Close()
	}
	truth, err := json.Marshal(map[string]any{"requests": s.spans, "stores": stores, "sends": sends})
	check(0, err)
	check(0, os.WriteFile(os.Args[1], truth, 0o644))
	fmt.Println("done")
}
