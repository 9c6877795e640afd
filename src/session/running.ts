/** One trace from attach to summary: session, pipeline and followed processes together. */
import type { Plan, TraceOptions } from '../engine.js';
import type { Features, Native } from '../native/native.js';
import type { PlanRequest } from '../plan/plan-module.js';
import type { ModulePlan } from '../plan/plan.js';
import type { Summary } from '../sinks/sink.js';
import { decodeOpenCalls } from '../spans/decode.js';
import { openCall, stackKey } from '../spans/records.generated.js';
import { sampleThreshold } from '../spans/sampling.js';
import { Followed } from './followed.js';
import { ModuleNames } from './names.js';
import type { OpenGoroutine } from './open-calls.js';
import { type NamedFunction, Pipeline } from './pipeline.js';
import { Session } from './session.js';
import { type CountedFunction, summarize } from './summary.js';

/** Time that calls which are open at the end have to return, in ms. */
const GRACE_MS = 100;
/** How often held trees are looked at, in ms. */
const TICK_MS = 250;
/** How often it is checked whether processes have begun or ended unseen, in ms. */
const CHECK_MS = 1_000;
/** How often the clocks are compared, in ms. */
const CLOCK_MS = 10_000;
/** How long sinks may take to deliver what is left, in ms. */
const FLUSH_MS = 5_000;

export class Running {
  readonly ended: Promise<void>;
  private readonly functions: (NamedFunction & { sites: number })[] = [];
  private session!: Session;
  private pipeline!: Pipeline;
  private followed!: Followed;
  private signalEnd!: () => void;
  private readonly timers: NodeJS.Timeout[] = [];
  private stopped: Promise<Summary> | null = null;

  private constructor(
    private readonly native: Native,
    private readonly options: TraceOptions,
  ) {
    this.ended = new Promise((resolve) => (this.signalEnd = resolve));
  }

  static async start(
    native: Native,
    features: Features,
    options: TraceOptions,
    request: PlanRequest,
    plan: Plan,
  ): Promise<Running> {
    const running = new Running(native, options);
    try {
      await running.open(features, request, plan);
    } catch (error) {
      await running.abandon();
      throw error;
    }
    return running;
  }

  stop(): Promise<Summary> {
    this.stopped ??= this.finish();
    return this.stopped;
  }

  private async open(features: Features, request: PlanRequest, plan: Plan): Promise<void> {
    const { native, options } = this;
    const { selection } = options;
    const wholeExecutables =
      selection.exes.length > 0 &&
      [selection.pids, selection.comms, selection.containers, selection.services].every(
        (others) => others.length === 0,
      );
    const watchesExecs = selection.pids.length === 0 && selection.command === null;
    this.session = await Session.open(
      native,
      features,
      {
        minDurationNs: options.minDurationNs,
        sampleThreshold: sampleThreshold(options.sample),
        maxRate: options.maxRate,
        roots: options.roots,
        unsampled: options.unsampled,
        entryOnly: options.entryOnly,
        contextHops: options.contextHops,
        errorText: options.errorText,
        programSpans: options.sinks.some((sink) => sink.programSpans !== undefined),
        filterTargets: !features.uprobeMulti && !wholeExecutables,
        ringBytes: options.ringBytes,
        maxFunctions: options.maxFunctions,
        followForks: options.followForks,
        everyExec: watchesExecs,
      },
      (batch) => this.pipeline.batch(batch),
    );
    this.pipeline = new Pipeline({
      sinks: options.sinks,
      functions: this.functions,
      clockOffsetNs: native.clockOffset(),
      resource: (pid) => this.followed.resources.of(pid),
      slowerThanNs: options.slowerThanNs,
      errorsOnly: options.errorsOnly,
      minDurationNs: options.minDurationNs,
      openCalls: (stack, pid) => {
        const open = this.session.openCallsOn(stack, pid);
        return open && decodeOpenCalls(open.calls);
      },
      drained: () => this.session.drain(),
      onProcess: (event) => this.followed.handle(event),
      onTracer: (record) => this.followed.resources.learn(record),
    });
    this.followed = new Followed({
      native,
      session: this.session,
      selection,
      request,
      followForks: options.followForks,
      wholeExecutables,
      watchesExecs,
      onNotice: (notice) => this.pipeline.notice(notice),
      onModule: (module, first) => this.register(module, first),
      onExited: (pid, endNs, open) =>
        this.pipeline.finishProcess(
          pid,
          endNs,
          open.map(({ key, goroutineId, calls }) => ({
            stack: key.readBigUInt64LE(stackKey.stack),
            goroutineId: Number(goroutineId),
            calls: decodeOpenCalls(calls),
          })),
        ),
      onOpen: (open) => this.addOpen(open),
      onEmpty: () => {
        if (!watchesExecs) this.signalEnd();
      },
    });
    for (const target of plan.targets) {
      const module = plan.modules.get(target.fileId);
      if (module) await this.followed.attach(target, module);
      else this.followed.watch(target);
    }
    if (watchesExecs) {
      this.followed.rescan();
      await this.followed.settled();
    }
    this.every(TICK_MS, () => {
      this.pipeline.tick().catch((error: unknown) => {
        this.pipeline.notice({ code: 'TREES_NOT_CHECKED', message: String(error) });
      });
    });
    this.every(CHECK_MS, () => this.followed.check());
    this.every(CLOCK_MS, () => (this.pipeline.clockOffsetNs = native.clockOffset()));
  }

