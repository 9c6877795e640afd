/** From batches of records to sinks; what is given up on the way is counted by function. */
import type { Notice, Sink } from '../sinks/sink.js';
import type { Call, OpenCall, ProcessRecord } from '../spans/call.js';
import { Decoder } from '../spans/decode.js';
import type { ProcessResource, ProgramSpan } from '../spans/span.js';
import { type FunctionName, SpanMaker } from '../spans/spans.js';
import { TreeKeeper } from '../spans/trees.js';

export interface PipelineOptions {
  sinks: readonly Sink[];
  functions: readonly (FunctionName | undefined)[];
  clockOffsetNs: bigint;
  resource: (tgid: number) => ProcessResource;
  slowerThanNs: number | null;
  errorsOnly: boolean;
  openCalls: (stack: bigint, tgid: number) => OpenCall[] | null;
  onProcess: (event: ProcessRecord) => void;
}

export class Pipeline {
  /** Spans handed to the sinks. */
  spans = 0;
  /** Calls that became no span here, by reason. */
  readonly lost: Record<string, number> = {};
  /** The same by function. */
  readonly unsent: number[] = [];
  private readonly decoder: Decoder;
  private readonly maker: SpanMaker;
  private readonly keeper: TreeKeeper;
  private programSpans: ProgramSpan[] = [];
  private readonly sinks: readonly Sink[];

  constructor(options: PipelineOptions) {
    this.sinks = options.sinks;
    this.maker = new SpanMaker({
      functions: options.functions,
      clockOffsetNs: options.clockOffsetNs,
      resource: options.resource,
      overheadPerCallNs: null,
    });
    this.keeper = new TreeKeeper({
      release: (calls) => this.release(calls),
      lost: (reason, fn, count) => this.count(reason, fn, count),
      openCalls: options.openCalls,
      slowerThanNs: options.slowerThanNs,
      errorsOnly: options.errorsOnly,
    });
    this.decoder = new Decoder({
      call: (call) => this.keeper.add(call),
      programSpan: (record) => void this.programSpans.push(this.maker.programSpan(record)),
      process: options.onProcess,
    });
  }

  batch(records: Buffer): void {
    this.decoder.decode(records);
    if (this.programSpans.length === 0) return;
    const spans = this.programSpans;
    this.programSpans = [];
    for (const sink of this.sinks) sink.programSpans?.(spans);
  }

  notice(notice: Notice): void {
    for (const sink of this.sinks) sink.notice?.(notice);
  }

  set clockOffsetNs(offset: bigint) {
    this.maker.clockOffsetNs = offset;
  }

  /** Looks at trees that have been held for long. */
  tick(): void {
    this.keeper.tick();
  }

  /** Sends what is still held; no record comes after. */
  finish(endNs: bigint): void {
    this.keeper.finish(endNs);
  }

  count(reason: string, fn: number, count = 1): void {
    this.lost[reason] = (this.lost[reason] ?? 0) + count;
    this.unsent[fn] = (this.unsent[fn] ?? 0) + count;
  }

  /** A call whose end will not be seen; it makes a span only if the keeper owes it to others. */
  countOpen(fn: number, spanId: string | null): void {
    if (spanId === null || !this.keeper.owes(spanId)) this.count('open', fn, 1);
  }

  private release(calls: readonly Call[]): void {
    const spans = calls.map((call) => this.maker.span(call));
    this.spans += spans.length;
    for (const sink of this.sinks) sink.spans(spans);
  }
}
