/** What is loaded and attached: the maps that all programs share, the reader, the attachments. */
import { runTimesAreOn } from '../native/features.js';
import type { BpfMap, Features, Link, Native, Programs, Reader } from '../native/native.js';
import type { ModulePlan } from '../plan/plan.js';
import { ProcessEvent, processSettings, statistics } from '../spans/records.generated.js';
import { Activity } from './activity.js';
import {
  Attachment,
  type ModuleProbes,
  objectPath,
  SESSION_MAPS,
  type SessionMaps,
  shardCount,
} from './attachment.js';
import { numbersFrom, type RuleOptions } from './encode.js';
import { kernelError } from './kernel-errors.js';
import { Numbers } from './numbers.js';
import { OpenCalls, type OpenStackCalls } from './open-calls.js';
import { programCounts, programHits } from './program-hits.js';
import { openRuleMaps, type RuleMaps, type RuleMapSizes } from './rule-maps.js';
import { type ProgramCounts, type ProgramTime, RunTimes } from './run-times.js';
import { type FunctionStatistics, readStatistics } from './statistics.js';
import { type RecentHits, recentHits } from './target-share.js';
import { Targets } from './targets.js';
import { priceOf, ThreadWatch } from './thread-watch.js';
import type { Transport } from './transport.js';

/**
 * How often the ring is looked at, and how much is taken at once: two batches are what a turn of
 * the event loop deals with, in less than 10 ms.
 */
const READER = { intervalMs: 5, batchBytes: 1 << 17, maxPending: 2 };

/** The programs that watch processes, and what each of them tells of. */
const WATCHERS = {
  process_forked: ProcessEvent.FORKED,
  process_executed: ProcessEvent.EXECUTED,
  process_exited: ProcessEvent.EXITED,
} as const;

export interface SessionOptions {
  /** Perf buffers also where the kernel has no ring. */
  transport: Transport;
  /** Of the ring, or of all perf buffers together. */
  ringBytes: number;
  maxFunctions: number;
  /** Report every exec on the host, not only those of targets. */
  everyExec: boolean;
  /** Ended spans of the program's own SDK are reported too. */
  programSpans: boolean;
  /** What calls wait for, or allocate, may be kept while they are open. */
  keepsWaits: boolean;
  /** Where calls allocate is counted, of rules that look at what they do. */
  allocationStacks: boolean;
}

/** Open calls of which that is kept. */
const MANY_CALLS = 8_192;

export class Session {
  readonly targets: Targets;
  private readonly attachments = new Set<ModuleProbes>();
  private readonly maps: SessionMaps;
  /** 0 is that of the runtime's and the SDK's sites. */
  private readonly numbers: Numbers;
  private readonly tracepoints: Link[] = [];
  private reader: Reader | null = null;
  /** Numbers of attachments given out; 0 is none. */
  private attached = 0;
  private readonly startedAt = process.hrtime.bigint();
  private readonly flag: Activity;
  private readonly runTimes: RunTimes;
  private readonly openCalls: OpenCalls;
  private readonly threads: ThreadWatch;
  /** Of attachments that were removed. */
  private missedBefore = 0;

  private constructor(
    private readonly native: Native,
    readonly features: Features,
    private readonly options: SessionOptions,
    private readonly perfBuffers: boolean,
    private readonly shards: number,
    private readonly processes: Programs,
  ) {
    this.numbers = new Numbers(1, options.maxFunctions);
    this.runTimes = new RunTimes({
      enable: features.runTimeStatistics ? () => native.enableRunTimeStatistics() : null,
      areOn: runTimesAreOn,
      read: () => this.counts(),
      activity: () => this.activity(),
    });
    this.maps = Object.fromEntries(
      SESSION_MAPS.map((name) => [name, processes.map(name)]),
    ) as SessionMaps;
    this.flag = new Activity(this.maps.activity, () => this.reader?.watchFlag());
    this.openCalls = new OpenCalls(this.maps.stacks, this.maps.own_stacks);
    this.threads = new ThreadWatch(native, features, { perfBuffers, shards }, this.maps);
    this.targets = new Targets({
      targets: this.maps.targets,
      verdicts: this.maps.trampolines,
      facts: this.maps.target_facts,
    });
  }

