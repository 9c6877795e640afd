/** Traces as trees, for a person, on standard output. */
import type { Writable } from 'node:stream';
import type { FunctionSpan, ProgramSpan } from '../spans/span.js';
import { Output, type OutputOptions } from './output.js';
import type { Sink, Summary } from './sink.js';
import { COLOURS, type Paint, PLAIN, plural } from './tree-format.js';
import { renderSummary } from './tree-summary.js';
import { TraceView } from './tree-trace.js';

export interface TreeSinkOptions extends OutputOptions {
  /** The stream is a terminal: colours, and no more traces than can be read. */
  terminal?: boolean;
  env?: NodeJS.ProcessEnv;
  /** Milliseconds of any clock. */
  now?: () => number;
}

/** After the trace's local root has ended; what runs on beneath it may still come. */
const SETTLE_MS = 200;
const QUIET_MS = 2_000;
/** A trace that is never quiet is shown in parts. */
const LONGEST_MS = 10_000;
const TICK_MS = 100;
const MAX_TRACES = 1_000;
const MAX_SPANS = 2_000;
/** What a person can follow, and what keeps a terminal, which is written synchronously, free. */
const TRACES_A_SECOND = 20;
const CLOSE_MS = 10_000;
const DEFAULT_COLUMNS = 120;

interface Pending {
  view: TraceView;
  began: number;
  changed: number;
  rootEnded: boolean;
  omitted: number;
}

export class TreeSink implements Sink {
  private readonly output: Output;
  private readonly paint: Paint;
  private readonly traces = new Map<string, Pending>();
  private readonly timer: NodeJS.Timeout;
  private readonly now: () => number;
  private refused = 0;
  private notShown = 0;
  private second = 0;
  private shownThisSecond = 0;

  constructor(
    private readonly stream: Writable & { columns?: number },
    private readonly options: TreeSinkOptions = {},
  ) {
    const env = options.env ?? process.env;
    const colours = options.terminal === true && !env['NO_COLOR'] && env['TERM'] !== 'dumb';
    this.paint = colours ? COLOURS : PLAIN;
    this.output = new Output(stream, options);
    this.now = options.now ?? ((): number => performance.now());
    this.timer = setInterval(() => this.tick(), TICK_MS);
    this.timer.unref();
  }

  spans(tree: readonly FunctionSpan[]): void {
    for (const span of tree) {
      const pending = this.pendingOf(span.traceId);
      if (pending.view.size >= MAX_SPANS) {
        pending.omitted++;
        continue;
      }
      pending.view.addFunctionSpan(span);
      if (span.parentSpanId === null) pending.rootEnded = true;
    }
  }

  programSpans(batch: readonly ProgramSpan[]): void {
    for (const span of batch) {
      const pending = this.pendingOf(span.traceId);
      if (pending.view.size >= MAX_SPANS) continue;
      pending.view.addProgramSpan(span);
      if (span.parentSpanId === null) pending.rootEnded = true;
    }
  }

  async flush(deadlineMs: number): Promise<void> {
    for (const pending of this.traces.values()) this.show(pending);
    this.traces.clear();
    await this.output.flush(deadlineMs);
  }

  /** Traces that there was no time to show are not lost: only what the reader did not take is. */
  lost(): Record<string, number> {
    return { output: this.refused };
  }

  async close(summary: Summary): Promise<void> {
    clearInterval(this.timer);
    await this.flush(CLOSE_MS);
    this.tellNotShown();
    this.output.put(`${renderSummary(summary, this.paint).join('\n')}\n`);
    await this.output.flush(CLOSE_MS);
  }

  private tick(): void {
    const now = this.now();
    for (const [id, pending] of this.traces) {
      const quiet = now - pending.changed;
      const due =
        quiet >= (pending.rootEnded ? SETTLE_MS : QUIET_MS) || now - pending.began >= LONGEST_MS;
      if (!due) continue;
      this.traces.delete(id);
      this.show(pending);
    }
  }

  private pendingOf(traceId: string): Pending {
    const now = this.now();
    let pending = this.traces.get(traceId);
    if (!pending) {
      if (this.traces.size >= MAX_TRACES) this.showOldest();
      const view = new TraceView(traceId);
      pending = { view, began: now, changed: now, rootEnded: false, omitted: 0 };
      this.traces.set(traceId, pending);
    }
    pending.changed = now;
    return pending;
  }

  private showOldest(): void {
    for (const [id, pending] of this.traces) {
      this.traces.delete(id);
      return this.show(pending);
    }
  }

  private show({ view, omitted }: Pending): void {
    // Of the program's own spans only those that have function spans beneath them are of interest.
    if (view.functionSpans === 0) return;
    if (this.options.terminal === true && !this.mayShow()) {
      this.notShown++;
      return;
    }
    const columns = this.stream.columns ?? DEFAULT_COLUMNS;
    const lines = view.render(this.paint, columns, omitted);
    if (!this.output.offer(`${lines.join('\n')}\n`)) this.refused += view.functionSpans;
  }

  private mayShow(): boolean {
    const second = Math.floor(this.now() / 1_000);
    if (second !== this.second) {
      this.second = second;
      this.shownThisSecond = 0;
      this.tellNotShown();
    }
    return ++this.shownThisSecond <= TRACES_A_SECOND;
  }

  private tellNotShown(): void {
    if (this.notShown === 0) return;
    const why = `a terminal is shown ${TRACES_A_SECOND} a second; --max-rate thins, -o json has all`;
    this.output.put(`${this.paint.dim(`… ${plural(this.notShown, 'more trace')} (${why})`)}\n\n`);
    this.notShown = 0;
  }
}
