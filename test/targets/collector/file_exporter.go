package main

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// fileExporter writes each request as a line of OTLP/JSON, as the contrib exporter of that name
// does; that one brings along compression, rotation and encodings, which no test needs.
type fileExporter struct {
	component.StartFunc
	mutex sync.Mutex
	file  *os.File
	json  ptrace.JSONMarshaler
}

type fileConfig struct {
	// Empty: what is received is counted, and the count printed at the end.
	Path string `mapstructure:"path"`
}

func newFileExporterFactory() exporter.Factory {
	return exporter.NewFactory(
		component.MustNewType("file"),
		func() component.Config { return &fileConfig{} },
		exporter.WithTraces(newFileExporter, component.StabilityLevelDevelopment),
	)
}

func newFileExporter(
	_ context.Context, _ exporter.Settings, config component.Config,
) (exporter.Traces, error) {
	if config.(*fileConfig).Path == "" {
		return &countingExporter{}, nil
	}
	file, err := os.OpenFile(config.(*fileConfig).Path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	return &fileExporter{file: file}, nil
}

func (e *fileExporter) Capabilities() consumer.Capabilities { return consumer.Capabilities{} }

func (e *fileExporter) ConsumeTraces(_ context.Context, traces ptrace.Traces) error {
	line, err := e.json.MarshalTraces(traces)
	if err != nil {
		return err
	}
	e.mutex.Lock()
	defer e.mutex.Unlock()
	// One write a request: a reader never meets a line cut short by a crash in between.
	_, err = e.file.Write(append(line, '\n'))
	return err
}

func (e *fileExporter) Shutdown(context.Context) error { return e.file.Close() }

// countingExporter is for those who measure how fast spans can be sent.
type countingExporter struct {
	component.StartFunc
	spans atomic.Int64
}

func (e *countingExporter) Capabilities() consumer.Capabilities { return consumer.Capabilities{} }

func (e *countingExporter) ConsumeTraces(_ context.Context, traces ptrace.Traces) error {
	e.spans.Add(int64(traces.SpanCount()))
	return nil
}

func (e *countingExporter) Shutdown(context.Context) error {
	fmt.Printf("received %d spans\n", e.spans.Load())
	return nil
}
