import { standardOutput } from '../src/sinks/output.js';
import type { Notice, Sink } from '../src/sinks/sink.js';
import type { SinkValues } from './context.js';
import { version } from './version.js';

/**
 * What the options say the spans go to; `onClosed`: the reader of standard output went away. Only
 * what is used is loaded: tracing begins the sooner.
 */
export async function openSinks(
  { output, otlp, otlpEndpoint }: SinkValues,
  onClosed: () => void,
  onNotice: (notice: Notice) => void,
): Promise<Sink[]> {
  const sinks: Sink[] = [new NoticeSink(onNotice)];
  const terminal = process.stdout.isTTY;
  if (output === 'tree') {
    const { TreeSink } = await import('../src/sinks/tree.js');
    sinks.push(new TreeSink(standardOutput(), { terminal, onClosed }));
  }
  if (output === 'json') {
    const { JsonSink } = await import('../src/sinks/json.js');
    sinks.push(new JsonSink(standardOutput(), { onClosed }));
  }
  if (otlp || otlpEndpoint !== undefined) {
    const { OtlpSink } = await import('../src/sinks/otlp.js');
    sinks.push(
      new OtlpSink({
        endpoint: otlpEndpoint ?? null,
        version: version(),
        patient: true,
        onNotice: (notice) => {
          for (const sink of sinks) sink.notice?.(notice);
        },
      }),
    );
  }
  return sinks;
}

class NoticeSink implements Sink {
  constructor(readonly notice: (notice: Notice) => void) {}

  spans(): void {
    // Of no interest here.
  }

  async close(): Promise<void> {
    // Nothing is held back.
  }
}
