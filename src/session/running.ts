/** Tracing from its start to its summary: session, pipeline and followed processes together. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Features, Native } from '../native/native.js';
import type { ModulePlan } from '../plan/plan.js';
import type { Notice, Sink, Summary } from '../sinks/sink.js';
import type { OpenStack } from '../spans/call.js';
import { decodeOpenCalls } from '../spans/decode.js';
import { ErrorKind, stackKey } from '../spans/records.generated.js';
import { Procfs } from '../targets/procfs.js';
import type { ResourceSources } from '../targets/resource.js';
import { type Target, tryReadTarget } from '../targets/target.js';
import { ThreadContexts } from '../targets/thread-context.js';
import { Unwinders } from '../targets/unwinders.js';
import type { Crashes } from './crashes.js';
import { Followed } from './followed.js';
import { GcPauses } from './gc-pauses.js';
import { Governing } from './governing.js';
import { Holds } from './holds.js';
import { HotFunctions } from './hot-functions.js';
import { hottest } from './hottest.js';
import { type DetachReason, Modules } from './modules.js';
import { ModuleNames } from './names.js';
import type { OpenStackCalls } from './open-calls.js';
import { add, NOTHING_SPENT, type Spent, spentOn } from './overhead.js';
import { type NamedFunction, Pipeline } from './pipeline.js';
import { type ModuleFile, type ProbedModule, sitesOf } from './probed-module.js';
import { ProcessResources } from './resources.js';
import type { TraceRule } from './rule.js';
import { Session } from './session.js';
import type { FunctionStatistics } from './statistics.js';
import { type CountedFunction, lostInKernel, summarize, summarizeValues } from './summary.js';
import { Trampolines } from './trampolines.js';
import type { Transport } from './transport.js';
import { unseenSpans } from './unseen-spans.js';

/** Time that calls which are open at the end have to return, in ms. */
const GRACE_MS = 100;
/** How often held trees are looked at, in ms. */
const TICK_MS = 250;
/** How often it is checked whether processes have begun or ended unseen, in ms. */
const CHECK_MS = 1_000;
/** How often the clocks are compared, in ms. */
const CLOCK_MS = 10_000;
const FLUSH_MS = 5_000;
/** How long the end waits for modules that are being planned; nothing is attached any more. */
const SETTLE_MS = 500;

const waited = (): Promise<void> => sleep(SETTLE_MS, undefined, { ref: false });

export interface RunningOptions extends ResourceSources {
  rules: readonly TraceRule[];
  sinks: readonly Sink[];
  transport: Transport;
  ringBytes: number;
  /** Functions that can be traced at once. */
  maxFunctions: number;
  /** Processes that start later and fall under a rule are targets too. */
  watchesExecs: boolean;
  /** How long the probes of a module stay that no process runs, in ms. */
  idleMs: number;
  /** What tracing may cost the host, of all rules together, in CPUs; Infinity: any cost. */
  hostBudget: number;
  /** What processes have died of; null: they may die of it again. */
  crashes: Crashes | null;
  /** Where calls allocate is counted, for the summary; of rules that look at what they do. */
  allocationStacks: boolean;
  /** How long sinks may take at the end to deliver what is left, in ms. */
  flushMs?: number;
  /** What has to do with one rule, what was found in its modules included; else sinks get it. */
  onNotice?: (notice: Notice, rule: TraceRule) => void;
  /** The function's number is free for another. */
  onForgotten?: (functionIndex: number) => void;
}

/** A process that is traced from the start, by a plan made before; null: it is only watched. */
export interface FirstTarget {
  target: Target;
  plan: ModulePlan | null;
  /** Libraries that it will map, as far as that is known: their probes are there before them. */
  libraries: readonly ModuleFile[];
}

export interface NumberedFunction extends NamedFunction {
  sites: number;
  probed: ProbedModule;
  /** Of the HTTP requests that it handles; null: it is no handler. */
  route: string | null;
}

