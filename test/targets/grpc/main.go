// Command grpc is a gRPC server and its client in one, with the official instrumentation on both
// sides. It makes unary and streaming calls, many at a time, and writes as JSON to the file that it
// is given which span each function belongs under.
//
//	grpc FILE CALLS
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	health "google.golang.org/grpc/health/grpc_health_v1"
)

type known struct {
	mutex sync.Mutex
	// By function: trace ids of the spans that its calls were made under, by their ids.
	Spans map[string]map[string]string `json:"spans"`
}

var truth = known{Spans: map[string]map[string]string{}}

func note(function string, span trace.SpanContext) {
	truth.mutex.Lock()
	defer truth.mutex.Unlock()
	if truth.Spans[function] == nil {
		truth.Spans[function] = map[string]string{}
	}
	truth.Spans[function][span.SpanID().String()] = span.TraceID().String()
}

type server struct {
	health.UnimplementedHealthServer
}

func (s *server) Check(ctx context.Context, request *health.HealthCheckRequest) (*health.HealthCheckResponse, error) {
	note("main.(*server).Check", trace.SpanContextFromContext(ctx))
	if len(look(request.Service)) == 0 {
		return nil, fmt.Errorf("no service")
	}
	return &health.HealthCheckResponse{Status: health.HealthCheckResponse_SERVING}, nil
}

// Watch is handed its context by its stream alone.
func (s *server) Watch(request *health.HealthCheckRequest, stream health.Health_WatchServer) error {
	note("main.(*server).Watch", trace.SpanContextFromContext(stream.Context()))
	for i := 0; i < 3; i++ {
		look(request.Service)
		if err := stream.Send(&health.HealthCheckResponse{Status: health.HealthCheckResponse_SERVING}); err != nil {
			return err
		}
	}
	return nil
}

//go:noinline
func look(service string) string { return service + "!" }

// call is the client: its RPC's own span lies under this one.
func call(ctx context.Context, tracer trace.Tracer, client health.HealthClient, n int) error {
	ctx, span := tracer.Start(ctx, "call")
	defer span.End()
	return ask(ctx, client, n)
}

//go:noinline
func ask(ctx context.Context, client health.HealthClient, n int) error {
	note("main.ask", trace.SpanContextFromContext(ctx))
	request := &health.HealthCheckRequest{Service: strconv.Itoa(n)}
	if n%2 == 0 {
		_, err := client.Check(ctx, request)
		return err
	}
	stream, err := client.Watch(ctx, request)
	if err != nil {
		return err
	}
	for i := 0; i < 3; i++ {
		if _, err := stream.Recv(); err != nil {
			return err
		}
	}
	_, _ = stream.Recv()
	return nil
}

func main() {
	if len(os.Args) != 3 {
		fail("usage: grpc FILE CALLS")
	}
	calls, err := strconv.Atoi(os.Args[2])
	check(err)
	provider := sdktrace.NewTracerProvider()
	options := []otelgrpc.Option{
		otelgrpc.WithTracerProvider(provider),
		otelgrpc.WithPropagators(propagation.TraceContext{}),
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	served := grpc.NewServer(grpc.StatsHandler(otelgrpc.NewServerHandler(options...)))
	health.RegisterHealthServer(served, &server{})
	go served.Serve(listener)
	connection, err := grpc.NewClient(listener.Addr().String(),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithStatsHandler(otelgrpc.NewClientHandler(options...)))
	check(err)
	client := health.NewHealthClient(connection)
	var running sync.WaitGroup
	for g := 0; g < 8; g++ {
		running.Add(1)
		go func(g int) {
			defer running.Done()
			for n := g; n < calls; n += 8 {
				check(call(context.Background(), provider.Tracer("grpc"), client, n/8))
			}
		}(g)
	}
	running.Wait()
	served.GracefulStop()
	written, err := json.Marshal(&truth)
	check(err)
	check(os.WriteFile(os.Args[1], written, 0o644))
}

func check(err error) {
	if err != nil {
		fail(err.Error())
	}
}

func fail(message string) {
	fmt.Fprintln(os.Stderr, "grpc:", message)
	os.Exit(1)
}