  /** Loads what all modules share. */
  static async open(native: Native, features: Features, options: SessionOptions): Promise<Session> {
    const shards = shardCount(features);
    const perfBuffers = options.transport === 'perf' || !features.ringBuffer;
    const settings = Buffer.alloc(processSettings.size);
    settings.writeUInt32LE(shards - 1, processSettings.shardMask);
    settings.writeUInt8(options.everyExec ? 1 : 0, processSettings.everyExec);
    settings.writeUInt8(perfBuffers ? 1 : 0, processSettings.perfBuffers);
    try {
      const processes = await native.load({
        object: objectPath('processes', features),
        settings,
        maps: {
          ring: perfBuffers ? { perfBuffers } : { maxEntries: options.ringBytes },
          statistics: { maxEntries: (options.maxFunctions + 1) * shards },
          governed: { maxEntries: options.maxFunctions + 1 },
          call_waits: { maxEntries: options.keepsWaits ? MANY_CALLS : 1 },
        },
        attach: 'perf',
        sleepable: false,
      });
      return new Session(
        native,
        // The kernel lets no program sleep that writes to perf buffers.
        { ...features, sleepable: features.sleepable && !perfBuffers },
        options,
        perfBuffers,
        shards,
        processes,
      );
    } catch (error) {
      throw kernelError(error);
    }
  }

  /** Watches processes and begins to read; `onBatch` gets records end to end. */
  async start(onBatch: (batch: Buffer) => void): Promise<void> {
    try {
      for (const program of Object.keys(WATCHERS)) {
        this.tracepoints.push(await this.processes.attachTracepoint(program));
      }
      const perfBytes = this.options.ringBytes;
      const flag = { map: this.maps.activity, onSet: () => this.flag.found() };
      this.reader = this.native.read(this.maps.ring, { ...READER, perfBytes, flag }, onBatch);
    } catch (error) {
      throw kernelError(error);
    }
  }

  async addRule(wanted: RuleMapSizes): Promise<RuleMaps> {
    const { native, features, perfBuffers, shards, maps } = this;
    const allocations = wanted.allocations && this.options.allocationStacks;
    const sizes = { ...wanted, allocations };
    try {
      return await openRuleMaps(native, features, { ...sizes, perfBuffers, shards }, maps);
    } catch (error) {
      throw kernelError(error);
    }
  }

  /** Loads the programs for one module; nothing is attached yet. The plan must fit `room`. */
  async add(
    plan: ModulePlan,
    rule: RuleMaps,
    options: RuleOptions,
    filterTargets: boolean,
  ): Promise<ModuleProbes> {
    const first = this.numbers.take(plan.functions.length);
    if (first === null) throw new Error(`no room for ${plan.functions.length} functions`);
    const { native, features, perfBuffers, shards } = this;
    const { programSpans, keepsWaits, allocationStacks } = this.options;
    const number = ++this.attached;
    const all = {
      ...options,
      programSpans,
      keepsWaits,
      allocationStacks,
      filterTargets,
      perfBuffers,
      attachment: number,
      shards,
    };
    const common = [native, features, plan, first, all, rule.maps] as const;
    try {
      if (options.waits) await this.watchSchedule();
      const stacks = plan.kind === 'go' ? null : await this.threads.stacks();
      const loading =
        plan.kind === 'kernel' && stacks
          ? (await import('./kernel-attachment.js')).KernelAttachment.load(...common, stacks)
          : Attachment.load(...common, stacks);
      const [loaded, watched] = await Promise.allSettled([
        loading,
        stacks ? rule.watchThreads(stacks) : null,
      ]);
      if (loaded.status === 'rejected') throw loaded.reason;
      if (watched.status === 'rejected') {
        loaded.value.close();
        throw watched.reason;
      }
      this.attachments.add(loaded.value);
      this.runTimes.look();
      return loaded.value;
    } catch (error) {
      this.numbers.giveBack(first, plan.functions.length);
      throw kernelError(error);
    }
  }

