/** Spans, and sinks that deliver them. */
import type { OtlpOptions } from '../../src/sinks/otlp-options.js';
import { OtlpSink } from '../../src/sinks/otlp.js';
import type { Notice } from '../../src/sinks/sink.js';
import type { FunctionSpan, ProcessResource } from '../../src/spans/span.js';
import { HttpReceiver } from './http-receiver.js';
import { Receiver } from './receiver.js';

const resource: ProcessResource = { attributes: { 'service.name': 'shop', 'process.pid': 7 } };
let ids = 0;

export function spanOf(overrides: Partial<FunctionSpan> = {}): FunctionSpan {
  return {
    traceId: '0af7651916cd43dd8448eb211c80319c',
    spanId: (++ids).toString(16).padStart(16, '0'),
    parentSpanId: 'b7ad6b7169203331',
    traceFlags: 1,
    name: 'main.work',
    startTimeUnixNano: 1_700_000_000_123_456_789n,
    endTimeUnixNano: 1_700_000_000_123_457_790n,
    durationNano: 1_001,
    status: { code: 'unset' },
    attributes: { 'code.function.name': 'main.work', 'thread.id': 9, 'underspan.incomplete': true },
    resource,
    functionIndex: 1,
    ...overrides,
  };
}

export function treeOf(size: number, overrides: Partial<FunctionSpan> = {}): FunctionSpan[] {
  return Array.from({ length: size }, () => spanOf(overrides));
}

const opened: OtlpSink[] = [];

export function sinkTo(
  endpoint: string | null,
  options: Partial<OtlpOptions> = {},
): { sink: OtlpSink; notices: Notice[] } {
  const notices: Notice[] = [];
  const sink = new OtlpSink({
    endpoint,
    version: '1.2.3',
    onNotice: (notice) => notices.push(notice),
    delayMs: 10,
    ...options,
  });
  opened.push(sink);
  return { sink, notices };
}

/** After a test, so that one that fails does not keep its process alive. */
export async function closeAll(): Promise<void> {
  Receiver.stopAll();
  HttpReceiver.stopAll();
  await Promise.all(opened.splice(0).map((sink) => sink.close()));
}

export const codes = (notices: Notice[]): string[] => notices.map(({ code }) => code);
