package main

import (
	"context"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// discardExporter takes everything and keeps nothing: what is measured is who sends.
type discardExporter struct {
	component.StartFunc
	component.ShutdownFunc
}

func newDiscardExporterFactory() exporter.Factory {
	return exporter.NewFactory(
		component.MustNewType("discard"),
		func() component.Config { return &struct{}{} },
		exporter.WithTraces(
			func(context.Context, exporter.Settings, component.Config) (exporter.Traces, error) {
				return discardExporter{}, nil
			},
			component.StabilityLevelDevelopment,
		),
	)
}

func (discardExporter) Capabilities() consumer.Capabilities { return consumer.Capabilities{} }

func (discardExporter) ConsumeTraces(context.Context, ptrace.Traces) error { return nil }