  /** Gives back all that a detached attachment had; its counts are gone. */
  remove(attachment: ModuleProbes): void {
    if (!this.attachments.has(attachment)) return;
    const { firstFunction, plan } = attachment;
    this.runTimes.forget(attachment);
    this.missedBefore += missedBy(attachment);
    this.attachments.delete(attachment);
    attachment.close();
    const elements = plan.functions.length * this.shards;
    const first = firstFunction * this.shards;
    this.maps.statistics.updateMany(
      numbersFrom(first, elements),
      Buffer.alloc(elements * statistics.size),
    );
    this.numbers.giveBack(firstFunction, plan.functions.length);
  }

  /** How many functions the next module may have. */
  get room(): number {
    return this.numbers.room;
  }

  openCallsOn(stack: bigint, pid: number): OpenStackCalls | null {
    return this.openCalls.on(stack, pid);
  }

  allOpenCalls(): Promise<OpenStackCalls[]> {
    return this.openCalls.all();
  }

  /** All that a process has open. */
  openCallsOf(pid: number): Promise<OpenStackCalls[]> {
    return this.openCalls.all(pid);
  }

  /** Takes goroutines, with what is open on them, out of the table. */
  forget(open: readonly OpenStackCalls[]): void {
    this.openCalls.forget(open);
  }

  /** By function number; the first is that of the support sites. */
  statistics(): FunctionStatistics[] {
    return readStatistics(this.maps.statistics, this.numbers.used, this.shards);
  }

  /**
   * A number that is another one if calls may have been counted since it was asked for the last time;
   * ask before the counts are read.
   */
  activity(): number {
    return this.flag.look();
  }

  /**
   * Tells, once, when activity() may return another number than that one. False: it will not, since
   * the kernel's scheduler is watched, whose hits are none.
   */
  onceActive(since: number, tell: () => void): boolean {
    if (this.threads.watching) return false;
    this.flag.once(since, tell);
    return true;
  }

  /** Of the support sites' hits, those by which it is seen what calls wait for. */
  watchHits(): number {
    return this.maps.statistics.sums(statistics.returns, 1, this.shards)[0] ?? 0;
  }

  /** Calls so far, by function number; the first is of the support sites' hits. */
  calls(): Float64Array {
    return this.sums(statistics.calls);
  }

  /** Whose hits there were of late, once Targets.sampleHits() was asked for. */
  recentHits(): RecentHits {
    const samples = this.maps.hit_samples;
    return recentHits(samples.read(0, samples.maxEntries), Number(process.hrtime.bigint()));
  }

  /** What its probes cost is measured from then on. */
  whileAttaching(attachment: ModuleProbes, attach: () => Promise<void>): Promise<void> {
    return this.runTimes.whileAttaching(attachment, attach);
  }

  /** At what our programs have taken up to now; the methods below tell what was seen. */
  look(): void {
    this.runTimes.look();
  }

  programTimesOf(attachment: ModuleProbes): ProgramTime[] {
    return this.runTimes.of(attachment);
  }

  /** Of all programs, those that watch processes among them. A name may come several times. */
  programTimes(): ProgramTime[] {
    return [...this.timesAtSites(), ...this.runTimes.of(this.processes)];
  }

  /** Hits so far of the programs that see what targets' threads wait for, and what each costs in ns. */
  scheduleHits(): { hits: number; priceNs: number } {
    const { watching } = this.threads;
    if (!watching) return { hits: 0, priceNs: 0 };
    const hits = [...this.threads.hits().values()].reduce((sum, each) => sum + each, 0);
    return { hits, priceNs: priceOf(this.runTimes.of(watching), hits) };
  }

  /** CPU time of the programs at sites since the session began; null: none of it was timed. */
  runTimeNs(): number | null {
    if (!this.runTimes.canBeKnown) return null;
    const times = this.timesAtSites();
    const sum = times.reduce((sum, { runTimeNs }) => sum + runTimeNs, 0);
    return sum === 0 && times.some(({ untimedHits }) => untimedHits > 0) ? null : sum;
  }

  /** As a share of one CPU since the session began. */
  shareOf(ns: number): number {
    return ns / Number(process.hrtime.bigint() - this.startedAt);
  }

