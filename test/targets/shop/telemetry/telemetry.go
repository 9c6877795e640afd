// Package telemetry sets up the OpenTelemetry SDK by the standard OTEL_* variables, and counts
// spans at both ends of it, so that a test can tell a span that was never made from one that was
// dropped on its way out.
package telemetry

import (
	"context"
	"net/http"
	"os"
	"sync/atomic"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"example.com/fault"
	"example.com/shop/truth"
)

// Spans counts what became of the spans that were recorded.
type Spans struct {
	Started  atomic.Uint64
	Ended    atomic.Uint64
	Exported atomic.Uint64
	Failed   atomic.Uint64
}

type Telemetry struct {
	Tracer   trace.Tracer
	Spans    Spans
	provider *sdk.TracerProvider
}

// Start sets the global provider. The SDK reads sampler, resource, limits, batching and the
// exporter's endpoint from the environment itself.
func Start(ctx context.Context) (*Telemetry, error) {
	t := &Telemetry{}
	options := []sdk.TracerProviderOption{sdk.WithSpanProcessor(&counter{spans: &t.Spans})}
	if truth.On() {
		options = append(options, sdk.WithSpanProcessor(truth.SpanProcessor{}))
	}
	if os.Getenv("OTEL_TRACES_EXPORTER") != "none" {
		// The SDK's own queue of 2,048 overflows at some hundred requests a second.
		setDefault("OTEL_BSP_MAX_QUEUE_SIZE", "262144")
		setDefault("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4096")
		setDefault("OTEL_BSP_SCHEDULE_DELAY", "200")
		exporter, err := otlptracegrpc.New(ctx)
		if err != nil {
			return nil, err
		}
		options = append(options, sdk.WithBatcher(&countingExporter{exporter, &t.Spans}))
	}
	if os.Getenv("SHOP_RESOURCE") == "code" {
		options = append(options, sdk.WithResource(inCode()))
	}
	t.provider = sdk.NewTracerProvider(options...)
	otel.SetTracerProvider(t.provider)
	otel.SetTextMapPropagator(propagation.TraceContext{})
	t.Tracer = t.provider.Tracer("example.com/shop")
	return t, nil
}

// inCode is what the environment says nothing of, with attributes of every kind.
func inCode() *resource.Resource {
	return resource.NewSchemaless(
		attribute.String("service.name", "set in code"),
		attribute.Int("shop.floors", 3),
		attribute.Float64("shop.area", 81.5),
		attribute.Bool("shop.open", true),
		attribute.StringSlice("shop.lines", []string{"tea", "coffee"}),
		attribute.Int64Slice("shop.hours", []int64{9, 17}),
		attribute.Float64Slice("shop.place", []float64{52.5, 13.4}),
		attribute.BoolSlice("shop.days", []bool{true, false}),
	)
}

// Handler makes a server span for each request.
func Handler(handler http.Handler) http.Handler {
	return otelhttp.NewHandler(&tenant{handler}, "shop", otelhttp.WithSpanNameFormatter(spanName))
}

// tenant notes on whose behalf a request is made, if that is said.
type tenant struct{ rest http.Handler }

func (t *tenant) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if id := r.URL.Query().Get("tenant"); id != "" {
		trace.SpanFromContext(r.Context()).SetAttributes(attribute.String("tenant.id", id))
		r = r.WithContext(fault.WithTenant(r.Context(), id))
	}
	t.rest.ServeHTTP(w, r)
}

func spanName(_ string, r *http.Request) string { return r.Method + " " + r.URL.Path }

// InSpan runs f in a span of its own. If f panics, End recovers, notes it and panics again from
// where it is, so whatever recovers after that runs on top of End and of what it was deferred by.
func InSpan(ctx context.Context, tracer trace.Tracer, name string, f func(context.Context)) {
	ctx, span := tracer.Start(ctx, name)
	defer span.End()
	f(ctx)
}

// Flush exports what is queued and writes the truth log to its file.
func (t *Telemetry) Flush(ctx context.Context) error { return t.provider.ForceFlush(ctx) }

func (t *Telemetry) Stop(ctx context.Context) error { return t.provider.Shutdown(ctx) }

func setDefault(variable, value string) {
	if _, ok := os.LookupEnv(variable); !ok {
		os.Setenv(variable, value)
	}
}

type counter struct{ spans *Spans }

func (c *counter) OnStart(context.Context, sdk.ReadWriteSpan) { c.spans.Started.Add(1) }
func (c *counter) OnEnd(sdk.ReadOnlySpan)                     { c.spans.Ended.Add(1) }
func (c *counter) ForceFlush(context.Context) error           { return nil }
func (c *counter) Shutdown(context.Context) error             { return nil }

type countingExporter struct {
	sdk.SpanExporter
	spans *Spans
}

func (e *countingExporter) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	err := e.SpanExporter.ExportSpans(ctx, spans)
	if err != nil {
		e.spans.Failed.Add(uint64(len(spans)))
	} else {
		e.spans.Exported.Add(uint64(len(spans)))
	}
	return err
}