  private every(ms: number, run: () => void): void {
    this.timers.push(setInterval(run, ms));
  }

  private register(module: ModulePlan, first: number): void {
    const addresses = new ModuleNames(module.module);
    module.functions.forEach(({ name, file, line, returns, values }, index) => {
      this.functions[first + index] = {
        name,
        file,
        line,
        sites: 1 + returns.length,
        values: [...values.arguments, ...values.results],
        addresses,
      };
    });
  }

  private addOpen(open: readonly OpenGoroutine[]): void {
    for (const { calls } of open) {
      for (const call of calls) {
        const spanId = call.toString(
          'hex',
          openCall.spanId,
          openCall.spanId + openCall.spanIdLength,
        );
        this.pipeline.addOpen(spanId, call.readUInt32LE(openCall.function));
      }
    }
  }

  private async finish(): Promise<Summary> {
    this.timers.forEach(clearInterval);
    try {
      return await this.conclude();
    } finally {
      await this.session.close();
    }
  }

  private async conclude(): Promise<Summary> {
    this.followed.close();
    await this.followed.settled();
    const open = await this.session.detach(GRACE_MS);
    await this.followed.settled();
    this.addOpen(open);
    await this.pipeline.finish(process.hrtime.bigint());
    const statistics = this.session.statistics();
    const overhead = { predicted: null, measured: this.session.overhead() };
    const { sinks } = this.options;
    await Promise.all(sinks.map((sink) => sink.flush?.(FLUSH_MS)));
    const lost: Record<string, number> = { ...this.pipeline.lost, missed: this.session.missed() };
    for (const sink of sinks) {
      for (const [reason, count] of Object.entries(sink.lost?.() ?? {})) {
        lost[reason] = (lost[reason] ?? 0) + count;
      }
    }
    const counted = this.functions.map(
      (named, index): CountedFunction | undefined =>
        named && { name: named.name, sites: named.sites, unsent: this.pipeline.unsent[index] ?? 0 },
    );
    const summary = summarize(counted, statistics, lost, overhead);
    await Promise.all(sinks.map((sink) => sink.close(summary)));
    return summary;
  }

  /** Attaching failed: whatever is there is taken back. */
  private async abandon(): Promise<void> {
    this.timers.forEach(clearInterval);
    // Not yet open if that is what failed.
    const session = this.session as Session | undefined;
    await session?.detach(0);
    await session?.close();
  }
}