export class Running {
  readonly ended: Promise<void>;
  /** By number; where none is, the number is free. */
  readonly functions: (NumberedFunction | undefined)[] = [];
  /** Sites whose probes were taken back. */
  readonly detached: Record<DetachReason, number> = {
    idle: 0,
    'file-changed': 0,
    reload: 0,
    crash: 0,
  };
  session!: Session;
  pipeline!: Pipeline;
  followed!: Followed;
  modules!: Modules;
  governing!: Governing;
  readonly gcPauses = new GcPauses(() => this.modules.all);
  /** What the kernel counted for functions whose probes were taken back. */
  private readonly lostBefore: Record<string, number> = {};
  /** On probes that were taken back. */
  private spentBefore = NOTHING_SPENT;
  private resources!: ProcessResources;
  private signalEnd!: () => void;
  private readonly timers: NodeJS.Timeout[] = [];
  private ticker: NodeJS.Timeout | null = null;
  private stopped: Promise<Summary> | null = null;

  private constructor(
    private readonly native: Native,
    private readonly options: RunningOptions,
  ) {
    this.ended = new Promise((resolve) => (this.signalEnd = resolve));
  }

  static async start(
    native: Native,
    features: Features,
    options: RunningOptions,
    /** What is traced from the start; it is planned while programs are loaded. */
    planFirst: (() => Promise<readonly FirstTarget[]>) | null = null,
  ): Promise<Running> {
    const running = new Running(native, options);
    try {
      const [first, opened] = await Promise.allSettled([
        planFirst?.() ?? [],
        running.open(features, planFirst !== null),
      ]);
      // What is wrong with a pattern is of more interest than what the kernel refuses.
      if (first.status === 'rejected') throw first.reason;
      if (opened.status === 'rejected') throw opened.reason;
      await running.begin(first.value);
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

  private async open(features: Features, expectsTargets: boolean): Promise<void> {
    const { native, options } = this;
    const { sinks, transport, ringBytes, maxFunctions, watchesExecs, rules, idleMs } = options;
    const programSpans = sinks.some((sink) => sink.programSpans !== undefined);
    this.session = await Session.open(native, features, {
      transport,
      ringBytes,
      maxFunctions,
      everyExec: watchesExecs,
      programSpans,
      allocationStacks: options.allocationStacks,
      // Rules may come that are not known yet.
      keepsWaits: watchesExecs || rules.some(({ options }) => options.waits || options.allocations),
    });
    const procfs = new Procfs();
    const hot = new HotFunctions();
    this.modules = new Modules({
      native,
      session: this.session,
      crashes: options.crashes,
      hot,
      onAdded: (probed) => this.register(probed),
      onRemoved: (probed, open, why) => this.unregister(probed, open, why),
      onSuspended: (probed, open) => this.finishCalls(probed, open),
      onNotice: (notice) => this.pipeline.notice(notice),
    });
    this.resources = new ProcessResources({
      ...(options.workloads ? { workloads: options.workloads } : {}),
      processAttributes: options.processAttributes ?? false,
      procfs,
      target: (pid) => tryReadTarget(pid, procfs) ?? this.followed.targetOf(pid),
      plan: (fileId) => this.planOf(fileId),
      onNotice: (notice) => this.pipeline.notice(notice),
    });
    this.pipeline = new Pipeline({
      sinks,
      functions: this.functions,
      clockOffsetNs: native.clockOffset(),
      resource: (pid) => this.resources.of(pid),
      by: rules[0]?.by ?? null,
      openCalls: (stack, pid) => {
        const open = this.session.openCallsOn(stack, pid);
        return open && decodeOpenCalls(open.calls);
      },
      drained: () => this.session.drain(),
      onProcess: (event) => this.followed.handle(event),
      onTracer: (record) => this.resources.learn(record),
      onPause: (tgid, durationNs) => this.gcPauses.add(tgid, durationNs),
    });
    this.followed = new Followed({
      session: this.session,
      modules: this.modules,
      resources: this.resources,
      threadContexts: new ThreadContexts(native, procfs),
      holds: new Holds({
        ...this.session.holdMaps,
        procfs,
        onNotice: (notice) => this.pipeline.notice(notice),
      }),
      trampolines: new Trampolines(this.session.trampolineVerdicts, new Unwinders(native, procfs)),
      procfs,
      rules,
      watchesExecs,
      idleMs,
      onNotice: (notice, rule) => this.tellOf(notice, rule),
      onExited: (pid, endNs, open) => this.pipeline.finishProcess(pid, endNs, stacksOf(open)),
      onEmpty: () => {
        if (!watchesExecs) this.signalEnd();
      },
    });
    this.governing = new Governing({
      hostBudget: options.hostBudget,
      session: this.session,
      modules: this.modules,
      hot,
      followed: this.followed,
      onNotice: (notice, rule) => this.tellOf(notice, rule),
    });
    if (expectsTargets) await Promise.all(rules.map((rule) => this.modules.maps.of(rule)));
  }

  private async begin(first: readonly FirstTarget[]): Promise<void> {
    const { rules, watchesExecs } = this.options;
    const [rule] = rules;
    process.on('SIGIO', this.onSignal);
    await this.session.start((batch) => {
      this.pipeline.batch(batch);
      this.watchTrees();
    });
    this.governing.start();
    for (const { target, plan, libraries } of rule ? first : []) {
      if (plan) await this.followed.attach(target, rule as TraceRule, plan, libraries);
      else this.followed.watch(target, rule ?? null);
    }
    if (watchesExecs) this.followed.rescan();
    this.every(CHECK_MS, () => this.check());
    this.every(CLOCK_MS, () => (this.pipeline.clockOffsetNs = this.native.clockOffset()));
  }

  /** Only while there are any: a program that is not called costs nobody anything. */
  private watchTrees(): void {
    if (this.ticker || this.stopped || !this.pipeline.waits) return;
    this.ticker = setTimeout(() => {
      this.ticker = null;
      this.pipeline.tick().catch((error: unknown) => {
        this.pipeline.notice({ code: 'TREES_NOT_CHECKED', message: String(error) });
      });
      this.watchTrees();
    }, TICK_MS);
  }

  private tellOf(notice: Notice, rule: TraceRule): void {
    if (this.options.onNotice) this.options.onNotice(notice, rule);
    else this.pipeline.notice(notice);
  }

  private check(): void {
    try {
      this.followed.check();
    } catch (error) {
      // As where no file can be opened for the moment.
      this.pipeline.notice({ code: 'PROCESSES_NOT_CHECKED', message: String(error) });
    }
  }

  /** Somebody waits to write to a module: see native.leaseFile(). */
  private readonly onSignal = (): void => this.followed.tidy();

  private every(ms: number, run: () => void): void {
    this.timers.push(setInterval(run, ms));
  }

  private planOf(fileId: string): ModulePlan | null {
    for (const probed of this.modules.all) {
      if (probed.fileId === fileId) return probed.attachment.plan;
    }
    return null;
  }

  private register(probed: ProbedModule): void {
    this.governing.wake();
    const { plan, firstFunction } = probed.attachment;
    const addresses = new ModuleNames(plan.module);
    const { filter, options } = probed.rule;
    for (const notice of plan.notices) this.options.onNotice?.(notice, probed.rule);
    const unseen = unseenSpans(probed);
    if (unseen) this.tellOf(unseen, probed.rule);
    plan.functions.forEach(({ name, file, line, returns, values, route }, index) => {
      this.functions[firstFunction + index] = {
        name,
        file,
        line,
        sites: 1 + returns.length,
        values: [...values.arguments, ...values.results],
        failure: values.error?.kind === ErrorKind.INTERFACE ? null : values.error,
        waits: options.waits,
        addresses,
        filter,
        probed,
        route,
      };
    });
  }

  private async unregister(
    probed: ProbedModule,
    open: readonly OpenStackCalls[],
    why: DetachReason,
  ): Promise<void> {
    await this.finishCalls([probed], open);
    this.detached[why] += sitesOf(probed);
    const { firstFunction, plan } = probed.attachment;
    const count = plan.functions.length;
    const all = this.session.statistics();
    this.session.look();
    this.spentBefore = add(this.spentBefore, this.spentOn(probed, all));
    const statistics = all.slice(firstFunction, firstFunction + count);
    for (const [reason, lost] of Object.entries(lostInKernel(statistics))) {
      this.lostBefore[reason] = (this.lostBefore[reason] ?? 0) + lost;
    }
    this.pipeline.forget(firstFunction, count);
    for (let index = firstFunction; index < firstFunction + count; index++) {
      this.functions[index] = undefined;
      this.options.onForgotten?.(index);
    }
  }

  /** These calls of theirs will not be seen to end. */
  private finishCalls(
    probed: readonly ProbedModule[],
    open: readonly OpenStackCalls[],
  ): Promise<void> {
    return this.pipeline.finish(process.hrtime.bigint(), stacksOf(open), (index) =>
      probed.some(({ attachment }) => attachment.has(index)),
    );
  }

  /** What its probes have cost so far, as of the session's last look at run times. */
  spentOn({ attachment, rule }: ProbedModule, statistics: readonly FunctionStatistics[]): Spent {
    const { plan, firstFunction } = attachment;
    const own = statistics.slice(firstFunction, firstFunction + plan.functions.length);
    return spentOn(plan, rule.request.costs, own, this.session.programTimesOf(attachment));
  }

  private overhead(statistics: readonly FunctionStatistics[]): Summary['overhead'] {
    this.session.look();
    const { predictedNs, kernelNs } = [...this.modules.all]
      .map((probed) => this.spentOn(probed, statistics))
      .reduce(add, this.spentBefore);
    const runTimeNs = this.session.runTimeNs();
    return {
      predicted: this.session.shareOf(predictedNs),
      measured: runTimeNs === null ? null : this.session.shareOf(runTimeNs + kernelNs),
    };
  }

  /** Losses so far by reason, but for those that the kernel's counts of present functions hold. */
  lostHere(): Record<string, number> {
    const lost: Record<string, number> = { ...this.lostBefore };
    const add = (counts: Record<string, number>): void => {
      for (const [reason, count] of Object.entries(counts)) {
        lost[reason] = (lost[reason] ?? 0) + count;
      }
    };
    add(this.pipeline.lost);
    add({ missed: this.session.missed() });
    for (const sink of this.options.sinks) add(sink.lost?.() ?? {});
    return lost;
  }

  private async finish(): Promise<Summary> {
    this.stopTimers();
    try {
      return await this.conclude();
    } finally {
      await this.close();
    }
  }

  private stopTimers(): void {
    this.timers.forEach(clearInterval);
    if (this.ticker) clearTimeout(this.ticker);
  }

  private async conclude(): Promise<Summary> {
    this.governing.stop();
    this.followed.close();
    await Promise.race([this.followed.settled(), waited()]);
    const open = await this.session.detach(GRACE_MS);
    await Promise.race([this.followed.settled(), waited()]);
    await this.pipeline.finish(process.hrtime.bigint(), stacksOf(open));
    const statistics = this.session.statistics();
    const overhead = this.overhead(statistics);
    const { sinks } = this.options;
    const { flushMs = FLUSH_MS } = this.options;
    await Promise.all(sinks.map((sink) => sink.flush?.(flushMs)));
    const counted = this.functions.map(
      (named, index): CountedFunction | undefined =>
        named && { name: named.name, sites: named.sites, unsent: this.pipeline.unsent[index] ?? 0 },
    );
    const { suspensions } = this.governing;
    const summary: Summary = {
      ...summarize(counted, statistics, {
        lost: this.lostHere(),
        allocations: await this.allocations(),
        suspensions,
        overhead,
      }),
      ...(this.pipeline.byValue ? { by: summarizeValues(this.pipeline.byValue) } : {}),
    };
    await Promise.all(sinks.map((sink) => sink.close(summary)));
    return summary;
  }

  private async allocations(): Promise<Summary['allocations']> {
    if (!this.options.allocationStacks) return null;
    const counted = await this.modules.maps.allocations();
    return (
      counted && (await hottest(counted.stacks, counted.rest, (index) => this.functions[index]))
    );
  }

  private async close(): Promise<void> {
    this.resources.close();
    await this.modules.close();
    await this.session.close();
    process.off('SIGIO', this.onSignal);
  }

  /** Attaching failed: whatever is there is taken back. */
  private async abandon(): Promise<void> {
    this.stopTimers();
    (this.governing as Governing | undefined)?.stop();
    // Not yet open if that is what failed.
    const session = this.session as Session | undefined;
    (this.followed as Followed | undefined)?.close();
    await session?.detach(0);
    if (session) await this.close();
  }
}

function stacksOf(open: readonly OpenStackCalls[]): OpenStack[] {
  return open.map(({ key, goroutineId, calls }) => {
    const decoded = decodeOpenCalls(calls);
    return {
      stack: key.readBigUInt64LE(stackKey.stack),
      goroutineId: Number(goroutineId),
      calls: decoded,
      silent: calls.length - decoded.length,
    };
  });
}
