// Command resource names itself in code: its provider has a resource that no environment says. It
// calls main.work within spans until it is told to stop by SIGTERM, and exports them by OTLP over
// gRPC. With ROUNDS in its environment it waits for SIGUSR1 first, and works that many times.
//
//	resource
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

var worked atomic.Int64

// The conditional call keeps work from being a leaf without a frame.
//
//go:noinline
func work(ctx context.Context) {
	worked.Add(1)
	if ctx.Err() != nil {
		fmt.Println("over")
	}
}

func name() string {
	if name := os.Getenv("NAME"); name != "" {
		return name
	}
	return "named in code"
}

func attributes() []attribute.KeyValue {
	return []attribute.KeyValue{
		attribute.String("service.name", name()),
		attribute.String("service.version", "7.8.9"),
		attribute.String("empty", ""),
		attribute.String("text", "ein Käse ✓"),
		attribute.Bool("flag", true),
		attribute.Bool("unset", false),
		attribute.Int64("number", -42),
		attribute.Int64("large", 1<<50),
		attribute.Float64("share", 0.25),
		attribute.StringSlice("names", []string{"a", "", "c", "d"}),
		attribute.Int64Slice("numbers", []int64{1, -2, 3, 4, 5}),
		attribute.Float64Slice("shares", []float64{0.5}),
		attribute.BoolSlice("flags", []bool{true, false}),
		attribute.StringSlice("nothing", []string{}),
	}
}

func newResource(ctx context.Context) (*resource.Resource, error) {
	switch os.Getenv("RESOURCE") {
	case "empty":
		return resource.Empty(), nil
	case "merged":
		made, err := resource.New(ctx, resource.WithHost(), resource.WithProcessPID(), resource.WithFromEnv(),
			resource.WithTelemetrySDK(), resource.WithAttributes(attributes()...))
		if err != nil {
			return nil, err
		}
		return resource.Merge(resource.Default(), resource.NewWithAttributes(made.SchemaURL(),
			made.Attributes()...))
	default:
		return resource.NewWithAttributes("https://opentelemetry.io/schemas/1.9.0", attributes()...), nil
	}
}

func run(ctx context.Context) error {
	from, err := newResource(ctx)
	if err != nil {
		return err
	}
	exporter, err := otlptrace.New(ctx, otlptracegrpc.NewClient(otlptracegrpc.WithInsecure()))
	if err != nil {
		return err
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithResource(from),
		sdktrace.WithBatcher(exporter, sdktrace.WithBatchTimeout(50*time.Millisecond)))
	tracer := provider.Tracer("resource")
	rounds, err := strconv.Atoi(os.Getenv("ROUNDS"))
	bounded := err == nil
	if bounded {
		begin := make(chan os.Signal, 1)
		signal.Notify(begin, syscall.SIGUSR1)
		fmt.Println("ready")
		<-begin
	}
	for round := 0; ctx.Err() == nil && (!bounded || round < rounds); round++ {
		inside, span := tracer.Start(context.Background(), "round")
		work(inside)
		span.End()
		time.Sleep(5 * time.Millisecond)
	}
	if bounded {
		fmt.Println("worked", worked.Load(), "times")
		<-ctx.Done()
	}
	return provider.Shutdown(context.Background())
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "resource:", err)
		os.Exit(1)
	}
}