  /** Hits that the kernel dropped since the program was already running on that CPU. */
  missed(): number {
    return [...this.attachments].reduce((sum, each) => sum + missedBy(each), this.missedBefore);
  }

  /** Forks, execs and exits that did not fit the ring. */
  lostEvents(): number {
    return Number(this.processes.map('lost_events').read(0, 1).readBigUInt64LE());
  }

  /** In which processes return addresses may be replaced; trampolines.ts says when. */
  get trampolineVerdicts(): BpfMap {
    return this.maps.trampolines;
  }

  /** Of the programs that watch processes; holds.ts says what for. */
  get holdMaps(): { holdUntil: BpfMap; holdNames: BpfMap; letPass: BpfMap } {
    return {
      holdUntil: this.processes.map('hold_until'),
      holdNames: this.processes.map('hold_names'),
      letPass: this.processes.map('let_pass'),
    };
  }

  /** How full the tables are that can run out of room. */
  async fill(): Promise<{ map: string; entries: number; maxEntries: number }[]> {
    return Promise.all(
      (['stacks', 'targets', 'inheritances'] as const).map(async (name) => {
        const map = this.maps[name];
        return { map: name, entries: await map.count(), maxEntries: map.maxEntries };
      }),
    );
  }

  async drain(): Promise<void> {
    await this.reader?.drain();
  }

  /** No new call is counted; what is open has `graceMs` to end. Resolves when all is read. */
  async detach(graceMs: number): Promise<OpenStackCalls[]> {
    await Promise.all([...this.attachments].map((attachment) => attachment.detachEntries()));
    const deadline = Date.now() + graceMs;
    let open = await this.openCalls.all();
    while (Date.now() < deadline && open.some(({ calls }) => calls.length > 0)) {
      await new Promise((resolve) => setTimeout(resolve, 10));
      open = await this.openCalls.all();
    }
    await Promise.all([
      ...[...this.attachments].map((attachment) => attachment.detach()),
      this.threads.detach(),
      ...this.tracepoints.map((link) => link.detach()),
    ]);
    this.runTimes.close();
    await this.drain();
    return this.openCalls.all();
  }

  async close(): Promise<void> {
    await this.reader?.stop();
    this.runTimes.close();
    for (const attachment of this.attachments) attachment.close();
    this.threads.close();
    this.processes.close();
  }

  /** Removed attachments included. */
  private timesAtSites(): ProgramTime[] {
    const present = [...this.attachments].flatMap((attachment) => this.runTimes.of(attachment));
    const { watching } = this.threads;
    const threads = watching ? this.runTimes.of(watching) : [];
    return [...present, ...this.runTimes.ofGone, ...threads];
  }

  private counts(): (readonly [object, ProgramCounts[]])[] {
    const calls = this.calls();
    const returns = this.sums(statistics.returns);
    this.sums(statistics.unpairedReturns).forEach((count, index) => {
      returns[index] = (returns[index] ?? 0) + count;
    });
    const counts: (readonly [object, ProgramCounts[]])[] = [...this.attachments].map(
      (attachment) => {
        const hits = programHits(attachment, { calls, returns });
        return [attachment, programCounts(attachment.runTimes(), hits)];
      },
    );
    const runs = this.processes.map('process_runs').sums(0, ProcessEvent.EXITED + 1, 1);
    const watched = Object.entries(WATCHERS).map(
      ([program, event]) => [program, runs[event] ?? 0] as const,
    );
    const { watching } = this.threads;
    if (watching) {
      counts.push([watching, programCounts(watching.runTimes(), this.threads.hits())]);
    }
    return [
      ...counts,
      [this.processes, programCounts(this.processes.runTimes(), new Map(watched))],
    ];
  }

  private sums(offset: number): Float64Array {
    return this.maps.statistics.sums(offset, this.numbers.used, this.shards);
  }

  private async watchSchedule(): Promise<void> {
    await this.threads.watchSchedule();
    const { watching } = this.threads;
    if (watching) await this.runTimes.whileAttaching(watching, () => Promise.resolve());
  }
}

const missedBy = (attachment: ModuleProbes): number =>
  attachment.runTimes().reduce((sum, { recursionMisses }) => sum + recursionMisses, 0);
