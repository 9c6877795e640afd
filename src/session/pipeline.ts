/** From batches of records to sinks; what is given up on the way is counted by function. */
import type { Notice, Sink } from '../sinks/sink.js';
import type { Call, OpenCall, OpenStack, ProcessRecord, TracerRecord } from '../spans/call.js';
import { Collectors, type Cycle, cycleSpans } from '../spans/collector.js';
import { Decoder } from '../spans/decode.js';
import type { ProcessResource, ProgramSpan } from '../spans/span.js';
import { SpanGate } from '../spans/span-gate.js';
import type { SpanKey } from '../spans/span-key.js';
import { SpansByValue } from '../spans/spans-by-value.js';
import { type FunctionName, SpanMaker } from '../spans/spans.js';
import type { ModuleNames } from './names.js';
import { type TreeFilter, TreeKeeper } from '../spans/trees.js';

/** A function with the names of what its calls carry, and what is wanted of its trees. */
export interface NamedFunction extends FunctionName {
  addresses: ModuleNames;
  filter: TreeFilter;
}

/** Trees that may end while one world is being stopped or started. */
const MOST_PAUSED = 1_024;

const EVERYTHING: TreeFilter = {
  slowerThanNs: null,
  errorsOnly: false,
  minDurationNs: 0,
  span: null,
  fold: 0,
};

export interface PipelineOptions {
  sinks: readonly Sink[];
  functions: readonly (NamedFunction | undefined)[];
  clockOffsetNs: bigint;
  resource: (tgid: number) => ProcessResource;
  /** What spans are counted by; null: nothing. */
  by?: SpanKey | null;
  openCalls: (stack: bigint, tgid: number) => OpenCall[] | null;
  /** Resolves when all records that had been sent at the time of the call have been given to batch(). */
  drained: () => Promise<void>;
  onProcess: (event: ProcessRecord) => void;
  /** Before the first call that has to do with it. */
  onTracer: (record: TracerRecord) => void;
  /** A garbage collector had stopped the world of a process for so long. */
  onPause?: (tgid: number, durationNs: number) => void;
}

export class Pipeline {
  /** Spans handed to the sinks. */
  spans = 0;
  /** Of those, what garbage collectors did, which is no call. */
  gcSpans = 0;
  /** The same by function. */
  readonly sent: number[] = [];
  /** Calls that became no span here, by reason. Each is there from the start, to be counted up. */
  readonly lost: Record<string, number> = {
    torn: 0,
    filtered: 0,
    folded: 0,
    undecided: 0,
    open: 0,
  };
  /** Null: nobody asks for it. */
  readonly byValue: SpansByValue | null;
  /** By function: records that made no span, less spans that had no record. */
  readonly unsent: number[] = [];
  /** Calls without a record that were sent while a process, or everything, came to its end. */
  private substituted: Map<string, number> | null = null;
  private readonly decoder: Decoder;
  private readonly maker: SpanMaker;
  private readonly keeper: TreeKeeper;
  private readonly collectors: Collectors;
  private readonly gate: SpanGate;
  private programSpans: ProgramSpan[] = [];
  private readonly sinks: readonly Sink[];
  private readonly functions: PipelineOptions['functions'];
  /** By process: trees that came while its world is stopped, and are told for how long it was. */
  private readonly paused = new Map<number, (readonly Call[])[]>();
  /** Settles when the trees that wait for names have been sent. */
  private waiting: Promise<void> | null = null;
  /** One after the other: each counts what it has sent without a record. */
  private ended: Promise<void> = Promise.resolve();

