/** The answer of a session, read line by line and given to sinks. */
import type { IncomingMessage } from 'node:http';
import { StringDecoder } from 'node:string_decoder';
import { UnderspanError } from '../../errors.js';
import type { Notice, Sink, Summary } from '../../sinks/sink.js';
import type { FunctionSpan, ProcessResource, ProgramSpan } from '../../spans/span.js';
import { strangeAnswer, toError } from './client-errors.js';
import {
  type ErrorEvent,
  SESSION_STOPPED,
  type SpanExtras,
  type StartedEvent,
} from './protocol.js';

const MAX_LINE = 16 << 20;
const MAX_RESOURCES = 10_000;
/** How long sinks may take to deliver what is left, in ms. */
const FLUSH_MS = 5_000;

/** A span as a line has it. */
type SpanLine = Omit<FunctionSpan, 'startTimeUnixNano' | 'endTimeUnixNano' | 'resource'> & {
  startTimeUnixNano: string;
  endTimeUnixNano: string;
  resource: ProcessResource['attributes'];
} & SpanExtras;

type Line =
  | StartedEvent
  | ErrorEvent
  | ({ type: 'span' } & SpanLine)
  | ({ type: 'programSpan' } & SpanLine)
  | ({ type: 'notice' } & Notice)
  | ({ type: 'summary' } & Summary);

export class Incoming {
  readonly started: Promise<StartedEvent>;
  readonly summary: Promise<Summary>;
  /** Then it is no news that it was stopped. */
  stopAsked = false;
  private tellStarted!: (event: StartedEvent) => void;
  private result: Summary | null = null;
  /** Why there is no summary. */
  private failure: unknown = null;
  /** Of a tree that has not come as a whole. */
  private tree: FunctionSpan[] = [];
  /** Exporters group by identity: one object for each process. */
  private readonly resources = new Map<string, ProcessResource>();

  constructor(
    private readonly response: IncomingMessage,
    private readonly sinks: readonly Sink[],
  ) {
    const first = new Promise<StartedEvent>((resolve) => (this.tellStarted = resolve));
    this.summary = this.run();
    this.started = Promise.race([
      first,
      this.summary.then(() => Promise.reject(strangeAnswer('it does not begin'))),
    ]);
    // Whoever waits for one of them hears of it.
    this.summary.catch(() => undefined);
    this.started.catch(() => undefined);
  }

  /** Reads no further; `error` is why. */
  abort(error: unknown): void {
    this.failure ??= error;
    this.response.destroy();
  }

  private async run(): Promise<Summary> {
    try {
      await this.read();
    } catch (error) {
      this.failure ??= error;
    }
    await Promise.all(this.sinks.map((sink) => sink.flush?.(FLUSH_MS)));
    if (this.result === null) throw this.failed();
    const lost = { ...this.result.lost };
    for (const sink of this.sinks) {
      for (const [reason, count] of Object.entries(sink.lost?.() ?? {})) {
        lost[reason] = (lost[reason] ?? 0) + count;
      }
    }
    const summary = { ...this.result, lost };
    await Promise.all(this.sinks.map((sink) => sink.close(summary)));
    return summary;
  }

  private failed(): unknown {
    if (this.failure instanceof UnderspanError) return this.failure;
    return new UnderspanError(
      'failed',
      'AGENT_GONE',
      'the connection to the agent broke before the session had ended',
      "its log says why; 'trace sessions' lists what it still runs",
      { cause: this.failure },
    );
  }

  private async read(): Promise<void> {
    const decoder = new StringDecoder('utf8');
    let rest = '';
    for await (const chunk of this.response as AsyncIterable<Buffer>) {
      const lines = (rest + decoder.write(chunk)).split('\n');
      rest = lines.pop() ?? '';
      if (rest.length > MAX_LINE) throw strangeAnswer('a line is too long');
      for (const line of lines) this.take(line);
    }
  }

  private take(text: string): void {
    let line: Line;
    try {
      line = JSON.parse(text) as Line;
      if (line.type === 'span') this.span(line);
      else if (line.type === 'programSpan') this.programSpan(line);
    } catch (error) {
      throw strangeAnswer('a line is broken', error);
    }
    if (line.type === 'started') this.tellStarted(line);
    else if (line.type === 'error') this.failure = toError(line);
    else if (line.type === 'notice') this.notice(line);
    else if (line.type === 'summary') this.result = summaryOf(line);
  }

  private span(line: SpanLine): void {
    const { traceFlags, durationNano, status, attributes, functionIndex } = line;
    this.tree.push({
      ...this.common(line),
      ...{ traceFlags, durationNano, status, attributes, functionIndex },
    });
    if (line.more) return;
    const tree = this.tree;
    this.tree = [];
    for (const sink of this.sinks) sink.spans(tree);
  }

  private programSpan(line: SpanLine): void {
    const span = this.common(line);
    for (const sink of this.sinks) sink.programSpans?.([span]);
  }

  private notice({ code, message, hint }: Notice): void {
    if (this.stopAsked && code === SESSION_STOPPED) return;
    const notice = { code, message, ...(hint === undefined ? {} : { hint }) };
    for (const sink of this.sinks) sink.notice?.(notice);
  }

  /** What spans of both kinds have. */
  private common(line: SpanLine): ProgramSpan {
    const { traceId, spanId, parentSpanId, name } = line;
    const text = JSON.stringify(line.resource);
    let resource = this.resources.get(text);
    if (!resource) {
      if (this.resources.size >= MAX_RESOURCES) this.resources.clear();
      resource = { attributes: line.resource };
      this.resources.set(text, resource);
    }
    return {
      ...{ traceId, spanId, parentSpanId, name, resource },
      startTimeUnixNano: BigInt(line.startTimeUnixNano),
      endTimeUnixNano: BigInt(line.endTimeUnixNano),
    };
  }
}

function summaryOf(line: Summary): Summary {
  const { functions, lost, contexts, valuesLost, waitsLost } = line;
  const { allocations, suspensions, overhead, by } = line;
  return {
    ...{ functions, lost, contexts, valuesLost, waitsLost },
    ...{ allocations, suspensions, overhead },
    ...(by === undefined ? {} : { by }),
  };
}