  constructor(options: PipelineOptions) {
    this.sinks = options.sinks;
    this.functions = options.functions;
    this.collectors = new Collectors({
      onPause: (tgid, { startNs, endNs }) => {
        options.onPause?.(tgid, endNs - startNs);
        this.resume(tgid);
      },
      onCycle: (cycle) => this.sendCycle(cycle, options.resource(cycle.tgid)),
    });
    this.maker = new SpanMaker({
      functions: options.functions,
      clockOffsetNs: options.clockOffsetNs,
      resource: options.resource,
      overheadPerCallNs: null,
      pausedDuring: (tgid, startNs, durationNs) =>
        this.collectors.pausedDuring(tgid, startNs, durationNs),
    });
    const filterOf = (index: number): TreeFilter => options.functions[index]?.filter ?? EVERYTHING;
    this.gate = new SpanGate({
      conditionOf: (index) => filterOf(index).span,
      release: (calls) => this.release(calls),
      lost: (reason, calls) => {
        // Without a record it is lost already.
        for (const call of calls) if (!call.unclosed) this.count(reason, call.function, 1);
      },
    });
    const { by = null, functions } = options;
    this.byValue =
      by && new SpansByValue({ key: by, nameOf: (index) => functions[index]?.name ?? '' });
    this.keeper = new TreeKeeper({
      release: (calls) => this.gate.add(calls),
      lost: (reason, fn, count) => this.count(reason, fn, count),
      openCalls: options.openCalls,
      drained: options.drained,
      filterOf,
    });
    this.decoder = new Decoder({
      call: (call) => this.keeper.add(call),
      programSpan: (record) => {
        this.programSpans.push(this.maker.programSpan(record));
        this.byValue?.spanEnded(record);
        this.gate.spanEnded(record);
      },
      process: options.onProcess,
      tracer: options.onTracer,
      collector: (record) => this.collectors.add(record),
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

  /** Some tree waits, to be looked at by tick(). */
  get waits(): boolean {
    const byValue = this.byValue?.waits ?? false;
    return this.keeper.waits || this.gate.waits || byValue || this.paused.size > 0;
  }

  /** Looks at trees that have been held for long. */
  tick(): Promise<void> {
    // That a pause has ended may have been lost.
    for (const tgid of this.paused.keys()) this.resume(tgid);
    this.gate.tick();
    this.byValue?.tick();
    return this.keeper.tick();
  }

  /** Sends what is held of a process that has exited, and what was open in it. */
  finishProcess(tgid: number, endNs: bigint, open: readonly OpenStack[]): Promise<void> {
    const finish = async (): Promise<void> => {
      await this.keeper.finishProcess(tgid, endNs, open);
      this.gate.finish((call) => call.tgid === tgid);
      // Trees that wait for names ask for its pauses.
      await this.waiting;
      this.collectors.forget(tgid);
    };
    return this.ending(open, finish, (group) => group.tgid === tgid);
  }

  /** Sends what is still held, or what is held of these functions; no record comes after. */
  finish(
    endNs: bigint,
    open: readonly OpenStack[],
    isOver: (functionIndex: number) => boolean = () => true,
  ): Promise<void> {
    const finish = async (): Promise<void> => {
      await this.keeper.finish(endNs, ({ functionIndex }) => isOver(functionIndex));
      this.gate.finish((call) => isOver(call.function));
    };
    return this.ending(open, finish, ({ functionIndex }) => isOver(functionIndex));
  }

  /** The numbers of these functions are free for others. */
  forget(first: number, count: number): void {
    for (let index = first; index < first + count; index++) {
      this.unsent[index] = 0;
      this.sent[index] = 0;
    }
  }

  /** Calls whose records came and that make no span. */
  private count(reason: string, fn: number, count: number): void {
    this.lost[reason] = (this.lost[reason] ?? 0) + count;
    this.withoutSpan(fn, count);
  }

  private withoutSpan(fn: number, count: number): void {
    this.unsent[fn] = (this.unsent[fn] ?? 0) + count;
  }

  /**
   * Calls that never sent a record are either open, and their end will not be seen, or their record
   * did not fit the ring. Some of both have been sent all the same, for the sake of what hangs from
   * them.
   */
  private ending(
    stacks: readonly OpenStack[],
    finish: () => Promise<void>,
    isOver: Parameters<SpansByValue['finish']>[0],
  ): Promise<void> {
    const ended = this.ended
      .then(() => this.end(stacks, finish))
      // What the last trees have sent is counted too.
      .finally(() => this.byValue?.finish(isOver));
    this.ended = ended.catch(() => undefined);
    return ended;
  }

  private async end(stacks: readonly OpenStack[], finish: () => Promise<void>): Promise<void> {
    const substituted = (this.substituted = new Map<string, number>());
    await finish();
    for (const tgid of this.paused.keys()) this.resume(tgid);
    await this.waiting;
    this.substituted = null;
    const open = new Set(stacks.flatMap(({ calls }) => calls.map(({ spanId }) => spanId)));
    for (const [spanId, fn] of substituted) {
      if (open.delete(spanId)) this.withoutSpan(fn, -1);
      else this.count('ringFull', fn, -1);
    }
    const unseen = stacks.reduce((sum, { silent }) => sum + silent, open.size);
    this.lost['open'] = (this.lost['open'] ?? 0) + unseen;
  }

  private release(calls: readonly Call[]): void {
    const tgid = calls[0]?.tgid ?? 0;
    if (!this.collectors.isPaused(tgid)) {
      this.pass(calls);
      return;
    }
    const trees = this.paused.get(tgid);
    if (!trees) this.paused.set(tgid, [calls]);
    else if (trees.push(calls) >= MOST_PAUSED) this.resume(tgid);
  }

  private resume(tgid: number): void {
    const trees = this.paused.get(tgid);
    if (!trees) return;
    this.paused.delete(tgid);
    for (const calls of trees) this.pass(calls);
  }

  /** Trees go out in the order in which they come, also those that wait for names. */
  private pass(calls: readonly Call[]): void {
    const names = this.namesOf(calls);
    if (this.waiting === null && names.every((each) => each.knows(calls))) {
      this.send(calls);
      return;
    }
    const sent = (this.waiting ?? Promise.resolve())
      .then(() => Promise.all(names.map((each) => each.load(calls))))
      // Without names spans are better than no spans.
      .catch(() => undefined)
      .then(() => {
        this.send(calls);
        if (this.waiting === sent) this.waiting = null;
      });
    this.waiting = sent;
  }

  private namesOf(calls: readonly Call[]): ModuleNames[] {
    const names = new Set<ModuleNames>();
    for (const call of calls) {
      if (!call.values) continue;
      const named = this.functions[call.function];
      if (named) names.add(named.addresses);
    }
    return [...names];
  }

  /** What is owed while its process runs on is not open any more: its record was lost. */
  private addSubstitute({ spanId, function: fn }: Call): void {
    if (this.substituted) this.substituted.set(spanId, fn);
    else this.count('ringFull', fn, -1);
  }

  private sendCycle(cycle: Cycle, resource: ProcessResource): void {
    const spans = cycleSpans(cycle, this.maker.clockOffsetNs, resource);
    this.spans += spans.length;
    this.gcSpans += spans.length;
    for (const sink of this.sinks) sink.spans(spans);
  }

  private send(calls: readonly Call[]): void {
    const spans = calls.map((call) => {
      if (call.unclosed) this.addSubstitute(call);
      this.sent[call.function] = (this.sent[call.function] ?? 0) + 1;
      return this.maker.span(call);
    });
    this.byValue?.add(calls);
    this.spans += spans.length;
    for (const sink of this.sinks) sink.spans(spans);
  }
}
